"""What models became when they were exported: size, score and latency, and which of two cells is smaller or faster."""

from dataclasses import dataclass

import pandas as pd

from gru_bench.compare.compared import FIRST, SECOND
from gru_bench.compare.pairs import pairs, shown
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import count, number
from gru_bench.report.view import View
from gru_bench.store.schema import DEPLOYMENT

CLEARLY = 1.1
"""Times of two exports were not taken by turns, so a ratio below this one tells nothing."""
DTYPES = ("float32", "int8")


@dataclass(frozen=True)
class Deployed:
    """The exported runs of one row.

    Attributes:
        group: The row.
        values: Of each run that was exported, by metric such as ``float32_bytes``, ``int8_stream_p50``.
        loss: By ``float32`` and ``int8``: how much worse the score on the test split is than the run's, mean over runs.
    """

    group: Group
    values: dict[str, pd.Series]
    loss: dict[str, float]

    def middle(self, metric: str) -> float | None:
        """The median over the runs, where any has it."""
        found = self.values.get(metric)
        return None if found is None or found.empty else float(found.median())

    @property
    def runs(self) -> int:
        return len(self.values.get("float32_bytes", ()))


METRICS = ("bytes", "error", "score", "stream_p50", "stream_p99", "sequence_p50", "sequence_p99")


def deployed(view: View, task: TaskGroups) -> list[Deployed]:
    """The rows of a task of which runs were exported."""
    found = []
    for group in task.groups:
        values = {
            name: series
            for dtype in DTYPES
            for metric in METRICS
            if len(series := view.seed_values(group, name := f"{dtype}_{metric}", DEPLOYMENT))
        }
        if values:
            found.append(Deployed(group, values, losses(view, task, group, values)))
    return found


def losses(view: View, task: TaskGroups, group: Group, values: dict[str, pd.Series]) -> dict[str, float]:
    """How much worse each type scores than the runs did; above 0 is worse."""
    trained = view.seed_values(group, task.metric)
    sign = 1 if task.higher_is_better else -1
    found = {}
    for dtype in DTYPES:
        scored = values.get(f"{dtype}_score")
        if scored is not None:
            lost = (sign * (trained - scored)).dropna()
            if len(lost):
                found[dtype] = float(lost.mean())
    return found


def card(view: View) -> list[list[str]]:
    """A row a pair that may be compared and of which both were exported: which file is smaller, which step faster."""
    exported = {id(one.group): one for task in view.tasks for one in deployed(view, task)}
    rows = []
    for pair in pairs(view, FIRST, SECOND):
        both = [exported[id(group)] for group in (pair.first, pair.second) if id(group) in exported]
        if len(both) == 2:
            rows.append([pair.name, smaller(both), faster(both, "stream"), faster(both, "sequence")])
    return rows


def smaller(both: list[Deployed]) -> str:
    """``GRU: 44,327 to 52,970 bytes (0.84); int8: LSTM: ...``."""
    texts = []
    for dtype in DTYPES:
        sizes = {one.group.cell: size for one in both if (size := one.middle(f"{dtype}_bytes")) is not None}
        if len(sizes) == len(both):
            less, more = sorted(sizes, key=lambda cell: sizes[cell])
            text = (
                f"{shown(less)}, {count(sizes[less])} to {count(sizes[more])} bytes ({sizes[less] / sizes[more]:.2f})"
            )
            texts.append(text if dtype == "float32" else f"{dtype}: {text}")
    return "; ".join(texts)


def faster(both: list[Deployed], graph: str) -> str:
    """``GRU, 14 to 18 µs``; that they cannot be told apart where runs overlap or the ratio is small."""
    texts = []
    for dtype in DTYPES:
        times = {one.group.cell: found for one in both if (found := one.values.get(f"{dtype}_{graph}_p50")) is not None}
        if len(times) == len(both):
            less, more = sorted(times, key=lambda cell: float(times[cell].median()))
            low, high = float(times[less].median()), float(times[more].median())
            apart = float(times[less].max()) < float(times[more].min()) and high / low >= CLEARLY
            text = f"{shown(less) if apart else 'about equal'}, {number(low)} to {number(high)} µs"
            texts.append(text if dtype == "float32" else f"{dtype}: {text}")
    return "; ".join(texts) or "not measured"
