"""Which seeds generalise: whether a model that was trained to some level of difficulty is right at all levels beyond.

All or nothing, like whether a seed solves a lag: only counts and medians are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gru_bench.compare.pairs import best_row
from gru_bench.report.groups import Group, TaskGroups, family_rank
from gru_bench.report.markdown import known
from gru_bench.report.parts import as_number
from gru_bench.report.view import View
from gru_bench.statistics.intervals import Interval
from gru_bench.statistics.success import wilson
from gru_bench.store.schema import DIVERGED


@dataclass(frozen=True)
class Generalised:
    """The seeds of one row on one task.

    Attributes:
        name: The cell, and the budget where a cell has several.
        group: The row.
        learned: Of each seed, whether its test score in training's range is at or past the ceiling.
        beyond: Likewise at every tested level beyond.
        levels: Those levels.
    """

    name: str
    group: Group
    learned: dict[int, bool]
    beyond: dict[int, bool]
    levels: list[str]

    @property
    def num(self) -> int:
        return len(self.beyond)

    @property
    def num_solved(self) -> int:
        return sum(self.beyond.values())

    @property
    def interval(self) -> Interval:
        """Wilson's, 95 %."""
        return wilson(self.num_solved, self.num)


def generalised(view: View, task: TaskGroups, slices: Sequence[str]) -> list[Generalised]:
    """Each row of a task of which it is known, in the order of the tables.

    Args:
        view: All runs.
        task: With a ceiling, and trained at levels of difficulty.
        slices: Names of slices that are such levels.
    """
    if task.ceiling is None or task.higher_is_better is None:
        return []
    budgets = {str(group.fact("budget") or "") for group in task.groups}
    by_row: dict[tuple[str, str], list[Group]] = {}
    for group in task.groups:
        by_row.setdefault((group.cell, str(group.fact("budget") or "")), []).append(group)
    found = []
    for (cell, budget), groups in by_row.items():
        group = best_row(view, task, groups)[0]
        name = f"{cell}, {budget}" if len(budgets) > 1 and budget else cell
        if (one := of_row(view, task, group, name, slices)) is not None:
            found.append(one)
    return sorted(found, key=lambda one: (one.name.partition(", ")[2], place(one.group)))


def place(group: Group) -> tuple[object, ...]:
    """Families in their order, the reference cell first."""
    return family_rank(group.family), group.cell != group.family, group.cell


def of_row(view: View, task: TaskGroups, group: Group, name: str, slices: Sequence[str]) -> Generalised | None:
    """One row; None where its levels are not known, or none lies beyond training."""
    trained_to = group.fact("trained_to")
    if not known(trained_to) or task.ceiling is None:
        return None
    parts = {
        (slice, value)
        for split, metric, slice, value in view.measured
        if (split, metric) == ("test", task.metric) and slice in slices and as_number(value) > float(trained_to)
    }
    scores = {part: view.seed_values(group, task.metric, "test", *part) for part in parts}
    scores = {part: series for part, series in scores.items() if len(series)}
    if not scores:
        return None
    sign, ceiling = (1 if task.higher_is_better else -1), task.ceiling
    trained = view.seed_values(group, task.metric)
    seeds = [int(seed) for seed in trained.index if all(seed in series.index for series in scores.values())]
    learned = {seed: bool(sign * (trained[seed] - ceiling) >= 0) for seed in seeds}
    beyond = {seed: all(sign * (series[seed] - ceiling) >= 0 for series in scores.values()) for seed in seeds}
    for seed in diverged(group):  # a loss that was no number is a seed that did not learn
        learned.setdefault(seed, False)
        beyond.setdefault(seed, False)
    levels = sorted({value for _, value in scores}, key=as_number)
    return Generalised(name, group, learned, beyond, levels)


def diverged(group: Group) -> list[int]:
    """Seeds whose training diverged."""
    failed = group.runs[group.runs["status"] == "failed"]
    both = zip(failed["seed"], failed["error"], strict=True)
    return [int(seed) for seed, error in both if known(seed) and str(error).startswith(DIVERGED)]
