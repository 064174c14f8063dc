"""How many seeds a decision would take, and the power that a number of seeds has."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from gru_bench.statistics.crossed import Uncertain
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


def power_difference(effect: float, se: float, df: float, level: float) -> float:
    """Chance that a two-sided t test at ``level`` finds a true difference of ``effect``, with the right sign."""
    if se <= 0:
        return float(effect != 0)
    shift = min(abs(effect) / se, 30.0)  # scipy's noncentral t loses its way far out, where the power is 1 anyway
    return float(1 - special.nctdtr(df, shift, special.stdtrit(df, 1 - level / 2)))


def power_equivalence(effect: float, se: float, df: float, margin: float, level: float) -> float:
    """Chance that the interval at 1 - ``level`` lies inside ± ``margin``; a lower bound, close where it is not small."""
    if se <= 0:
        return float(abs(effect) < margin)
    critical = special.stdtrit(df, 1 - level / 2)
    below = 1 - special.nctdtr(df, max(-30.0, min((margin - effect) / se, 30.0)), critical)
    above = 1 - special.nctdtr(df, max(-30.0, min((margin + effect) / se, 30.0)), critical)
    return float(max(0.0, below + above - 1))


def seeds_needed(
    estimate: Uncertain, margin: float | None, *, level: float, equivalence_level: float, power: float = POWER
) -> tuple[SeedsNeeded | None, str]:
    """Seeds at which one of the two decisions has ``power``, taking difference and spread as they were seen.

    ``level`` is that of the test for a difference, ``equivalence_level`` one less the level of the interval that must
    lie inside the margin. None with a reason where more seeds do not help.
    """
    if not math.isfinite(estimate.value):
        return None, "the difference is not a finite number"
    if not math.isfinite(estimate.spread_at(MIN_SEEDS)[0]):
        return None, "the spread over seeds is not known"

    def decided(seeds: int, factor: float, floor: bool = True) -> bool:
        se, df = estimate.spread_at(seeds, factor) if floor else (1e-3 * estimate.spread_at(seeds, factor)[0], 1e6)
        if power_difference(estimate.value, se, df, level) >= power:
            return True
        return margin is not None and power_equivalence(estimate.value, se, df, margin, equivalence_level) >= power

    low, high = estimate.factors(RANGE)
    least = max(MIN_SEEDS, estimate.num_seeds + 1)
    found = [_smallest(lambda seeds, f=factor: decided(seeds, f), least) for factor in (1.0, low, high)]  # type: ignore[misc]
    typical, few, many = found
    if typical is None or few is None or many is None:
        if estimate.example_se > 0 and not decided(MOST_SEEDS, 1.0):
            return None, "more test examples are needed: their noise alone leaves it open, and seeds do not shrink it"
        return None, f"it would take more than {MOST_SEEDS} seeds"
    return SeedsNeeded(typical, few, many), ""


def _smallest(decided: Callable[[int], bool], least: int) -> int | None:
    """The first number of seeds that decides, by halving: more seeds never make it harder."""
    if not decided(MOST_SEEDS):
        return None
    below, at = least - 1, MOST_SEEDS
    while at - below > 1:
        middle = (below + at) // 2
        below, at = (below, middle) if decided(middle) else (middle, at)
    return at
