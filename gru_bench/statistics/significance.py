"""Tests of one difference, and Holm's adjustment over a family of them."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import Uncertain
from gru_bench.statistics.inputs import as_finite

K = TypeVar("K")
EXACT_UP_TO = 13
"""Most seeds for which all 2^S sign flips are tried."""


def check_margin(margin: float) -> None:
    """Refuse a margin that is not a positive number."""
    if not 0 < margin < float("inf"):
        raise UserError(f"margin={margin}: a positive difference in the metric's unit is needed")


def tost(estimate: Uncertain, margin: float) -> float:
    """p of two one-sided tests (Schuirmann 1987): small where the difference lies within ± ``margin``."""
    check_margin(margin)
    return max(estimate.p_value(-margin, "greater"), estimate.p_value(margin, "less"))


def wilcoxon_p(differences_S: ArrayLike) -> float:
    """Signed-rank test of Wilcoxon, two-sided; seeds without a difference are left out, none left gives 1."""
    values = as_finite(differences_S, "differences")
    values = values[values != 0]
    return float(stats.wilcoxon(values).pvalue) if values.size else 1.0


def permutation_p(differences_S: ArrayLike, rng: np.random.Generator, resamples: int = 9999) -> float:
    """Sign-flip test of the mean, two-sided: exact up to :data:`EXACT_UP_TO` seeds, else by random flips.

    The smallest p that S seeds can give is 2 / 2^S.
    """
    values = as_finite(differences_S, "differences")
    if values.size <= EXACT_UP_TO:
        flips = 1 - 2 * (np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1)
        added = 0
    else:
        flips = rng.choice((-1.0, 1.0), size=(resamples, values.size))
        added = 1  # the flip that was seen (Phipson and Smyth 2010)
    seen = abs(values.sum())
    as_large = np.abs(flips @ values) >= seen * (1 - 1e-12)
    return float((as_large.sum() + added) / (len(flips) + added))


def holm(p: Mapping[K, float]) -> dict[K, float]:
    """Adjusted p of each hypothesis of the family (Holm 1979), in the order given."""
    adjusted: dict[K, float] = {}
    largest = 0.0
    for rank, key in enumerate(_by_p(p)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in p}


def holm_levels(p: Mapping[K, float], alpha: float = 0.05) -> dict[K, float]:
    """The level at which the step-down procedure tested each hypothesis.

    The smallest p at alpha / m, the next at alpha / (m - 1), and so on; from the first that is not rejected, all at its
    level. An interval at one less this level excludes the hypothesis exactly where Holm rejects it.
    """
    levels: dict[K, float] = {}
    level, stopped = alpha, False
    for rank, key in enumerate(_by_p(p)):
        if not stopped:
            level = alpha / (len(p) - rank)
        levels[key] = level
        stopped = stopped or p[key] > level
    return {key: levels[key] for key in p}


def _by_p(p: Mapping[K, float]) -> list[K]:
    wrong = {key: value for key, value in p.items() if not 0 <= value <= 1}
    if wrong:
        raise UserError(f"p values {wrong}: numbers between 0 and 1 are needed")
    return sorted(p, key=lambda key: p[key])
