"""Scores on parts of the test data: what the sections on lengths and on other parts have in common."""

import math
from dataclasses import dataclass

import pandas as pd

from gru_bench.report.groups import TaskGroups
from gru_bench.report.markdown import count, known, number, table
from gru_bench.report.scores import plus_minus_of
from gru_bench.report.view import View
from gru_bench.store.schema import PART_SIZE


@dataclass(frozen=True, kw_only=True)
class Small:
    """What happens to parts with few test examples.

    Attributes:
        below: Examples; a part with fewer is neither a column nor drawn. They are merged into one column where the
            metric allows it and together they have as many, else left out.
        mergeable: Metrics that are means over test examples, so that parts may be merged by weighting.
    """

    below: int
    mergeable: list[str]


@dataclass(frozen=True)
class Parts:
    """One way to cut one task's test data.

    Attributes:
        name: What it is cut by.
        values: The parts that are large enough or of which no size is known, in the order of their numbers, else of
            their names.
        scores: ``scores[row][value]`` has one value per seed; rows without any are left out.
        is_split: By row, whether some of its seeds learned the task and others did not.
        trivial: What the trivial guess scores, by value; None where no run kept it, or where the rows differ in data.
        sizes: Test examples by value; the smallest where runs differ; None where not known.
        merged: Header of the column of merged parts, a key of ``scores`` and ``sizes``; empty where nothing is merged.
        note: Which parts are merged or left out for their size, in a sentence.
    """

    task: TaskGroups
    metric: str
    name: str
    values: list[str]
    scores: dict[str, dict[str, pd.Series]]
    is_split: dict[str, bool]
    trivial: dict[str, float | None]
    sizes: dict[str, int | None]
    merged: str
    note: str

    def table(self, most: int | None = None) -> str:
        """One row per cell, one column per part: the first ``most`` and the merged ones; nothing without a column."""
        shown = self.values[:most] + ([self.merged] if self.merged else [])
        if not shown:
            return ""
        rows = []
        if any(self.sizes[value] is not None for value in shown):
            rows.append(["test examples (n)", *(count(self.sizes[value]) for value in shown)])
        for label, row in self.scores.items():
            rows.append([label, *(plus_minus_of(row[value], self.is_split[label]) for value in shown)])
        if any(known(self.trivial[value]) for value in shown):
            rows.append(["trivial guess", *(number(self.trivial[value]) for value in shown)])
        columns = ["cell", *(value if value == self.merged else f"{self.name} {value}" for value in shown)]
        return table(columns, rows, set(columns[1:]))

    def ticks(self, most: int | None = None) -> list[str]:
        """A label for each part of a figure: its value, and its size unless all are alike."""
        shown = self.values[:most]
        if self.common_size(most) is not None:
            return shown
        return [value if self.sizes[value] is None else f"{value}\nn={self.sizes[value]:,}" for value in shown]

    @property
    def is_sized(self) -> bool:
        """Whether the number of test examples is known for any part."""
        return any(size is not None for size in self.sizes.values())

    def common_size(self, most: int | None = None) -> int | None:
        """How many test examples each part of a figure has, where all have equally many."""
        found = {self.sizes[value] for value in self.values[:most]}
        return found.pop() if len(found) == 1 else None


def cut(view: View, task: TaskGroups, metric: str, name: str, small: Small) -> Parts:
    """The parts by which one of a task's test scores was cut; none where it was not. Made once for all sections."""
    key = ("parts", task.task, task.metric, metric, name, repr(small))
    found: Parts = view.remember(key, lambda: taken_apart(view, task, metric, name, small))
    return found


def taken_apart(view: View, task: TaskGroups, metric: str, name: str, small: Small) -> Parts:
    """The same, made anew."""
    finished = {run for group in task.groups for run in group.finished["run_id"]}
    found = {
        value
        for (split, *rest, value), by_run in view.measured.items()
        if (split, *rest) == ("test", metric, name) and not finished.isdisjoint(by_run)
    }
    ordered = sorted(found, key=lambda text: (as_number(text), text))
    scores = {
        group.label: {value: view.seed_values(group, metric, "test", name, value) for value in ordered}
        for group in task.groups
    }
    kept = {label: row for label, row in scores.items() if any(len(series) for series in row.values())}
    guesses = {
        value: _agreed(view.measured.get(("test", f"trivial_{metric}", name, value), {}), task) for value in ordered
    }
    counted = {value: part_sizes(view, metric, name, value) for value in ordered}
    sizes = {
        value: round(min(n for run, n in by_run.items() if run in finished))
        if not finished.isdisjoint(by_run)
        else None
        for value, by_run in counted.items()
    }
    few = [value for value in ordered if (n := sizes[value]) is not None and n < small.below]
    together = sum(sizes[value] or 0 for value in few)
    alike = all(len({n for run, n in counted[value].items() if run in finished}) == 1 for value in few)
    merged = ""
    if len(few) > 1 and metric in small.mergeable and alike and together >= small.below:
        merged = f"other ({len(few)} parts, n={together:,})"
        weights = {value: sizes[value] or 0 for value in few}
        for row in kept.values():
            row[merged] = weighted_mean({value: row[value] for value in few}, weights)
        sizes[merged], guesses[merged] = together, None  # the best constants of the parts are not one constant
    outcomes = view.outcomes(task)
    return Parts(
        task,
        metric,
        name,
        [value for value in ordered if value not in few],
        kept,
        {label: outcome.is_split for label, outcome in outcomes.items()},
        guesses,
        sizes,
        merged,
        size_note(metric, few, sizes, merged, small),
    )


def part_sizes(view: View, metric: str, name: str, value: str) -> dict[str, float]:
    """How many examples of a part a metric was measured on, by run: as ``n_accuracy`` where metrics differ in that."""
    shared, own = (view.measured.get(("test", size, name, value), {}) for size in (PART_SIZE, f"{PART_SIZE}_{metric}"))
    return shared | own


def is_size(metric: str) -> bool:
    """Whether a metric is the number of a part's examples: no score."""
    return metric == PART_SIZE or metric.startswith(f"{PART_SIZE}_")


def weighted_mean(parts: dict[str, pd.Series], weights: dict[str, int]) -> pd.Series:
    """The score of several parts together, for the seeds that have all of them."""
    columns = pd.concat(parts, axis=1, join="inner")
    return columns.mul(pd.Series(weights)).sum(axis=1) / sum(weights.values())


def unsized_note(found: list[Parts]) -> str:
    """The tasks whose runs did not record how many test examples each part has: small parts stand beside large ones."""
    tasks = dict.fromkeys(parts.task.task for parts in found if not parts.is_sized)
    if not tasks:
        return ""
    return f"How many test examples each part has was not recorded by the runs of {', '.join(tasks)}; some may be few."


def size_note(metric: str, few: list[str], sizes: dict[str, int | None], merged: str, small: Small) -> str:
    """Which parts are merged or left out for their size."""
    if not few:
        return ""
    names = ", ".join(f"{value} (n={sizes[value]})" for value in few)
    if merged:
        return f"Parts of fewer than {small.below} test examples are merged, weighted by their sizes: {names}."
    why = "" if metric in small.mergeable else f", and {metric} is not a mean over examples, so they cannot be merged"
    return f"Left out, since a part of fewer than {small.below} test examples says little{why}: {names}."


def _agreed(by_run: dict[str, float], task: TaskGroups) -> float | None:
    """The value that a task's runs agree on."""
    ids = {run for group in task.groups for run in group.runs["run_id"]}
    found = {value for run, value in by_run.items() if run in ids}
    return found.pop() if len(found) == 1 else None


def as_number(text: str) -> float:
    """A part's place on an axis; a range such as ``5-9`` or ``31+`` stands at its lower end."""
    try:
        return float(text.split("-")[0].rstrip("+") or text)
    except ValueError:
        return math.inf
