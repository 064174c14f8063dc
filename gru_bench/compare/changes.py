"""What changed between two results of the same tasks and cells: for each row, new against old, beyond noise or not.

Differences are oriented: positive means that NEW is better, whatever the metric's direction. Where both have the same
seeds the differences are paired by seed; else Welch's interval is taken. Holm's adjustment covers all compared rows, so
that two results of the same code are told apart in at most 5 % of the cases, however many rows there are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from gru_bench.errors import UserError
from gru_bench.report.groups import Group, TaskGroups, distinct
from gru_bench.report.markdown import known
from gru_bench.report.view import View
from gru_bench.statistics.crossed import Estimate, seeds_only
from gru_bench.statistics.intervals import Interval
from gru_bench.statistics.significance import holm_levels
from gru_bench.statistics.welch import welch
from gru_bench.store.schema import SETTINGS

ALPHA = 0.05
WORSE, IMPROVED, WITHIN, UNDECIDED = "worse", "improved", "within margin", "undecided"
OTHER_DATA = "other data"


@dataclass(frozen=True)
class Change:
    """One row of both results.

    Attributes:
        old: Number of seeds with a score.
        new: Likewise.
        difference: Mean of NEW less that of OLD, positive where NEW is better; NaN where one has no score.
        margin: In the unit of the metric.
        interval: At the level at which Holm tested this row; None where there is none.
        answer: ``worse``, ``improved``, ``within margin`` or ``undecided``.
        notes: What a reader must know of this row.
    """

    task: str
    row: str
    metric: str
    old: int
    new: int
    difference: float
    margin: float
    interval: Interval | None
    answer: str
    notes: list[str]


@dataclass(frozen=True)
class Changes:
    """All rows that both results have, and the names of those that only one has."""

    rows: list[Change]
    only_old: list[str]
    only_new: list[str]

    @property
    def num_worse(self) -> int:
        """Rows that got worse by more than their margin, beyond noise."""
        return sum(row.answer == WORSE for row in self.rows)


@dataclass(frozen=True)
class Match:
    """A row of OLD with its row of NEW; their tasks hold metric and margins."""

    old_task: TaskGroups
    new_task: TaskGroups
    old: Group
    new: Group

    @property
    def name(self) -> str:
        return f"{self.new.task} {self.new.label}"


def changes(old: View, new: View) -> Changes:
    """Compare row by row.

    A row is *worse* where its mean is worse by more than the task's margin and the interval, at the level of Holm's
    adjustment, is clear of zero; or where no run of NEW gave a finite score though OLD's all did. It is *improved*
    likewise, *within margin* where the 90 % interval lies inside ± margin, else *undecided*. Rows of *other data* are
    not compared.

    Raises:
        UserError: No common task and cell, a metric without a direction, no margin, or one that differs between the
            two and is not accepted.
    """
    matches = list(matched(old, new))
    if not matches:
        raise UserError(
            f"--diff: no common task and cell: OLD has {listing(old)}; NEW has {listing(new)}; both must hold results "
            "of the same experiment"
        )
    margins = [margin_of(match, "margins" in old.accept) for match in matches]
    estimates = {i: None if other_data(match) else estimate(old, new, match) for i, match in enumerate(matches)}
    levels = holm_levels({i: found.p_value() if found else 1.0 for i, found in estimates.items()}, ALPHA)
    rows = []
    for i, match in enumerate(matches):
        before, after = scores(old, match.old_task, match.old), scores(new, match.new_task, match.new)
        found = estimates[i]
        change = Change(
            task=match.new.task,
            row=match.new.label,
            metric=match.new_task.metric,
            old=len(before),
            new=len(after),
            difference=found.value if found else math.nan,
            margin=margins[i],
            interval=None,
            answer=UNDECIDED,
            notes=settings_changed(match),
        )
        if other_data(match):
            rows.append(replace(change, answer=OTHER_DATA))
        else:
            rows.append(decided(change, found, levels[i]) if found else without_score(change, before, after))
    return Changes(rows, unmatched(old, {id(m.old) for m in matches}), unmatched(new, {id(m.new) for m in matches}))


def other_data(match: Match) -> bool:
    """Whether the two rows saw different data: their scores then do not compare."""
    seen = [group.fact("data_fingerprint") for group in (match.old, match.new)]
    return all(map(known, seen)) and seen[0] != seen[1]


def decided(change: Change, found: Estimate, level: float) -> Change:
    """The change with its interval and answer."""
    interval, narrow = found.interval(1 - level), found.interval(0.90)
    bounded = math.isfinite(interval.low) and math.isfinite(interval.high)
    beyond = abs(found.value) > change.margin
    answer, notes = UNDECIDED, [*change.notes, found.method]
    if narrow.inside(change.margin):
        answer = WITHIN
    elif beyond and interval.clear_of(0.0):
        answer = IMPROVED if found.value > 0 else WORSE
    elif beyond:
        notes.append(f"{'better' if found.value > 0 else 'worse'} by more than the margin, but not beyond noise")
    return replace(change, interval=interval if bounded else None, answer=answer, notes=notes)


def without_score(change: Change, before: pd.Series, after: pd.Series) -> Change:
    """The answer where no difference of means is a number: a run without a finite score is worse than any other."""
    bad_before, bad_after = unscored(before), unscored(after)
    if bad_after and not bad_before:
        answer, note = WORSE, bad_after
    elif bad_before and not bad_after:
        answer, note = IMPROVED, f"in OLD {bad_before}"
    else:
        answer, note = UNDECIDED, f"in both {bad_after}"
    return replace(change, answer=answer, notes=[*change.notes, note])


def unscored(found: pd.Series) -> str:
    """Why the seeds have no mean; nothing where they have one."""
    if found.empty:
        return "no run finished with a score"
    return "" if found.map(math.isfinite).all() else "a score is not a finite number"


def matched(old: View, new: View) -> Iterator[Match]:
    """Rows of both: by their key, else by all their known settings, else where a cell has one row left in each."""
    for new_task in new.tasks:
        for old_task in old.tasks:
            if (old_task.task, old_task.metric) != (new_task.task, new_task.metric):
                continue
            before, after = list(old_task.groups), list(new_task.groups)
            for same in (same_key, same_settings, only_one(before, after)):
                for group in list(after):
                    found = [other for other in before if other.cell == group.cell and same(other, group)]
                    if len(found) == 1:
                        before.remove(found[0])
                        after.remove(group)
                        yield Match(old_task, new_task, found[0], group)


def same_key(old: Group, new: Group) -> bool:
    """Whether both have one key: the same config, in the same version of its format."""
    return bool(old.key) and old.key == new.key


def same_settings(old: Group, new: Group) -> bool:
    """Whether all settings agree that both know."""
    pairs = [(old.fact(column), new.fact(column)) for column in (*SETTINGS, "hidden_size")]
    return all(a == b for a, b in pairs if known(a) and known(b))


class only_one:  # noqa: N801  # stands beside two functions
    """Whether a cell has one row left on each side, as the matching goes on."""

    def __init__(self, before: list[Group], after: list[Group]):
        self.sides = (before, after)

    def __call__(self, old: Group, new: Group) -> bool:
        return all(sum(group.cell == old.cell for group in side) == 1 for side in self.sides)


def settings_changed(match: Match) -> list[str]:
    """In which settings the two rows differ."""
    pairs = {column: (match.old.fact(column), match.new.fact(column)) for column in (*SETTINGS, "hidden_size")}
    return [
        f"{column}: {short(column, a)}, now {short(column, b)}"
        for column, (a, b) in pairs.items()
        if known(a) and known(b) and a != b
    ]


def short(column: str, value: object) -> str:
    """A setting for a note."""
    return str(value)[:6] if column == "data_fingerprint" else f"{value:g}" if isinstance(value, float) else str(value)


def margin_of(match: Match, accepted: bool) -> float:
    """The margin of a row; the smaller of two, where the user accepts that they differ."""
    task = match.new_task
    if task.higher_is_better is None:
        raise UserError(f"--diff: task {task.task}: the metric {task.metric} has no direction, so nothing is better")
    stated = sorted({float(t.margin) for t in (match.old_task, task) if known(t.margin) and t.margin is not None})
    if not stated or stated[0] <= 0:
        raise UserError(
            f"--diff: task {task.task}: its runs state no margin, the difference of {task.metric} that matters; "
            "set task.margin and train again"
        )
    if len(stated) > 1 and not accepted:
        raise UserError(
            f"--diff: task {task.task}: the margin changed ({match.old_task.margin:g} in OLD, {task.margin:g} in NEW); "
            "accept=[margins] takes the smaller one"
        )
    return stated[0]


def scores(view: View, task: TaskGroups, group: Group) -> pd.Series:
    """One test score a seed, of the finished runs."""
    return view.seed_values(group, task.metric)


def estimate(old: View, new: View, match: Match) -> Estimate | None:
    """NEW less OLD, positive where NEW is better; None where either has no finite score."""
    before, after = scores(old, match.old_task, match.old), scores(new, match.new_task, match.new)
    if unscored(before) or unscored(after):
        return None
    sign = 1.0 if match.new_task.higher_is_better else -1.0
    if list(before.index) == list(after.index):
        found = seeds_only(sign * (after - before).to_numpy())
        return replace(found, method=f"paired by seed: {found.method}")
    return welch(sign * after.to_numpy(), sign * before.to_numpy())


def listing(view: View) -> str:
    """The tasks and cells of a result, a few of them."""
    found = [f"{task.task} {cell}" for task in view.tasks for cell in dict.fromkeys(g.cell for g in task.groups)]
    return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "") or "nothing"


def unmatched(view: View, used: set[int]) -> list[str]:
    """The rows of one result that the other lacks."""
    return [f"{task.task} {group.label}" for task in view.tasks for group in task.groups if id(group) not in used]


def versions(view: View) -> str:
    """Of which code and machines the runs are: ``72 runs, commit 25b85deeb9bf, machine f94a4a25ce68``."""
    runs = view.runs[view.runs["status"] == "finished"]
    commits = [str(commit)[:12] for commit in distinct(runs["git_commit"])]
    dirty = " with uncommitted changes" if any(str(flag) == "True" for flag in runs["dirty"]) else ""
    machines = [str(machine) for machine in distinct(runs["machine"])]
    return (
        f"{len(runs)} finished runs; code {', '.join(commits) or 'not known'}{dirty}; "
        f"machine {', '.join(machines) or 'not known'}"
    )
