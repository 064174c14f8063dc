"""How many seeds a decision would take, and the power that a number of seeds has."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from gru_bench.statistics.crossed import Estimate, Uncertain
from gru_bench.statistics.looks import MIN_SEEDS

POWER = 0.8
"""The power that the announced number of seeds has, if difference and spread are what was seen."""

RANGE = 0.8
"""Level of the range of the seeds' variance, and so of the number of seeds."""

MOST_SEEDS = 10_000
"""A need beyond it is not announced as a number."""

MORE_EXAMPLES = "more test examples are needed: their noise alone leaves it open, and seeds do not shrink it"
"""Why no number of seeds decides."""


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds in all (not in addition), with the range that the few seeds seen leave for their variance."""

    typical: int
    low: int
    high: int


NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)


def _spread_seen(df: float) -> np.ndarray:
    """Standard error seen over the true one, at the nodes of a quadrature over its distribution (chi-square)."""
    return _chi(float(f"{df:.3g}"))


@lru_cache(maxsize=4096)
def _chi(df: float) -> np.ndarray:
    """At degrees of freedom of three digits: the inverse of chi-square takes most of the time of a plan."""
    return np.sqrt(special.chdtri(df, (1 - NODES) / 2) / df)


def power_difference(
    truth: Estimate, level: float, margin: float | None = None, equivalence_level: float = 0.1
) -> float:
    """Chance that the verdict names the better cell, where ``truth`` has the true difference and standard errors.

    That is: the interval at 1 - ``level`` lies clear of zero on the right side and, with a margin, the interval at
    1 - ``equivalence_level`` does not lie inside it.
    """
    if not truth.se:
        return float(truth.value != 0)
    seen = _spread_seen(truth.df)
    least = truth.half_width(1 - level) * seen
    if margin is not None:
        least = np.maximum(least, margin - truth.half_width(1 - equivalence_level) * seen)
    return float(WEIGHTS @ special.ndtr((abs(truth.value) - least) / truth.se) / 2)


def power_equivalence(truth: Estimate, margin: float, level: float) -> float:
    """Chance that the interval at 1 - ``level`` lies inside ± ``margin``."""
    if not truth.se:
        return float(truth.half_width(1 - level) < margin)
    room = np.maximum(0.0, margin - truth.half_width(1 - level) * _spread_seen(truth.df))
    inside = special.ndtr((room - truth.value) / truth.se) - special.ndtr((-room - truth.value) / truth.se)
    return float(WEIGHTS @ inside / 2)


def seeds_needed(
    estimate: Uncertain, margin: float | None, *, level: float, equivalence_level: float, power: float = POWER
) -> tuple[SeedsNeeded | None, str]:
    """Seeds that decide with a chance of ``power``, one way or the other, if difference and spread are what was seen.

    ``level`` is that of the test for a difference, ``equivalence_level`` one less the level of the interval that must
    lie inside the margin. None with a reason where more seeds do not help.
    """
    if not math.isfinite(estimate.value):
        return None, "the difference is not a finite number"
    if not math.isfinite(estimate.with_seeds(MIN_SEEDS).se):
        return None, "the spread over seeds is not known"

    def decided(seeds: int, factor: float) -> bool:
        planned = estimate.with_seeds(seeds, factor)
        chance = power_difference(planned, level, margin, equivalence_level)
        if margin is not None:
            chance += power_equivalence(planned, margin, equivalence_level)
        return chance >= power

    low, high = estimate.factors(RANGE)
    least = max(MIN_SEEDS, estimate.num_seeds + 1)
    typical, few, many = (_smallest(decided, factor, least) for factor in (1.0, low, high))
    if typical is None or few is None or many is None:
        alike = not estimate.with_seeds(MIN_SEEDS).se  # on every example, by every seed
        if (alike or estimate.example_se > 0) and not decided(MOST_SEEDS, 1.0):
            return None, MORE_EXAMPLES
        return None, f"it would take more than {MOST_SEEDS} seeds"
    return SeedsNeeded(typical, few, many), ""


def _smallest(decided: Callable[[int, float], bool], factor: float, least: int) -> int | None:
    """The first number of seeds that decides, by halving: more seeds never make it harder."""
    if not decided(MOST_SEEDS, factor):
        return None
    below, at = least - 1, MOST_SEEDS
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if decided(middle, factor) else (middle, at)
    return at
