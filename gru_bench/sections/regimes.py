"""Regimes: where is which cell faster, and where does the order change?"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from gru_bench.report.backend_maps import backend_pairs, draw_backends, has_map
from gru_bench.report.crossings import crossings, in_words
from gru_bench.report.groups import shown
from gru_bench.report.length_lines import draw_lines, is_drawn
from gru_bench.report.markdown import UNKNOWN, Section, known, paragraphs, plural, table
from gru_bench.report.regime_maps import Map, axes_of, draw_maps, is_map, maps_of, panels_of
from gru_bench.report.timings import (
    GRU,
    LETTERS,
    LSTM,
    NOISE,
    Timing,
    families,
    on_kernels,
    plain,
    situation_text,
    situations,
)
from gru_bench.report.view import View

TITLE, FULL = "Regimes", "Regimes in full"
FEW = 8
"""Lines of the table of crossings on a first page."""
BACKENDS = (
    "The letter is of the backend that pairs which took turns found faster than every other one that was timed there. "
    "Several letters: of these none was found faster, or they did not take turns with each other; ratios to a third "
    "backend are not compared."
)
SEQUENCE = "sequence"
NO_CHANGE = "no change"
NAMES = {"first": shown(GRU), "second": shown(LSTM)}
TEXT = (
    "Layers alone, GRU against LSTM of one hidden size. A square is one paired measurement: the letter of the faster "
    "cell and how many times as fast it is. Grey: inside the noise, with the LSTM's time over the GRU's. Nothing is "
    "interpolated: the black line runs between neighbours of which one was found faster here and the other there, and "
    f"the order changes somewhere between the two. {LETTERS}."
)
Views = dict[str, list[Map]]


Pictures = tuple[list[str], dict[str, Figure], list[tuple[str, Views]]]


def render(view: View, /, *, most_rows: int) -> Section:
    """Answer: at which length, batch and hidden size is the GRU faster, where the LSTM, and where do they cross?

    Where nothing but timings is reported, this leads: then the maps of one number of threads, the rest in full behind.

    Args:
        view: All timings.
        most_rows: Lines of the table of crossings; more are counted.
    """
    layers = [one for one in view.timings if not one.task]
    parts, figures, found = pictures(layers, "regimes")
    if not found:
        return Section(TITLE, "")
    backends, drawn = backend_pictures(layers)
    first = leading(layers) if view.all_runs.empty else layers
    if len(first) == len(layers) and not (view.all_runs.empty and backends):
        return Section(
            TITLE, paragraphs(TEXT, crossing_table(found, most_rows), *parts, *backends), figures | drawn, leads=True
        )
    rest = [one for one in layers if one not in first]
    some, few, of_some = pictures(first, "regimes")
    more, others, _ = pictures(rest, "regimes_more")
    note = f"Here: {what(first)}. The other maps, every line and the backends: [{FULL}](details.md#regimes-in-full)."
    text = paragraphs(TEXT, note, crossing_table(of_some, FEW, full=False), *some)
    full = Section(FULL, paragraphs(crossing_table(found, most_rows), *more, *backends), others | drawn)
    return Section(TITLE, text, few, leads=True, rest=full)


def leading(layers: Sequence[Timing]) -> list[Timing]:
    """The timings whose maps a first page has room for: of the least number of threads that has most situations."""
    at_sizes = [one for one in layers if one.situation != SEQUENCE] or list(layers)
    kinds: dict[Any, set[str]] = {}
    for one in at_sizes:
        kinds.setdefault(plain(one.row["threads"]), set()).add(one.situation)
    threads = min(kinds, key=lambda value: (-len(kinds[value]), float(value or 0)), default="")
    return [one for one in at_sizes if plain(one.row["threads"]) == threads]


def what(found: Sequence[Timing]) -> str:
    """``training step and streaming with 1 thread``."""
    names = [situation_text(name) for name in situations(found)]
    threads = found[0].row["threads"]
    with_threads = f" with {plural(int(threads), 'thread')}" if known(threads) else ""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) + with_threads


def pictures(layers: Sequence[Timing], name: str) -> Pictures:
    """For each situation that has a map its text, its figure under a name that begins so, and its maps."""
    parts: list[str] = []
    figures: dict[str, Figure] = {}
    found: list[tuple[str, Views]] = []
    for situation in situations(layers):
        here = [one for one in layers if one.situation == situation]
        views = maps(here)
        panels = lengths([one for one in here if is_drawn(one)]) if situation == SEQUENCE else []
        if not any(is_map(of_view) for of_view in views.values()) or (situation == SEQUENCE and not panels):
            continue
        found.append((situation, views))
        file, title = f"{name}_{situation}", situation_text(situation)
        if situation == SEQUENCE:
            figures[file] = draw_lines(panels)
            note = "A bracket spans from the last length of one order to the first of the other."
            picture = f"![Time of a whole sequence by its length](figures/{file}.png)\n\n*{note}*"
        else:
            figures[file] = draw_maps(views)
            picture = f"![Which cell is faster: {title}](figures/{file}.png)"
        parts += [f"### {title[0].upper()}{title[1:]}", kernels_line(views), picture]
    return parts, figures, found


def backend_pictures(layers: Sequence[Timing]) -> tuple[list[str], dict[str, Figure]]:
    """For each situation in which the backends of a cell were timed against each other, the map of the fastest."""
    parts, figures = [], {}
    for situation in situations(layers):
        found = backend_pairs(one for one in layers if one.situation == situation)
        if has_map(found):
            file = f"backends_{situation}"
            figures[file] = draw_backends(found)
            parts.append(f"![Which backend is fastest: {situation_text(situation)}](figures/{file}.png)")
    return (["### Which backend is fastest", BACKENDS, *parts] if parts else []), figures


def maps(found: Iterable[Timing]) -> Views:
    """The maps of one situation at equal hidden size, over the same two sizes for all views."""
    views = families(found)
    if not views:
        return {}
    every = [one for of_view in views.values() for one in of_view]
    x, y = axes_of(every)
    return {name: maps_of(of_view, x, y, every) for name, of_view in views.items()}


def kernels_line(views: Views) -> str:
    """On which kernels the views ran."""
    texts = [
        f"{name}: {on_kernels([one for part in of_view for one in part.cells.values()])}"
        for name, of_view in views.items()
    ]
    text = "; ".join(texts)
    return f"{text[0].upper()}{text[1:]}."


def lengths(every: Sequence[Timing]) -> list[tuple[str, list[Timing]]]:
    """The panels of the figure: for each place and size, and each batch, all pairs that were timed."""
    panels = []
    for name, found in panels_of(every, "steps", "batch"):
        for batch in dict.fromkeys(one.row["batch"] for one in found):
            of_batch = [one for one in found if one.row["batch"] == batch]
            panels.append((", ".join(filter(None, [name, f"B {batch}"])), of_batch))
    return panels


def crossing_table(found: Sequence[tuple[str, Views]], most_rows: int, *, full: bool = True) -> str:
    """In words the order along each line of measured points: those where it changes as a table, the others counted.

    Args:
        found: The maps of each situation.
        most_rows: Of the table.
        full: Whether the others are counted.
    """
    columns = list(dict.fromkeys(name for _, views in found for name in views))
    texts: dict[tuple[str, str, str, float], dict[str, str]] = {}
    same: dict[tuple[str, str], Counter[str]] = {}
    lines = changed = 0
    for situation, views in found:
        for name, part, value, points in lines_in(views):
            line = [(at, one.finding) for at, one in points]
            along, across = part.letters
            lines += 1
            text = NO_CHANGE
            if crossings(line):
                changed += 1
                text = in_words(line, NAMES, along)
            else:
                decided = sorted({finding for _, finding in line} - {NOISE})
                same.setdefault((situation, name), Counter())[NAMES[decided[0]] if decided else NOISE] += 1
            texts.setdefault((situation, part.name, across, value), {})[name] = text
    rows = [
        [situation_text(situation), "; ".join(places), *found_texts]
        for (situation, *found_texts), places in alike(texts, columns).items()
    ]
    text = f"The order changes along {changed or 'none'} of {plural(lines, 'line')} of measured points."
    if len(rows) > most_rows:
        text += f" The table has the first {most_rows} of {len(rows)} rows; the maps have all."
    if not full:
        same = {}
    return paragraphs(
        text,
        table(["situation", "lines", *columns], rows[:most_rows]) if rows else "",
        "Along the others it stays:" if same and rows else "",
        "\n".join(unchanged(situation, name, counts) for (situation, name), counts in same.items()),
    )


def alike(
    texts: dict[tuple[str, str, str, float], dict[str, str]], columns: Sequence[str]
) -> dict[tuple[str, ...], list[str]]:
    """The lines along which some order changes, together where all views say the same of them."""
    values: dict[tuple[str, ...], dict[tuple[str, str], list[float]]] = {}
    for (situation, name, across, value), by_view in texts.items():
        if set(by_view.values()) != {NO_CHANGE}:
            key = (situation, *(by_view.get(column, UNKNOWN) for column in columns))
            values.setdefault(key, {}).setdefault((name, across), []).append(value)
    return {
        key: [
            f"{f'{name}, ' if name else ''}{across} {', '.join(f'{value:g}' for value in found)}"
            for (name, across), found in places.items()
        ]
        for key, places in values.items()
    }


def lines_in(views: Views) -> Iterator[tuple[str, Map, float, list[tuple[float, Timing]]]]:
    """Every line of measured points: its view, its map, what is the same along it, and the points."""
    for name, of_view in views.items():
        for part in of_view:
            for value, points in part.lines():
                yield name, part, value, points


def unchanged(situation: str, name: str, counts: Counter[str]) -> str:
    """How many lines of a situation have one order throughout."""
    texts = [
        f"{who} {'at every point' if who == NOISE else 'faster wherever a gap was found'} "
        f"along {plural(number, 'line')}"
        for who, number in counts.items()
    ]
    return f"- {situation_text(situation)}, {name}: {', '.join(texts)}."
