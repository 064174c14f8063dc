"""Confidence intervals of a mean over seeds. Suffix S: one value for each seed."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from gru_bench.statistics.inputs import Array, as_finite, check_level, no_spread

BCA_FROM = 30
"""Fewest seeds for which :func:`mean_interval` takes BCa. Below, BCa covers less than it says and t does not
(``bench/calibration.py``, rows "interval of a mean")."""


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high`` at a confidence ``level`` (0.95), and by which method.

    What the data do not bound is infinite: an interval of one value, or of seeds without any spread.
    """

    low: float
    high: float
    level: float
    method: str

    @property
    def known(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def inside(self, margin: float) -> bool:
        """Whether the whole interval lies within ± ``margin``."""
        return -margin < self.low and self.high < margin

    def clear_of(self, value: float = 0.0) -> bool:
        """Whether the whole interval lies to one side of ``value``."""
        return self.low > value or self.high < value


def unknown(level: float, why: str) -> Interval:
    """The interval of something of which the data say nothing."""
    return Interval(-math.inf, math.inf, level, f"unknown: {why}")


def t_interval(values_S: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval of the mean. One value, or values without any spread, bound nothing."""
    check_level(level)
    values = as_finite(values_S, "values")
    if refused := _bounds_nothing(values, level):
        return refused
    half = special.stdtrit(values.size - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(values.size)
    return Interval(float(values.mean() - half), float(values.mean() + half), level, "t")


def bca_interval(values_S: ArrayLike, level: float, rng: np.random.Generator, resamples: int = 9999) -> Interval:
    """Bootstrap interval of the mean, bias-corrected and accelerated (Efron 1987).

    Follows skew, but covers too little for few seeds: ask :func:`mean_interval`, which chooses.
    """
    check_level(level)
    values = as_finite(values_S, "values")
    if refused := _bounds_nothing(values, level):
        return refused
    with warnings.catch_warnings():
        # a resample of one repeated value; the percentiles are well defined without it
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        ends = stats.bootstrap(
            (values,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa", rng=rng, vectorized=True
        ).confidence_interval
    return Interval(float(ends.low), float(ends.high), level, "BCa")


def mean_interval(values_S: ArrayLike, level: float, rng: np.random.Generator) -> Interval:
    """t for few seeds, BCa from :data:`BCA_FROM` on; which one stands in ``method``."""
    values = as_finite(values_S, "values")
    return bca_interval(values, level, rng) if values.size >= BCA_FROM else t_interval(values, level)


def _bounds_nothing(values: Array, level: float) -> Interval | None:
    if values.size < 2:
        return unknown(level, "one seed")
    if no_spread(values):
        return unknown(level, f"all {values.size} seeds gave the same value")
    return None
