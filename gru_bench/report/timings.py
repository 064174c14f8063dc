"""What ``gru-bench time`` measured, as the report reads it: which rows count, and how one is put into words.

One timing is a pair of arms that alternated in one fresh process, so that a ratio of the two is a measurement; a ratio
of times of two timings is none, and nothing here makes one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gru_bench.report.groups import VENDOR, device_kind, family_rank, shown, truth, where
from gru_bench.report.markdown import UNKNOWN, count, known, number, plural
from gru_bench.store.schema import ARM_FACTS, FIRST, SECOND, TIMING_COLUMNS

GRU, LSTM = "gru", "lstm"
NOISE = "noise"
SITUATIONS = {
    "train": "training step",
    "batch": "batch inference",
    "stream": "streaming",
    "sequence": "whole sequence by length",
}
"""In words, in the order of tables; of others the yaml's name."""
FASTEST, VENDORS = "each on its fastest timed backend", "both on the vendor's"
LETTERS = "T: time steps a call, B: sequences, D: features a step (H where not given), H: hidden size"
RANGES = "of several pairs the smallest and the largest of their ratios, which is no interval"
PLACE = ("machine", "device", "dtype", "threads", "torch")
SHAPE = ("steps", "batch", "inputs", "hidden_size_asked", "num_layers", "bidirectional")
ARM_KEY = ("cell", "backend", "hidden_size")
OF_RUNS = ("experiment", "task", "device", "num_layers", "budget")
"""In what a timed model of a task agrees with the runs of a report, as far as both are known."""


@dataclass(frozen=True)
class Arm:
    """One side of a timing.

    Attributes:
        facts: ``ARM_FACTS`` of the schema.
    """

    facts: Mapping[str, Any]

    @property
    def cell(self) -> str:
        return str(self.facts["cell"])

    @property
    def backend(self) -> str:
        return str(self.facts["backend"])

    @property
    def kernel(self) -> str:
        """What ran it, as a profiler saw it; where that is not known the backend."""
        return str(self.facts["kernel"]) if known(self.facts["kernel"]) else self.backend

    def number(self, name: str) -> float | None:
        """A measured number, or None."""
        return float(self.facts[name]) if known(self.facts[name]) else None


@dataclass(frozen=True, eq=False)
class Timing:
    """One pair, timed in one process.

    Attributes:
        row: ``TIMING_COLUMNS`` of the schema.
        first: The arm of which ``ratio`` says how many times as fast it is.
        second: The other.
    """

    row: Mapping[str, Any]
    first: Arm = field(init=False)
    second: Arm = field(init=False)

    def __post_init__(self) -> None:
        for name, prefix in (("first", FIRST), ("second", SECOND)):
            object.__setattr__(self, name, Arm({fact: self.row[f"{prefix}{fact}"] for fact in ARM_FACTS}))

    @property
    def situation(self) -> str:
        return str(self.row["situation"])

    @property
    def task(self) -> str:
        """The task whose whole model was timed; empty for layers alone."""
        return str(self.row["task"]) if known(self.row["task"]) else ""

    @property
    def budget(self) -> str:
        return str(self.row["budget"]) if known(self.row["budget"]) else "hidden"

    @property
    def finding(self) -> str:
        """``first``, ``second`` (the faster one) or ``noise``."""
        return str(self.row["finding"])

    @property
    def ratio(self) -> float:
        """Time of the second over time of the first."""
        return float(self.row["ratio"])

    @property
    def place(self) -> tuple[Any, ...]:
        """Machine, device, dtype, threads and version of torch."""
        return tuple(plain(self.row[name]) for name in PLACE)

    @property
    def point(self) -> tuple[Any, ...]:
        """All in which the two arms agree: where one comparison was made."""
        return (*self.place, self.situation, self.task, self.budget, *(plain(self.row[name]) for name in SHAPE))

    @property
    def arms_key(self) -> tuple[Any, ...]:
        """Which two arms."""
        return tuple(plain(arm.facts[name]) for arm in (self.first, self.second) for name in ARM_KEY)

    @property
    def pair_key(self) -> tuple[Any, ...]:
        """What one timing is of: which two arms, where."""
        return (self.point, self.arms_key)

    @property
    def is_forced(self) -> bool:
        """Whether it was measured on a busy machine on demand."""
        return bool(truth(self.row["forced"]))

    @property
    def is_undecided(self) -> bool:
        """Whether nothing was found because the machine was busy: no noise of the instrument."""
        return self.is_forced and self.finding == NOISE

    @property
    def quality(self) -> tuple[bool, str, str]:
        """Which of several of one pair counts: the one of which this is largest."""
        return (not self.is_forced, str(self.row["measured_at"]), str(self.row["run_id"]))

    @property
    def is_families(self) -> bool:
        """Whether it compares the GRU with the LSTM."""
        return (self.first.cell, self.second.cell) == (GRU, LSTM)

    @property
    def on_vendor(self) -> bool:
        """Whether both arms ran on the vendor's backend."""
        return self.first.backend == self.second.backend == VENDOR

    @property
    def names(self) -> tuple[str, str]:
        """What tells the arms apart: the cells, or the backends of one cell, or both."""
        if self.first.cell != self.second.cell:
            return shown(self.first.cell), shown(self.second.cell)
        if self.first.backend != self.second.backend:
            return self.first.backend, self.second.backend
        return "the first", "the second"

    def times_as_fast(self) -> tuple[float, float, float]:
        """How many times as fast the faster one is, and its interval; of the first where none is."""
        ratio, low, high = (float(self.row[name]) for name in ("ratio", "ratio_low", "ratio_high"))
        return (1 / ratio, 1 / high, 1 / low) if self.finding == "second" else (ratio, low, high)

    def words(self) -> str:
        """``GRU 1.31 times as fast (1.28 to 1.34; floor 1.01)``; where nothing was found, that it is inside the noise.

        A mark says that it was measured beside other work.
        """
        value, low, high = self.times_as_fast()
        bounds = f"{number(low)} to {number(high)}; floor {number(self.row['floor'])}"
        mark = "*" if self.is_forced else ""
        if self.is_undecided:
            return f"not decided, the machine was busy ({number(value)}, {number(low)} to {number(high)}){mark}"
        if self.finding == NOISE:
            return f"inside noise ({number(value)}, {bounds}){mark}"
        name = self.names[0 if self.finding == "first" else 1]
        return f"{name} {number(value)} times as fast ({bounds}){mark}"

    def shape_text(self) -> str:
        """``T 100, B 32, H 256``, and what is unusual."""
        row = self.row
        parts = [] if self.situation == "stream" else [f"T {count(row['steps'])}"]
        parts += [f"B {count(row['batch'])}"]
        if known(row["inputs"]) and row["inputs"] != row["hidden_size_asked"]:
            parts.append(f"D {count(row['inputs'])}")
        parts.append(f"H {count(row['hidden_size_asked'])}")
        if known(row["num_layers"]) and row["num_layers"] > 1:
            parts.append(f"{row['num_layers']} layers")
        return ", ".join([*parts, *(["both directions"] if truth(row["bidirectional"]) else [])])

    def subject(self) -> str:
        """The task whose model was timed, else the shape of the layers."""
        return self.task or self.shape_text()

    def belongs_to(self, facts: Iterable[Mapping[str, Any]]) -> bool:
        """Whether it is of layers alone, or of a model that some runs trained.

        Args:
            facts: What is known of the runs, by the names of :data:`OF_RUNS`.
        """
        mine = {name: self.row[name] for name in OF_RUNS} | {"device": device_kind(self.row["device"])}
        return not self.task or any(
            all(same(mine[name], device_kind(run[name]) if name == "device" else run[name]) for name in OF_RUNS)
            for run in facts
        )


def plain(value: Any) -> Any:
    """A value that can be sorted and compared; nothing is empty text."""
    return value if known(value) else ""


def same(one: Any, other: Any) -> bool:
    """Whether two facts are equal, as far as both are known."""
    return not known(one) or not known(other) or bool(one == other)


def timings_of(frame: pd.DataFrame, runs: pd.DataFrame | None = None) -> tuple[list[Timing], list[Timing]]:
    """The timings that count, in the order of tables, and others of the same pairs.

    Of those of one pair the latest counts, of a quiet machine where there is one.

    Args:
        frame: ``TIMING_COLUMNS`` of the schema.
        runs: Those of the report. Models of tasks that none of them trained are left out; where there are no runs,
            nothing is.
    """
    found = of_runs((row for row in records(frame) if row["status"] == "finished" and known(row["ratio"])), runs)
    found.sort(key=lambda one: (order(one), one.quality))
    best = {one.pair_key: one for one in found}
    counted = set(map(id, best.values()))
    return list(best.values()), [one for one in found if id(one) not in counted]


def not_timed(frame: pd.DataFrame, runs: pd.DataFrame | None = None) -> list[Mapping[str, Any]]:
    """The rows that did not finish, of pairs of which none did; see :func:`timings_of`."""
    finished = {one.pair_key for found in timings_of(frame, runs) for one in found}
    rows = [row for row in records(frame) if known(row["status"]) and row["status"] != "finished"]
    left = [one.row for one in of_runs(rows, runs) if one.pair_key not in finished]
    return sorted(left, key=lambda row: tuple(str(row[name]) for name in ("situation", "task", "error", "run_id")))


def of_runs(rows: Iterable[Mapping[str, Any]], runs: pd.DataFrame | None) -> list[Timing]:
    """The rows that say something of some runs; all where there are none."""
    found = [Timing(row) for row in rows]
    if runs is None or runs.empty:
        return found
    finished = runs[runs["status"] == "finished"]
    facts = facts_of(runs if finished.empty else finished)
    return [one for one in found if one.belongs_to(facts)]


def facts_of(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """In what models that were timed have to agree with some runs, each choice once."""
    facts: Any = runs.reindex(columns=list(OF_RUNS)).drop_duplicates().to_dict("records")
    return list(facts)


def quiet(found: Iterable[Timing]) -> list[Timing]:
    """Those of a quiet machine; where there is none, those of a busy one."""
    every = list(found)
    return [one for one in every if not one.is_forced] or every


def records(frame: pd.DataFrame) -> list[Mapping[str, Any]]:
    """The rows with every column."""
    rows = frame.reindex(columns=list(TIMING_COLUMNS)).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def order(one: Timing) -> tuple[Any, ...]:
    """Sort key of tables: place, situation, tasks before layers, size, cells, backends."""
    numbers = [float(value) if (value := plain(one.row[name])) != "" else -1.0 for name in SHAPE]
    cells = [family_rank(arm.cell.split("_")[0]) for arm in (one.first, one.second)]
    return (tuple(map(str, one.place)), situation_rank(one.situation), not one.task, one.task, one.budget, numbers,
            cells, [(arm.cell, arm.backend != VENDOR, arm.backend) for arm in (one.first, one.second)])  # fmt: skip


def situation_rank(name: str) -> tuple[int, str]:
    """Where a situation stands."""
    return (list(SITUATIONS).index(name) if name in SITUATIONS else len(SITUATIONS), name)


def situation_text(name: str) -> str:
    """A situation in words."""
    return SITUATIONS.get(name, name)


def situations(found: Iterable[Timing]) -> list[str]:
    """Those that occur, in their order."""
    return sorted({one.situation for one in found}, key=situation_rank)


def by_place(found: Iterable[Timing]) -> dict[tuple[Any, ...], list[Timing]]:
    """The timings of each machine, device, dtype, number of threads and version of torch."""
    places: dict[tuple[Any, ...], list[Timing]] = {}
    for one in found:
        places.setdefault(one.place, []).append(one)
    return places


def place_text(one: Timing, *, threads: bool = True) -> str:
    """``CPU of machine `ab12`, float32, 2 threads``."""
    row = one.row
    parts = [where(row), plain(row["dtype"])]
    parts += [plural(int(row["threads"]), "thread")] if threads and known(row["threads"]) else []
    return ", ".join(str(part) for part in parts if part)


# GRU against LSTM


def families(found: Iterable[Timing], *, budget: str = "hidden") -> dict[str, list[Timing]]:
    """The comparisons of GRU and LSTM, one a point: each on its fastest timed backend, and both on the vendor's.

    The fastest pair is the one of the point whose two times are the least together; at a point where nothing but the
    vendor's backend was timed there is none.

    Args:
        found: All timings, those of two backends of one cell too: they tell which backends were tried.
        budget: What is equal between the two.
    """
    every = list(found)
    tried = {one.point for one in every for arm in (one.first, one.second) if arm.backend != VENDOR}
    pairs = [one for one in every if one.is_families and one.budget == budget]
    best: dict[tuple[Any, ...], Timing] = {}
    for one in pairs:
        if one.point in tried and (one.point not in best or cost(one) < cost(best[one.point])):
            best[one.point] = one
    views = {FASTEST: list(best.values()), VENDORS: [one for one in pairs if one.on_vendor]}
    return {name: rows for name, rows in views.items() if rows}


def cost(one: Timing) -> tuple[bool, float]:
    """Of a quiet machine first, then by the time of both arms."""
    return one.is_forced, total_ms(one)


def total_ms(one: Timing) -> float:
    """Time of both arms; infinite where one is not known."""
    both = [arm.number("ms") for arm in (one.first, one.second)]
    return math.inf if None in both else math.fsum(value for value in both if value is not None)


def card(found: Sequence[Timing]) -> str:
    """What several comparisons of two cells found, and on which kernels, in a line; one by itself in full."""
    if not found:
        return UNKNOWN
    if len(found) == 1:
        (one,) = found
        return f"{one.words()}, {on_kernels([one])}, {one.subject()}"
    return f"{scope(found)}: {counted(found)}; {on_kernels(found)}"


def scope(found: Sequence[Timing]) -> str:
    """``of 6 tasks``, or sizes of layers; of several machines or numbers of threads that they are."""
    places = len({one.place for one in found})
    unit = "tasks" if len({one.task for one in found}) == len(found) else "sizes" if places == 1 else "cases"
    return f"of {len(found)} {unit}" + (f" in {places} settings of machine, dtype and threads" if places > 1 else "")


def counted(found: Sequence[Timing]) -> str:
    """``GRU faster on 5 (1.1 to 1.9 times), inside noise on 1; largest floor 1.02``: see :data:`RANGES`."""
    texts = []
    first, second = (f"{name} faster" for name in found[0].names)
    for side, name in (("first", first), ("second", second), (NOISE, "inside noise")):
        rows = [one for one in found if one.finding == side and not one.is_undecided]
        if rows:
            values = sorted(one.times_as_fast()[0] for one in rows)
            ends = list(dict.fromkeys(map(number, (values[0], values[-1]))))
            factor = "" if side == NOISE else f" ({' to '.join(ends)} times)"
            texts.append(f"{name} on {len(rows)}{factor}")
    if busy := sum(one.is_undecided for one in found):
        texts.append(f"not decided on {busy}, the machine was busy*")
    floors = [float(one.row["floor"]) for one in found if not one.is_undecided]
    floor = f"; largest floor {number(max(floors))}" if floors else ""
    return f"{', '.join(texts)}{floor}{marked([one for one in found if not one.is_undecided])}"


def on_kernels(found: Sequence[Timing]) -> str:
    """``GRU on native, LSTM on oneDNN``."""
    sides = []
    for position, name in enumerate(found[0].names):
        kernels = dict.fromkeys((one.first, one.second)[position].kernel for one in found)
        sides.append((name, " or ".join(kernels)))
    if sides[0][1] == sides[1][1]:
        return f"on {sides[0][1]}"
    return ", ".join(f"{name} on {kernels}" for name, kernels in sides)


def marked(found: Sequence[Timing]) -> str:
    """How many were measured on a busy machine."""
    forced = sum(one.is_forced for one in found)
    return f"; {forced} of them measured on a busy machine*" if forced else ""
