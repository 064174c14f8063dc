"""Calls that are not counted, until times no longer change."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gru_bench.timing.clock import Call, Clock
from gru_bench.timing.watch import Watch

WINDOW = 5
"""Blocks that are compared with as many before them."""
WITHIN = 0.02
"""How much the medians of two windows may differ, as a share. Drifts that are slower are cancelled by A B B A."""
LEAST_S = 0.5
"""Shortest warm-up: a core's clock takes some tenths of a second to settle under load."""


@dataclass(frozen=True)
class Warm:
    """What the warm-up found.

    Attributes:
        calls: Of each arm, how many calls fill a block.
        waits: Of each arm, the smallest share of a block for which the timing thread did not run: what an arm that
            waits for its own threads always has.
        seconds: How long it took.
        stable: Whether it ended because times had settled, and not at its limit.
    """

    calls: tuple[int, ...]
    waits: tuple[float, ...]
    seconds: float
    stable: bool


def warm_up(arms: Sequence[Call], block_s: float, limit_s: float, clock: Clock, watch: Watch) -> Warm:
    """Run blocks of each arm by turns until each one's times have settled, for ``limit_s`` at most.

    Settled: the median of the last :data:`WINDOW` blocks differs from that of the same number before by at most
    :data:`WITHIN`, for every arm, and :data:`LEAST_S` have passed. The first calls of all compile, plan and allocate.
    """
    start = clock.now()
    for arm in arms:
        clock.block(arm, 1)
    calls = [1] * len(arms)
    taken: list[list[float]] = [[] for _ in arms]
    waits = [1.0] * len(arms)
    stable = False
    while not stable and (not taken[0] or clock.now() - start < limit_s):
        for place, arm in enumerate(arms):
            seconds, lost = timed_block(arm, calls[place], clock, watch)
            taken[place].append(seconds / calls[place])
            waits[place] = min(waits[place], lost)
            wanted = math.ceil(block_s / max(statistics.median(taken[place][-WINDOW:]), 1e-9))
            calls[place] = max(1, min(wanted, 10 * calls[place]))
        stable = clock.now() - start >= LEAST_S and all(map(_settled, taken))
    return Warm(tuple(calls), tuple(waits), clock.now() - start, stable)


def timed_block(call: Call, number: int, clock: Clock, watch: Watch) -> tuple[float, float]:
    """Seconds of a block, and the share of them for which this thread did not run."""
    before = watch.ran()
    seconds = clock.block(call, number)
    after = watch.ran()
    if before is None or after is None or seconds <= 0:
        return seconds, 0.0
    return seconds, max(0.0, 1 - (after - before) / seconds)


def _settled(taken: list[float]) -> bool:
    if len(taken) < 2 * WINDOW:
        return False
    last, before = statistics.median(taken[-WINDOW:]), statistics.median(taken[-2 * WINDOW : -WINDOW])
    return abs(last / before - 1) <= WITHIN
