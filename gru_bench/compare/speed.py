"""Which of GRU and LSTM is faster, situation by situation, and the milliseconds of a training step of one row."""

from collections.abc import Mapping, Sequence
from typing import Any

from gru_bench.report.groups import Group
from gru_bench.report.markdown import known
from gru_bench.report.timings import SITUATIONS, Timing, families
from gru_bench.report.view import View

CARD = ("train", "batch", "stream")
"""Situations of which a verdict has a row each."""


def found_in(view: View, situation: str) -> dict[str, list[Timing]]:
    """The comparisons of GRU and LSTM at equal hidden size: of whole models where tasks were timed, else of layers.

    Returns:
        By what both ran on: each on its fastest timed backend, and both on the vendor's. Empty where nothing was timed.
    """
    here = [one for one in view.timings if one.situation == situation]
    views = families(one for one in here if one.task)
    return views or families(one for one in here if not one.task)


def situations_found(view: View) -> dict[str, dict[str, list[Timing]]]:
    """The situations of a verdict in which GRU and LSTM were timed against each other."""
    found = {situation: found_in(view, situation) for situation in CARD if situation in SITUATIONS}
    return {situation: views for situation, views in found.items() if views}


def step_ms(view: View, group: Group) -> float | None:
    """Milliseconds of one training step of a row's cell, on its own task, backend, size, machine and threads.

    From a paired timing of that very thing; where several pairs timed it, the one that stands first in the order of
    tables, which is that against the other family.
    """
    for one in sorted(view.timings, key=lambda one: not one.is_families):
        if one.situation == "train" and one.task == group.task and not one.is_forced and agrees(one, group):
            for arm in (one.first, one.second):
                if (arm.cell, arm.backend) == (group.cell, group.fact("backend")) and same(arm.facts, group, ARM):
                    return arm.number("ms")
    return None


def pair_ms(view: View, first: Group, second: Group) -> tuple[float, float] | None:
    """The same of two rows, from one pair that took turns in one process; None where there is none."""
    for one in view.timings:
        if one.situation != "train" or one.task != first.task or one.is_forced or not agrees(one, first):
            continue
        arms = [(one.first, first), (one.second, second)]
        if all((arm.cell, arm.backend) == (group.cell, group.fact("backend")) for arm, group in arms):
            ms = [arm.number("ms") for arm, group in arms if same(arm.facts, group, ARM)]
            if len(ms) == 2 and ms[0] is not None and ms[1] is not None:
                return ms[0], ms[1]
    return None


PLACE = {"machine": "machine", "threads": "threads", "dtype": "dtype", "batch": "batch_size"}
ARM = {"hidden_size": "hidden_size"}
"""Facts of a timing, or of its arm, and the fact of a run that must be the same."""


def agrees(one: Timing, group: Group) -> bool:
    """Whether a timing was made in the circumstances of a row's runs."""
    machines = {value for value in group.finished["machine"] if known(value)}
    return machines <= {one.row["machine"]} and same(one.row, group, PLACE)


def same(facts: Mapping[str, Any], group: Group, names: Mapping[str, str]) -> bool:
    """Whether facts are equal as far as both are known."""
    pairs = [(facts[ours], group.fact(theirs)) for ours, theirs in names.items()]
    return all(not known(one) or not known(other) or one == other for one, other in pairs)


def together(found: Sequence[Timing]) -> str:
    """``first``, ``second``, ``noise``, or ``both`` where it depends on the task or size."""
    decided = {one.finding for one in found} - {"noise"}
    return "both" if len(decided) == 2 else decided.pop() if decided else "noise"
