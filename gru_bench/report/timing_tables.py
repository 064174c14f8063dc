"""Tables of paired timings, one machine and number of threads at a time: ratios, latencies, arithmetic, memory."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gru_bench.report.benchmarks import mean
from gru_bench.report.groups import VENDOR, family_rank
from gru_bench.report.markdown import UNKNOWN, count, known, number, paragraphs, plural, span, table
from gru_bench.report.timings import (
    FASTEST,
    VENDORS,
    Arm,
    Timing,
    counted,
    families,
    marked,
    place_text,
    quiet,
    situation_rank,
    situation_text,
)

SHORT = {FASTEST: "fastest", VENDORS: "vendor"}
PERCENTILES = {"p50_us": "p50 µs", "p90_us": "p90 µs", "p99_us": "p99 µs"}
WORK = {"ms": "ms", "gflop": "GFLOP", "percent_of_peak": "% of peak", "joules": "J"}
MEMORY = {
    "peak_mib": "peak MiB",
    "parameters_mib": "parameters MiB",
    "gradients_mib": "gradients MiB",
    "optimizer_mib": "optimizer MiB",
    "activations_mib": "activations MiB",
    "resident_mib": "resident MiB",
}
COUNTS = {"hidden_size": "hidden size", "parameters": "number of parameters", "state_bytes": "state bytes a token"}


@dataclass(frozen=True)
class Timed:
    """One cell on one backend in one situation: the medians over the pairs in which it was timed there.

    What a busy machine timed is among them only where there is nothing else.

    Attributes:
        of: One of these pairs, for what all of them share.
        arm: Its side.
        numbers: By name of a fact.
        forced: Whether only a busy machine timed it.
    """

    of: Timing
    arm: Arm
    numbers: dict[str, float]
    forced: bool = False

    @property
    def kernel(self) -> str:
        """What ran it, with a star where the machine was busy."""
        return f"{self.arm.kernel}{'*' if self.forced else ''}"


def timed(found: Sequence[Timing]) -> list[Timed]:
    """Every cell on every backend in every situation and size, once."""
    arms: dict[tuple[object, ...], list[tuple[Timing, Arm]]] = {}
    for one in found:
        for arm in (one.first, one.second):
            arms.setdefault((one.point, arm.cell, arm.backend, arm.number("hidden_size")), []).append((one, arm))
    rows = []
    for every in arms.values():
        sides = [side for side in every if not side[0].is_forced] or every
        numbers = {}
        for name in (*WORK, *PERCENTILES, *MEMORY, *COUNTS):
            values = [value for _, arm in sides if (value := arm.number(name)) is not None]
            if values:
                numbers[name] = statistics.median(values)
        rows.append(Timed(*sides[0], numbers, forced=sides[0][0].is_forced))
    places = {row.of.point: i for i, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: (places[row.of.point], family_rank(row.arm.cell.split("_")[0]), row.arm.cell,
                                         row.arm.backend != VENDOR, row.arm.backend))  # fmt: skip


def place_tables(found: Sequence[Timing], most_rows: int) -> str:
    """All that was measured at one place.

    Args:
        found: Timings of one machine, device, dtype, number of threads and version of torch.
        most_rows: Rows of layers in a table; whole models of tasks are shown all.
    """
    rows = timed(found)
    return paragraphs(
        f"### {place_text(found[0])}",
        provenance(found),
        ratios(found, most_rows),
        against_vendor(found),
        arms_table(
            [row for row in rows if "p50_us" in row.numbers], PERCENTILES, "Latency of a single step:", most_rows
        ),
        arms_table(
            of_situations(rows), WORK, f"Time of a call, its matrix products and their rate:{best(found)}", most_rows
        ),
        memory(rows, most_rows),
    )


def best(found: Sequence[Timing]) -> str:
    """What the per cent are of."""
    known_rate = any(arm.number("percent_of_peak") is not None for one in found for arm in (one.first, one.second))
    return " per cent are of the best rate that this machine showed in a plain matrix product." if known_rate else ""


def provenance(found: Sequence[Timing]) -> str:
    """When, with what and beside what these were measured, in a few sentences."""
    rows = [one.row for one in found]
    commits = sorted({str(row["git_commit"])[:12] for row in rows if known(row["git_commit"])})
    instruments = sorted({str(row["instrument"]) for row in rows if known(row["instrument"])})
    days = sorted({str(row["measured_at"])[:10] for row in rows if known(row["measured_at"])})
    rounds = [int(row["rounds"]) for row in rows if known(row["rounds"])]
    texts = [
        f"torch {rows[0]['torch']}",
        f"commit {', '.join(commits)}" if commits else "",
        f"measured {' to '.join(dict.fromkeys([days[0], days[-1]]))}" if days else "",
        "; ".join(instruments),
    ]
    pairs = plural(len(found), "pair")
    each = f" of {' to '.join(dict.fromkeys(map(count, (min(rounds), max(rounds)))))} rounds" if rounds else ""
    return f"{pairs}{each}; {'; '.join(filter(None, texts))}. {beside(found)}".strip()


def beside(found: Sequence[Timing]) -> str:
    """What else the machine did meanwhile."""

    def most(name: str) -> float | None:
        return max((float(one.row[name]) for one in found if known(one.row[name])), default=None)

    def least(name: str) -> float | None:
        return min((float(one.row[name]) for one in found if known(one.row[name])), default=None)

    cores, steal, repeated = most("others_cores"), most("steal_percent"), most("repeated")
    low, high = least("mhz_low"), most("mhz_high")
    texts = [
        f"other processes used up to {number(cores, 2)} cores" if cores is not None else "",
        f"the host took up to {number(steal, 2)} % of the time" if steal is not None else "",
        f"of a pair at most {plural(round(repeated), 'round')} had to be taken again" if repeated else "",
        f"clock {span(low, high, 4).replace(' ..', ' to')} MHz" if low is not None and high is not None else "",
    ]
    text = ", ".join(filter(None, texts))
    forced = sum(one.is_forced for one in found)
    mark = f" *: {forced} of them on a busy machine, on demand (force=true)." if forced else ""
    return (f"Meanwhile {text}." if text else "") + mark


def ratios(found: Sequence[Timing], most_rows: int) -> str:
    """GRU against LSTM, at each size; of many sizes of layers what was found at how many."""
    views = families(found)
    rows: dict[tuple[object, ...], dict[str, list[Timing]]] = {}
    layers = {one.point for of_view in views.values() for one in of_view if not one.task}
    for name, of_view in views.items():
        for one in of_view:
            together = not one.task and len(layers) > most_rows
            rows.setdefault((one.situation, "layers") if together else one.point, {}).setdefault(name, []).append(one)
    lines = []
    for row in sorted(rows.values(), key=rank):
        one = next(iter(row.values()))[0]
        many = len({of.point for of_view in row.values() for of in of_view})
        texts = [text for name in views for text in view_cells(row.get(name, []))]
        lines.append([situation_text(one.situation), subject(one) if many == 1 else f"{many} sizes of layers", *texts])
    columns = ["situation", "of"]
    for name in views:
        columns += [f"{SHORT[name]}: GRU on, LSTM on", f"{SHORT[name]}: found"]
    return paragraphs("GRU against LSTM at equal hidden size:", table(columns, lines)) if lines else ""


def view_cells(found: Sequence[Timing]) -> list[str]:
    """Kernels and finding of the comparisons of one row."""
    if not found:
        return [UNKNOWN, UNKNOWN]
    sides = [" or ".join(dict.fromkeys(arm.kernel for arm in arms)) for arms in zip(*map(both, found), strict=True)]
    kernels = ", ".join(dict.fromkeys(sides))
    return [kernels, found[0].words() if len(found) == 1 else counted(found)]


def both(one: Timing) -> tuple[Arm, Arm]:
    """Both arms."""
    return one.first, one.second


def against_vendor(found: Sequence[Timing]) -> str:
    """Each backend against the reference: the geometric mean over all sizes, with what was found at how many."""
    groups: dict[tuple[str, ...], list[Timing]] = {}
    for one in found:
        if one.first.cell == one.second.cell and one.first.backend != one.second.backend:
            key = (one.situation, "tasks" if one.task else "layers", one.first.cell, one.first.backend)
            groups.setdefault((*key, one.second.backend), []).append(one)
    rows = []
    for (situation, of, cell, backend, reference), of_backend in groups.items():
        of_backend = quiet(of_backend)
        values = [one.ratio for one in of_backend]
        if len(of_backend) == 1:
            (one,) = of_backend
            text = one.words()
            if one.finding == "first":
                text = text.removeprefix(f"{backend} ")
        else:
            outside = [sum(one.finding == side for one in of_backend) for side in ("first", "second", "noise")]
            text = (
                f"{number(mean(values))} times as fast ({span(min(values), max(values)).replace(' ..', ' to')}): "
                f"faster at {outside[0]}, slower at {outside[1]}, inside noise at {outside[2]}{marked(of_backend)}"
            )
        subjects = (
            subject(of_backend[0])
            if len(of_backend) == 1
            else f"{len(of_backend)} {of}"
            if of == "tasks"
            else f"{len(of_backend)} sizes of layers"
        )
        kernel = ", ".join(dict.fromkeys(one.first.kernel for one in of_backend))
        rows.append([situation_text(situation), subjects, cell, f"{backend} ({kernel})", reference, text])
    if not rows:
        return ""
    columns = ["situation", "of", "cell", "backend (kernel)", "against", "found"]
    text = (
        "One cell on two backends; of several sizes the geometric mean of all ratios, those inside noise too, in "
        "brackets the smallest and the largest, which are no interval:"
    )
    return paragraphs(text, table(columns, rows))


def rank(row: dict[str, list[Timing]]) -> tuple[object, ...]:
    """Situations in their order, in each tasks before layers; else as the timings stand."""
    one = next(iter(row.values()))[0]
    return (situation_rank(one.situation), not one.task)


def subject(one: Timing) -> str:
    """The task with its shape, or the shape of the layers; and what is equal where it is not the hidden size."""
    shape = one.shape_text() + ("" if one.budget == "hidden" else f", equal {one.budget}")
    return f"{one.task} ({shape})" if one.task else shape


def arms_table(rows: Sequence[Timed], names: dict[str, str], title: str, most_rows: int) -> str:
    """A row for each cell on each backend; columns of which nothing is known are left out."""
    kept, left = shown_rows(rows, most_rows)
    columns = {name: header for name, header in names.items() if any(name in row.numbers for row in kept)}
    if not columns:
        return ""
    lines = [
        [situation_text(row.of.situation), subject(row.of), row.arm.cell, row.kernel,
         *((count if name in COUNTS else number)(row.numbers.get(name)) for name in columns)]
        for row in kept
    ]  # fmt: skip
    head = ["situation", "of", "cell", "kernel"]
    return paragraphs(title, table([*head, *columns.values()], lines, set(columns.values())), left)


def shown_rows(rows: Sequence[Timed], most_rows: int) -> tuple[list[Timed], str]:
    """The rows that a table shows: of many sizes of layers the smallest and the largest of each situation."""
    if sum(not row.of.task for row in rows) <= most_rows:
        return list(rows), ""
    points: dict[str, list[object]] = {}
    for row in rows:
        if not row.of.task:
            points.setdefault(row.of.situation, []).append(row.of.point)
    ends = {point for found in points.values() for point in (found[0], found[-1])}
    left = "Of the layers the smallest and the largest size of each situation; all are in [timings.csv](timings.csv)."
    return [row for row in rows if row.of.task or row.of.point in ends], left


def of_situations(rows: Sequence[Timed]) -> list[Timed]:
    """Without single steps and without the many lengths of whole sequences, unless there is nothing else."""
    return [row for row in rows if row.of.situation in ("train", "batch")] or list(rows)


def memory(rows: Sequence[Timed], most_rows: int) -> str:
    """Tensor bytes at their peak, split, by cell and backend."""
    rows = of_situations([row for row in rows if row.numbers.keys() & {*MEMORY, *COUNTS}])
    text = (
        "Memory of a call: the largest sum of tensor bytes alive at once, and what of it are parameters, gradients, "
        "optimizer state and the rest (kept for the way back, inputs, workspaces); last the largest resident set of a "
        "fresh process that ran only this."
    )
    return arms_table(rows, COUNTS | MEMORY, text, most_rows)
