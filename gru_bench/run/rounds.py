"""Which seeds a sweep adds next, or why it ends: pure functions of what is known at one look at the results.

The looks are fixed beforehand (:func:`gru_bench.statistics.looks.schedule`): a comparison is judged only where both of
its cells have one of these numbers of seeds, and its thresholds are corrected for as many looks as there are numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gru_bench.statistics.looks import MIN_SEEDS

FIRST, SECOND = "gru", "lstm"
"""The cells that a sweep decides between; positive differences speak for the first."""


@dataclass(frozen=True, order=True)
class Pair:
    """Two rows that differ in the cell alone, by their ``group_key``."""

    first: str
    second: str


@dataclass(frozen=True)
class Standing:
    """How one comparison stands.

    Attributes:
        task: Its name, with what tells it from others of the task.
        answer: As it is shown: a cell's name, ``equivalent`` or ``undecided``.
        decided: Whether no more seeds are wanted.
        interval: In the metric's unit, as it is shown.
        needed: Seeds in all that a verdict would take, and the fewest that it might; None where unknown.
        reason: Why it is undecided.
    """

    task: str
    answer: str
    decided: bool
    interval: str = ""
    needed: tuple[int, int] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Looked:
    """What one look at the results found.

    Attributes:
        seeds: The seeds whose run finished, by ``group_key``.
        seconds: Mean seconds of such a run.
        standings: How each comparison stands.
    """

    seeds: Mapping[str, frozenset[int]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    standings: Mapping[Pair, Standing] = field(default_factory=dict)

    def of(self, pair: Pair) -> frozenset[int]:
        """The seeds that both have finished."""
        return self.seeds.get(pair.first, frozenset()) & self.seeds.get(pair.second, frozenset())

    def seconds_of(self, pair: Pair) -> float:
        """Seconds of one seed of both; not a number where that is not known."""
        return self.seconds.get(pair.first, float("nan")) + self.seconds.get(pair.second, float("nan"))


class Look(Protocol):
    """Reads the store and compares."""

    def __call__(self, uri: str, experiment: str, looks: int) -> Looked:
        """What is known now, with thresholds for that many looks; nothing where the experiment has no runs yet."""


@dataclass(frozen=True)
class Round:
    """What comes next: seeds by pair, the most promising first; none, and why the sweep ends."""

    added: Mapping[Pair, list[int]]
    why: str = ""


@dataclass(frozen=True)
class Limits:
    """What a sweep may use.

    Attributes:
        schedule: Numbers of seeds at which it looks, ascending.
        seconds_left: Until no further run should be going on; None for no limit.
        workers: Runs at once.
        pace: Real seconds of a round over those that its runs add up to, divided by the workers.
        max_hours: As the user gave it, for messages.
    """

    schedule: Sequence[int]
    seconds_left: float | None = None
    workers: int = 1
    pace: float = 1.0
    max_hours: float | None = None


def first_seeds(pair: Pair, own: Sequence[int], looked: Looked, schedule: Sequence[int]) -> list[int]:
    """Seeds that both must have before the first look of this call: the experiment's own, and what an interruption cut.

    Args:
        pair: Of which two rows.
        own: The experiment's own seeds.
        looked: What earlier calls left.
        schedule: Numbers of seeds at which to look.
    """
    have = looked.of(pair)
    begun = max(len(have), len(looked.seeds.get(pair.first, ())), len(looked.seeds.get(pair.second, ())))
    target = next((point for point in schedule if point >= begun), begun)
    wanted = have | set(own)
    return sorted(wanted) + next_seeds(wanted, target - len(wanted))


def next_seeds(used: set[int] | frozenset[int], count: int) -> list[int]:
    """So many seeds that were not used, upwards from the smallest used one."""
    found: list[int] = []
    seed = min(used, default=0)
    while len(found) < count:
        if seed not in used:
            found.append(seed)
        seed += 1
    return found


def next_round(pairs: Sequence[Pair], looked: Looked, tried: Mapping[Pair, set[int]], limits: Limits) -> Round:
    """Which seeds to add to which pairs.

    Only what is undecided gets seeds, up to the next number at which to look; those that need the fewest more come
    first, as far as the time allows. Both cells of a pair get the same seeds.

    Args:
        pairs: All that the sweep is about.
        looked: The results now.
        tried: By pair, the seeds that were launched by this call; a failed one is not tried again.
        limits: What may be used.
    """
    waiting: list[tuple[float, Pair, list[int]]] = []
    over: dict[str, int] = {}
    for pair in pairs:
        standing, have = looked.standings.get(pair), looked.of(pair)
        used = have | tried.get(pair, set())
        if standing is not None and standing.decided:
            continue
        why = hopeless(standing, len(have), len(used), limits.schedule)
        if why:
            over[why] = over.get(why, 0) + 1
            continue
        target = next(point for point in limits.schedule if point > len(have))
        needed = standing.needed[0] if standing and standing.needed else target
        waiting.append((needed - len(have), pair, next_seeds(used, target - len(have))))
    if not waiting:
        undecided = [f"{count} undecided: {why}" for why, count in over.items()]
        return Round({}, "; ".join(undecided) or "every pair is decided")
    added: dict[Pair, list[int]] = {}
    for _, pair, seeds in sorted(waiting, key=lambda found: found[0]):
        if fits({**added, pair: seeds}, looked, limits):
            added[pair] = seeds
    if added:
        return Round(added)
    shortest = min(estimate({pair: seeds}, looked, limits) for _, pair, seeds in waiting)
    return Round(
        {},
        f"{len(waiting)} undecided: max_hours={limits.max_hours:g} leaves {minutes(limits.seconds_left or 0)}, "
        f"and the next seeds would take {minutes(shortest)}",
    )


def hopeless(standing: Standing | None, have: int, used: int, schedule: Sequence[int]) -> str:
    """Why more seeds are not worth a try; nothing where they are."""
    most = schedule[-1]
    if have >= most:
        return f"max_seeds={most} is reached"
    if used >= most + MIN_SEEDS or (not have and used >= schedule[0]):
        return "too many of its runs failed"
    if standing is None:
        return "" if have < MIN_SEEDS else "the report compares other rows of the task"
    if have < MIN_SEEDS:
        return ""
    if standing.needed is None:
        return f"no number of seeds would do ({standing.reason})" if standing.reason else "no number of seeds would do"
    if standing.needed[1] > most:
        return f"it would take at least {standing.needed[1]} seeds, and max_seeds={most}"
    return ""


def estimate(added: Mapping[Pair, list[int]], looked: Looked, limits: Limits) -> float:
    """Seconds that a round will take; 0 where nothing is known of its runs."""
    known = {pair: looked.seconds_of(pair) for pair in added if looked.seconds_of(pair) > 0}
    total = sum(len(added[pair]) * seconds for pair, seconds in known.items())
    longest = max((max(looked.seconds[pair.first], looked.seconds[pair.second]) for pair in known), default=0.0)
    return max(longest, limits.pace * total / limits.workers)


def fits(added: Mapping[Pair, list[int]], looked: Looked, limits: Limits) -> bool:
    """Whether a round ends in time, as far as it can be foreseen."""
    if limits.seconds_left is None:
        return True
    return limits.seconds_left > 0 and estimate(added, looked, limits) <= limits.seconds_left


def minutes(seconds: float) -> str:
    """``90 s``, ``12 min`` or ``3.5 h``."""
    seconds = max(0.0, seconds)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
