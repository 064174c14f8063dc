"""Which of GRU and LSTM is faster, situation by situation, and how long a training step of a row takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gru_bench.report.groups import Group, truth
from gru_bench.report.markdown import known
from gru_bench.report.timings import Arm, Timing, facts_of, families, same
from gru_bench.report.view import View, in_batch

CARD = ("train", "batch", "stream")
"""Situations of which a verdict has a row each."""


def found_in(view: View, situation: str, budget: str = "hidden") -> dict[str, list[Timing]]:
    """The comparisons of GRU and LSTM at one budget: of whole models where tasks were timed, else of layers.

    Returns:
        By what both ran on: each on its fastest timed backend, and both on the vendor's. Empty where nothing was timed.
    """
    here = [one for one in view.timings if one.situation == situation]
    views = families((one for one in here if one.task), budget=budget)
    return views or families((one for one in here if not one.task), budget=budget)


def situations_found(view: View) -> dict[str, dict[str, list[Timing]]]:
    """The situations of a verdict in which GRU and LSTM were timed against each other."""
    found = {situation: found_in(view, situation) for situation in CARD}
    return {situation: views for situation, views in found.items() if views}


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one training step of each finished run of a row.

    Attributes:
        by_run: By run id.
        source: :data:`PAIRED` or :data:`ALONE`.
    """

    by_run: dict[str, float]
    source: str


PAIRED, ALONE = "paired timings", "runs that had the machine alone"
IN_BATCH = "some of these runs took their steps together with other seeds, and training steps were not timed"
NO_SECONDS = (
    "these runs shared the machine, or nothing says that they had it alone, and their training steps were not timed"
)


def step_times(view: View, group: Group) -> StepTimes | None:
    """Of a row's cell on its own task, backend, size, machine and threads; None where nothing clean is known.

    A speed that was seen while other work ran beside it is none. A paired timing counts before what runs saw that had
    the machine alone; of several the one that is first in the order of tables, families before backends.
    """
    for one in sorted(view.timings, key=lambda one: not one.is_families):
        for arm in (one.first, one.second):
            ms = arm.number("ms")
            if ms is not None and is_step_of(one, arm, group):
                return StepTimes(dict.fromkeys(map(str, group.finished["run_id"]), ms / 1000), PAIRED)
    return alone(view, group)


def step_times_of_both(view: View, first: Group, second: Group) -> tuple[StepTimes, StepTimes] | None:
    """The same of two rows that are compared: from one pair that took turns, else from runs alone, for both."""
    for one in view.timings:
        ms = [arm.number("ms") for arm in (one.first, one.second)]
        if ms[0] and ms[1] and is_step_of(one, one.first, first) and is_step_of(one, one.second, second):
            times = [
                StepTimes(dict.fromkeys(map(str, group.finished["run_id"]), (value or 0.0) / 1000), PAIRED)
                for group, value in zip((first, second), ms, strict=True)
            ]
            return times[0], times[1]
    both = alone(view, first), alone(view, second)
    return (both[0], both[1]) if both[0] and both[1] else None


def alone(view: View, group: Group) -> StepTimes | None:
    """What the runs of a row saw, where none of them shared its machine, or its steps with other seeds."""
    shared = {truth(value) for value in group.finished["shared"]}
    seen = view.measured.get(("speed", "step_time_ms", "", ""), {})
    by_run = {str(run): seen[run] / 1000 for run in group.finished["run_id"] if seen.get(run)}
    alone_on_it = shared == {False} and not in_batch(group.finished).any()
    return StepTimes(by_run, ALONE) if alone_on_it and by_run else None


def is_step_of(one: Timing, arm: Arm, group: Group) -> bool:
    """Whether an arm is a training step of a row's own runs."""
    return (
        (one.situation, one.task) == ("train", group.task)
        and not one.is_forced
        and (arm.cell, arm.backend) == (group.cell, group.fact("backend"))
        and alike(arm.facts, group, ARM)
        and alike(one.row, group, PLACE)
        and {value for value in group.finished["machine"] if known(value)} <= {one.row["machine"]}
        and one.belongs_to(facts_of(group.finished))
    )


PLACE = {"machine": "machine", "threads": "threads", "dtype": "dtype", "batch": "batch_size"}
ARM = {"hidden_size": "hidden_size"}
"""Facts of a timing, or of its arm, and the fact of a run that must be the same."""


def alike(facts: Mapping[str, Any], group: Group, names: Mapping[str, str]) -> bool:
    """Whether facts are equal as far as both are known."""
    return all(same(facts[ours], group.fact(theirs)) for ours, theirs in names.items())


def together(found: Sequence[Timing]) -> str:
    """``first``, ``second``, ``noise``, or ``both`` where it depends on the task or size."""
    decided = {one.finding for one in found} - {"noise"}
    return "both" if len(decided) == 2 else decided.pop() if decided else "noise"
