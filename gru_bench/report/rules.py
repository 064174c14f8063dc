"""Rules that a report's results are held to: what must be true before anybody relies on a page made from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any

from annotated_types import Gt

from gru_bench.report.groups import Group, TaskGroups, distinct, truth
from gru_bench.report.markdown import known, plural
from gru_bench.report.scores import gain_over_trivial
from gru_bench.report.view import View, differing_settings

MOST_PLACES = 4
"""Places that a line names."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The keys of a file of rules; ``conf/check/default.yaml`` explains each. Off: false, null or an empty list."""

    seeds_at_least: Annotated[int, Gt(0)] | None = None
    same_seeds: bool = False
    margins_stated: bool = False
    one_margin: bool = False
    one_machine: bool = False
    one_commit: bool = False
    nothing_dirty: bool = False
    all_finished: bool = False
    one_data: bool = False
    parity_passed: bool = False
    equal_settings: bool = False
    rates_tuned: list[str] | None = None
    equal_trials: list[str] | None = None
    beats_trivial: bool = False


@dataclass(frozen=True)
class Held:
    """One rule against the results: broken where there are places."""

    rule: str
    value: object
    places: list[str]

    def line(self) -> str:
        """``broken  nothing_dirty: 3 runs ...``."""
        name = self.rule if self.value is True else f"{self.rule} {shown(self.value)}"
        if not self.places:
            return f"ok      {name}"
        more = f" and {len(self.places) - MOST_PLACES} more" if len(self.places) > MOST_PLACES else ""
        return f"broken  {name}: {'; '.join(self.places[:MOST_PLACES])}{more}"


def shown(value: object) -> str:
    """A rule's value as yaml has it."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def hold(view: View, rules: Rules) -> list[Held]:
    """Each rule that is on, in their order, with the places where it is broken."""
    found = []
    for field in fields(rules):
        value = getattr(rules, field.name)
        if value:
            found.append(Held(field.name, value, list(CHECKS[field.name](view, value))))
    return found


def rows(view: View) -> Iterator[tuple[TaskGroups, Group]]:
    """Every row of every task."""
    return ((task, group) for task in view.tasks for group in task.groups)


def seeds_at_least(view: View, least: int) -> Iterator[str]:
    """Seeds of each row that have a test score."""
    if not any(True for _ in rows(view)):
        yield "no runs"
    for task, group in rows(view):
        count = len(view.seed_values(group, task.metric))
        if count < least:
            yield f"{task.task} {group.label} has {count}"


def same_seeds(view: View, _: bool) -> Iterator[str]:
    """Rows of a task can be compared seed by seed."""
    for task in view.tasks:
        seeds = {tuple(view.seed_values(group, task.metric).index) for group in task.groups}
        if len(seeds) > 1:
            yield f"the rows of {task.task} have different seeds"


def margins_stated(view: View, _: bool) -> Iterator[str]:
    """Every finished run says which difference matters, and in which direction."""
    for task, group in rows(view):
        absent = sum(not known(margin) for margin in group.finished["margin"])
        if absent:
            yield f"{task.task} {group.label}: {plural(absent, 'run')} without"
        elif task.higher_is_better is None and len(group.finished):
            yield f"{task.task} {group.label}: {task.metric} has no direction"


def one_margin(view: View, _: bool) -> Iterator[str]:
    """The margin of a task did not change between its runs."""
    for task in view.tasks:
        stated = sorted({value for group in task.groups for value in distinct(group.runs["margin"])})
        if len(stated) > 1:
            yield f"{task.task} has {', '.join(f'{value:g}' for value in stated)}"


def one_value(column: str) -> Callable[[View, bool], Iterator[str]]:
    """All runs that finished have the same value of a fact, and it is known."""

    def check(view: View, _: bool) -> Iterator[str]:
        finished = view.all_runs[view.all_runs["status"] == "finished"]
        values = [str(value)[:12] for value in distinct(finished[column])]
        if len(values) > 1:
            yield f"{len(values)} of them: {', '.join(values[:MOST_PLACES])}"
        unknown = sum(not known(value) for value in finished[column])
        if unknown:
            yield f"not known for {plural(unknown, 'run')}"

    return check


def nothing_dirty(view: View, _: bool) -> Iterator[str]:
    """Every run's code is the commit that it names."""
    for task, group in rows(view):
        dirty = sum(truth(flag) is not False for flag in group.finished["dirty"])
        if dirty:
            yield f"{task.task} {group.label}: {plural(dirty, 'run')}"


def all_finished(view: View, _: bool) -> Iterator[str]:
    """Every planned run finished."""
    bad = view.runs[view.runs["status"] != "finished"]
    for (task, cell, status), part in bad.groupby(["task", "cell", "status"], sort=True, dropna=False):
        yield f"{task} {cell}: {len(part)} {status}"


def one_data(view: View, _: bool) -> Iterator[str]:
    """The runs of a task saw the same data."""
    for task in view.tasks:
        seen = {value for group in task.groups for value in distinct(group.finished["data_fingerprint"])}
        if len(seen) > 1:
            yield f"{task.task} has {len(seen)} fingerprints"


def parity_passed(view: View, _: bool) -> Iterator[str]:
    """Every backend computed what the reference computes."""
    for task, group in rows(view):
        bad = sum(str(value) != "passed" for value in group.finished["parity"])
        if bad:
            yield f"{task.task} {group.label}: {plural(bad, 'run')}"


def equal_settings(view: View, _: bool) -> Iterator[str]:
    """The rows of a task differ in cell, learning rate and hidden size alone."""
    for task in view.tasks:
        for text in differing_settings(task):
            yield f"{task.task}: {text}"


def of_cells(view: View, cells: list[str]) -> Iterator[tuple[TaskGroups, list[Group]]]:
    """Each task with its rows of some cells."""
    return ((task, [group for group in task.groups if group.cell in cells]) for task in view.tasks)


def rates_tuned(view: View, cells: list[str]) -> Iterator[str]:
    """The learning rate of each of these cells was chosen by its own trials at these settings."""
    for task, groups in of_cells(view, cells):
        for group in groups:
            source = str(group.fact("learning_rate_from") or "not known")
            if source != "trials":
                yield f"{task.task} {group.label}: {source}"


def equal_trials(view: View, cells: list[str]) -> Iterator[str]:
    """These cells got the same number of trials on a task."""
    for task, groups in of_cells(view, cells):
        trials = {g.label: (g.fact("learning_rate_trials"), g.fact("learning_rate_trial_seeds")) for g in groups}
        if len({str(number) for number in trials.values()}) > 1:
            texts = [f"{label} {rates} rates of {seeds} seeds" for label, (rates, seeds) in trials.items()]
            yield f"{task.task}: {', '.join(texts)}"


def beats_trivial(view: View, _: bool) -> Iterator[str]:
    """On each task the best cell beats the trivial guess by what a useful model must."""
    for task in view.tasks:
        gain = gain_over_trivial(task, view.outcomes(task).values())
        if gain is None or not known(task.beats_trivial_by):
            yield f"{task.task}: not known"
        elif gain < float(task.beats_trivial_by or 0):
            yield f"{task.task}: by {gain:g}, not {task.beats_trivial_by:g}"


CHECKS: dict[str, Callable[[View, Any], Iterator[str]]] = {
    "seeds_at_least": seeds_at_least,
    "same_seeds": same_seeds,
    "margins_stated": margins_stated,
    "one_margin": one_margin,
    "one_machine": one_value("machine"),
    "one_commit": one_value("git_commit"),
    "nothing_dirty": nothing_dirty,
    "all_finished": all_finished,
    "one_data": one_data,
    "parity_passed": parity_passed,
    "equal_settings": equal_settings,
    "rates_tuned": rates_tuned,
    "equal_trials": equal_trials,
    "beats_trivial": beats_trivial,
}
"""By the name of the rule."""
