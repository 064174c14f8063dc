"""How many seeds a decision would take, and the power that a number of seeds has."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from gru_bench.statistics.crossed import Estimate, Uncertain
from gru_bench.statistics.looks import MIN_SEEDS

POWER = 0.8
"""The power that the announced number of seeds has, if difference and spread are what was seen."""

RANGE = 0.8
"""Level of the range of the seeds' variance, and so of the number of seeds."""

MOST_SEEDS = 10_000
"""A need beyond it is not announced as a number."""


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds in all (not in addition), with the range that the few seeds seen leave for their variance."""

    typical: int
    low: int
    high: int


def power_difference(truth: Estimate, level: float) -> float:
    """Chance that a two-sided test at ``level`` finds the difference ``truth.value``, with the right sign.

    ``truth`` has the true difference and the true standard errors; the noncentral t distribution answers.
    """
    if not truth.se:
        return float(truth.value != 0)
    # scipy's noncentral t loses its way far out, where the power is 1 anyway
    shift = min(abs(truth.value) / truth.se, 30.0)
    return float(1 - special.nctdtr(truth.df, shift, truth.half_width(1 - level) / truth.se))


def power_equivalence(truth: Estimate, margin: float, level: float) -> float:
    """Chance that the interval at 1 - ``level`` lies inside ± ``margin``: a lower bound, close where it is large."""
    if not truth.se:
        return float(abs(truth.value) < margin)
    critical = truth.half_width(1 - level) / truth.se
    shifts = ((margin - truth.value) / truth.se, (margin + truth.value) / truth.se)
    both = sum(1 - special.nctdtr(truth.df, max(-30.0, min(shift, 30.0)), critical) for shift in shifts)
    return float(max(0.0, both - 1))


def seeds_needed(
    estimate: Uncertain, margin: float | None, *, level: float, equivalence_level: float, power: float = POWER
) -> tuple[SeedsNeeded | None, str]:
    """Seeds at which one of the two decisions has ``power``, taking difference and spread as they were seen.

    ``level`` is that of the test for a difference, ``equivalence_level`` one less the level of the interval that must
    lie inside the margin. None with a reason where more seeds do not help.
    """
    if not math.isfinite(estimate.value):
        return None, "the difference is not a finite number"
    if not math.isfinite(estimate.with_seeds(MIN_SEEDS).se):
        return None, "the spread over seeds is not known"

    def decided(seeds: int, factor: float) -> bool:
        planned = estimate.with_seeds(seeds, factor)
        if power_difference(planned, level) >= power:
            return True
        return margin is not None and power_equivalence(planned, margin, equivalence_level) >= power

    low, high = estimate.factors(RANGE)
    least = max(MIN_SEEDS, estimate.num_seeds + 1)
    typical, few, many = (_smallest(decided, factor, least) for factor in (1.0, low, high))
    if typical is None or few is None or many is None:
        if estimate.example_se > 0 and not decided(MOST_SEEDS, 1.0):
            return None, "more test examples are needed: their noise alone leaves it open, and seeds do not shrink it"
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
