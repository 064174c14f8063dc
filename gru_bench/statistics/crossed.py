"""The mean of a paired difference under two sources of noise: the seeds, and the test examples.

All seeds see the same test examples, so the two are crossed, not nested: ``d[s, n] = mean + seed[s] + example[n] +
rest[s, n]``. More seeds shrink the part of the seeds and nothing else. The mean squares of the two-way table without
replication and the combined degrees of freedom of Satterthwaite (1946) follow Searle, Casella and McCulloch,
*Variance Components*, chapter 4. Suffixes: S seeds, N test examples.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from gru_bench.errors import UserError
from gru_bench.statistics.inputs import as_vector, check_level, no_spread
from gru_bench.statistics.intervals import Interval, unknown

Shares = tuple[float, float, float]
"""Second better by more than the margin, no difference that matters, first better by more than the margin."""


class Uncertain(Protocol):
    """A difference (positive: the first is better) and what the data say about it."""

    @property
    def value(self) -> float:
        """The difference, in the metric's unit."""

    @property
    def num_seeds(self) -> int:
        """Seeds that both have."""

    def interval(self, level: float) -> Interval:
        """Confidence interval of the difference."""

    def p_value(self, at: float = 0.0, alternative: str = "two-sided") -> float:
        """Of the hypothesis that the difference is ``at``, against two-sided, greater or less."""

    def shares(self, margin: float) -> Shares:
        """Posterior shares: second better, no difference that matters, first better."""

    def spread_at(self, seeds: int, factor: float = 1.0) -> tuple[float, float]:
        """Standard error and degrees of freedom with so many seeds, the seeds' variance times ``factor``."""

    def factors(self, level: float) -> tuple[float, float]:
        """By what the true variance of the seeds may differ from the one seen: low and high factor."""

    @property
    def example_se(self) -> float:
        """The part of the standard error that does not shrink with more seeds; nan where unknown."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference with a t distribution around it.

    ``seed_se`` and ``example_se`` are the parts of ``se`` (their squares add up), nan where unknown. An infinite
    ``se`` says that the data do not bound the difference; ``se`` is 0 only where every difference is exactly 0.
    """

    value: float
    se: float
    df: float
    num_seeds: int
    num_examples: int | None
    seed_se: float
    example_se: float
    method: str

    @property
    def _bounded(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.se)

    def interval(self, level: float) -> Interval:
        """The t interval; without bounds where one seed, or no spread at all, says nothing of the noise."""
        check_level(level)
        if not self._bounded:
            return unknown(level, self.method)
        half = float(special.stdtrit(self.df, (1 + level) / 2)) * self.se if self.se else 0.0
        return Interval(self.value - half, self.value + half, level, self.method)

    def p_value(self, at: float = 0.0, alternative: str = "two-sided") -> float:
        """t test against ``at``; agrees with :meth:`interval`: p < 1 - level exactly where the interval excludes it."""
        if alternative not in ("two-sided", "greater", "less"):
            raise UserError(f"alternative={alternative!r}: two-sided, greater or less")
        if not self._bounded:
            return 1.0
        distance = self.value - at
        t = distance / self.se if self.se else (math.copysign(math.inf, distance) if distance else 0.0)
        if alternative == "two-sided":
            return float(min(1.0, 2 * special.stdtr(self.df, -abs(t))))
        return float(special.stdtr(self.df, -t if alternative == "greater" else t))

    def shares(self, margin: float) -> Shares:
        """Of the posterior under a flat prior (a shifted, scaled t), as baycomp draws them (Benavoli et al. 2017)."""
        if not self._bounded:
            return math.nan, math.nan, math.nan
        if not self.se:
            return float(self.value < -margin), float(abs(self.value) <= margin), float(self.value > margin)
        second = float(special.stdtr(self.df, (-margin - self.value) / self.se))
        first = float(special.stdtr(self.df, (self.value - margin) / self.se))
        return second, max(0.0, 1 - first - second), first

    def spread_at(self, seeds: int, factor: float = 1.0) -> tuple[float, float]:
        """What :func:`crossed` would give with so many seeds of the same spread and the same test examples."""
        seeds_part = factor * self.seed_se**2 * self.num_seeds / seeds
        examples_part = 0.0 if math.isnan(self.example_se) else self.example_se**2
        total = seeds_part + examples_part
        if not total:
            return 0.0, math.inf
        slack = seeds_part**2 / max(1, seeds - 1) + examples_part**2 / max(1, (self.num_examples or 2) - 1)
        return math.sqrt(total), total**2 / slack

    def factors(self, level: float) -> tuple[float, float]:
        """The chi-square interval of a variance on as many degrees of freedom as there are seeds, less one."""
        df = max(1, self.num_seeds - 1)
        return float(df / special.chdtri(df, (1 - level) / 2)), float(df / special.chdtri(df, (1 + level) / 2))


def _unbounded(value: float, num_seeds: int, num_examples: int | None, why: str) -> Estimate:
    return Estimate(value, math.inf, 1.0, num_seeds, num_examples, math.nan, math.nan, why)


def seeds_only(differences_S: ArrayLike) -> Estimate:
    """From one difference a seed: the noise of the test examples is in it only as far as it differs by seed."""
    values = as_vector(differences_S, "differences")
    count = values.size
    if not np.isfinite(values).all():
        return _unbounded(math.nan, count, None, "a difference is not a finite number")
    mean = float(values.mean())
    if not values.any():
        return Estimate(0.0, 0.0, max(1.0, count - 1.0), count, None, 0.0, math.nan, "every difference is exactly 0")
    if count < 2:
        return _unbounded(mean, count, None, "one seed")
    if no_spread(values):
        return _unbounded(mean, count, None, f"all {count} seeds gave the same difference")
    se = float(values.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, se, count - 1.0, count, None, se, math.nan, "t over seeds")


def crossed(differences_SN: ArrayLike) -> Estimate:
    """From differences by seed and test example (N may be large: three passes over the table, no copy kept).

    Where all seeds agree exactly, the interval is of the examples alone, and ``method`` says so.
    """
    table = np.asarray(differences_SN, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise UserError(f"differences: shape {table.shape}; seeds x test examples are needed")
    S, N = table.shape
    by_seed = table.mean(axis=1)
    if not np.isfinite(by_seed).all():
        return _unbounded(math.nan, S, N, "a difference is not a finite number")
    if N < 2:
        return seeds_only(by_seed)
    mean = float(by_seed.mean())
    if not table.any():
        return Estimate(0.0, 0.0, max(1.0, S - 1.0), S, N, 0.0, 0.0, "every difference is exactly 0")
    if S < 2:
        return _unbounded(mean, S, N, "one seed")
    by_example = table.mean(axis=0)
    examples_raw = float(by_example.var(ddof=1)) / N
    if no_spread(by_seed):
        if no_spread(by_example):
            return _unbounded(mean, S, N, f"all {S} seeds and {N} examples gave the same difference")
        se = math.sqrt(examples_raw)
        return Estimate(mean, se, N - 1.0, S, N, 0.0, se, f"t over examples alone (all {S} seeds agree)")
    seeds_part = float(by_seed.var(ddof=1)) / S
    deviations = float(((table - mean) ** 2).sum())
    rest = deviations - N * (S - 1) * float(by_seed.var(ddof=1)) - S * (N - 1) * float(by_example.var(ddof=1))
    rest_part = max(0.0, rest) / ((S - 1) * (N - 1)) / (S * N)
    examples_part = max(0.0, examples_raw - rest_part)
    total = seeds_part + examples_part
    slack = seeds_part**2 / (S - 1)
    if examples_part:
        slack += examples_raw**2 / (N - 1) + rest_part**2 / ((S - 1) * (N - 1))
    return Estimate(
        mean,
        math.sqrt(total),
        max(min(S, N) - 1.0, total**2 / slack),
        S,
        N,
        math.sqrt(seeds_part),
        math.sqrt(examples_part),
        "t over seeds and examples",
    )
