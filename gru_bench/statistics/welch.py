"""The difference of two means of unpaired seeds whose spreads may differ (Welch 1947). Suffixes: S and T seeds."""

import math

from numpy.typing import ArrayLike

from gru_bench.statistics.crossed import Estimate
from gru_bench.statistics.inputs import as_finite


def welch(first_S: ArrayLike, second_T: ArrayLike) -> Estimate:
    """Mean of the first less that of the second, with Satterthwaite's degrees of freedom.

    Where one of them has a single seed, or neither has any spread, the data do not bound the difference.

    Raises:
        UserError: No seed, or a value that is not a finite number.
    """
    first, second = as_finite(first_S, "first"), as_finite(second_T, "second")
    value, count = float(first.mean() - second.mean()), min(first.size, second.size)
    if count < 2:
        return Estimate(value, math.inf, 1.0, count, None, math.nan, math.nan, "one seed")
    parts = [float(values.var(ddof=1)) / values.size for values in (first, second)]
    total = sum(parts)
    if not total > (1e-15 * max(abs(first).max(), abs(second).max())) ** 2:
        return Estimate(value, math.inf, 1.0, count, None, math.nan, math.nan, "the seeds of each have no spread")
    slack = sum(part**2 / (values.size - 1) for part, values in zip(parts, (first, second), strict=True))
    se = math.sqrt(total)
    return Estimate(value, se, total**2 / slack, count, None, se, math.nan, "Welch's t over unpaired seeds")
