"""Calls that are not counted, until times no longer change."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gru_bench.timing.clock import Call, Clock

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
        seconds: How long it took.
        stable: Whether it ended because times had settled, and not at its limit.
    """

    calls: tuple[int, ...]
    seconds: float
    stable: bool


def warm_up(arms: Sequence[Call], block_s: float, limit_s: float, clock: Clock) -> Warm:
    """Run blocks of each arm by turns until each one's times have settled, for ``limit_s`` at most.

    Settled: the median of the last :data:`WINDOW` blocks differs from that of the same number before by at most
    :data:`WITHIN`, for every arm, and :data:`LEAST_S` have passed. The first calls of all compile, plan and allocate.
    """
    start = clock.now()
    for arm in arms:
        clock.block(arm, 1)
    calls = [1] * len(arms)
    taken: list[list[float]] = [[] for _ in arms]
    stable = False
    while not stable and (not taken[0] or clock.now() - start < limit_s):
        for place, arm in enumerate(arms):
            taken[place].append(clock.block(arm, calls[place]) / calls[place])
            wanted = math.ceil(block_s / max(statistics.median(taken[place][-WINDOW:]), 1e-9))
            calls[place] = max(1, min(wanted, 10 * calls[place]))
        stable = clock.now() - start >= LEAST_S and all(map(_settled, taken))
    return Warm(tuple(calls), clock.now() - start, stable)


def _settled(taken: list[float]) -> bool:
    if len(taken) < 2 * WINDOW:
        return False
    last, before = statistics.median(taken[-WINDOW:]), statistics.median(taken[-2 * WINDOW : -WINDOW])
    return abs(last / before - 1) <= WITHIN
