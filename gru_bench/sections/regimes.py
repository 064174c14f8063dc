"""Regimes: where is which cell faster, and where does the order change?"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from matplotlib.figure import Figure

from gru_bench.report.crossings import crossings, in_words
from gru_bench.report.groups import shown
from gru_bench.report.length_lines import draw_lines
from gru_bench.report.markdown import UNKNOWN, Section, paragraphs, plural, table
from gru_bench.report.regime_maps import Map, axes_of, draw_maps, is_map, maps_of, panels_of
from gru_bench.report.timings import (
    GRU,
    LETTERS,
    LSTM,
    NOISE,
    Timing,
    families,
    on_kernels,
    situation_text,
    situations,
)
from gru_bench.report.view import View

TITLE = "Regimes"
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


def render(view: View, /, *, most_rows: int) -> Section:
    """Answer: at which length, batch and hidden size is the GRU faster, where the LSTM, and where do they cross?

    Args:
        view: All timings.
        most_rows: Lines of the table of crossings; more are counted.
    """
    layers = [one for one in view.timings if not one.task]
    parts: list[str] = []
    figures: dict[str, Figure] = {}
    found: list[tuple[str, Views]] = []
    for situation in situations(layers):
        views = maps(one for one in layers if one.situation == situation)
        if not any(is_map(of_view) for of_view in views.values()):
            continue
        found.append((situation, views))
        name, title = f"regimes_{situation}", situation_text(situation)
        if situation == SEQUENCE:
            figures[name] = draw_lines(lengths([one for one in layers if one.situation == situation]))
            note = "A bracket spans from the last length of one order to the first of the other."
            picture = f"![Time of a whole sequence by its length](figures/{name}.png)\n\n*{note}*"
        else:
            figures[name] = draw_maps(views)
            picture = f"![Which cell is faster in {title}](figures/{name}.png)"
        parts += [f"### {title[0].upper()}{title[1:]}", kernels_line(views), picture]
    if not found:
        return Section(TITLE, "")
    text = paragraphs(TEXT, crossing_table(found, most_rows), *parts)
    return Section(TITLE, text, figures, leads=True)


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


def crossing_table(found: Sequence[tuple[str, Views]], most_rows: int) -> str:
    """In words the order along each line of measured points: those where it changes as a table, the others counted."""
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
        f"{who} {'at every point' if who == NOISE else 'faster wherever a gap was found'} along {number}"
        for who, number in counts.items()
    ]
    return f"- {situation_text(situation)}, {name}: {', '.join(texts)}."
