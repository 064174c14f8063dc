"""The mean of a paired difference under two sources of noise: the seeds, and the test examples.

All seeds see the same test examples, so the two are crossed, not nested: ``d[s, n] = mean + seed[s] + example[n] +
rest[s, n]``. More seeds shrink the part of the seeds and nothing else. Both parts come from the mean squares of the
two-way table without replication (Searle, Casella and McCulloch, *Variance Components*, chapter 4).

Half the interval is ``se`` times a t quantile: the mean of those of the two parts, each with its own degrees of freedom
and weighted by its variance (Cochran and Cox, *Experimental Designs*, 1957), which errs to the wide side. The combined
degrees of freedom of Satterthwaite (1946) do not serve: with 5 seeds a report of six tasks named a winner in 8 % of
simulated cases where 5 % were promised, because few seeds that happen to agree lower the error and raise its degrees of
freedom at once.

Suffixes: S seeds, N test examples.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

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

    def with_seeds(self, seeds: int, factor: float = 1.0) -> "Estimate":
        """What so many seeds would give, if the difference stays and the seeds' variance is ``factor`` times this."""

    def factors(self, level: float) -> tuple[float, float]:
        """By what the true variance of the seeds may differ from the one seen: low and high factor."""

    @property
    def example_se(self) -> float:
        """The part of the standard error that does not shrink with more seeds; nan where unknown."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference with Student's t around it, or two of them where both parts of the noise are known.

    ``seed_se`` and ``example_se`` are the parts of ``se`` (their squares add up), nan where unknown. ``df`` belongs to
    ``se`` as a whole. An infinite ``se`` says that the data do not bound the difference; ``se`` is 0 only where every
    difference is exactly 0.
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

    @property
    def _parts(self) -> list[tuple[float, float]]:
        """Standard error and degrees of freedom of each part."""
        if self.seed_se > 0 and self.example_se > 0 and self.num_examples:
            return [(self.seed_se, max(1, self.num_seeds - 1)), (self.example_se, max(1, self.num_examples - 1))]
        return [(self.se, self.df)]

    def half_width(self, level: float) -> float:
        """Half of the interval at ``level``."""
        return self._half((1 - level) / 2)

    def _half(self, tail: float) -> float:
        return -sum(se**2 * float(special.stdtrit(df, tail)) for se, df in self._parts) / self.se

    def interval(self, level: float) -> Interval:
        """Interval around the value; without bounds where one seed, or no spread at all, says nothing of the noise."""
        check_level(level)
        if not self._bounded:
            return unknown(level, self.method)
        half = self.half_width(level) if self.se else 0.0
        return Interval(self.value - half, self.value + half, level, self.method)

    def _tail(self, distance: float) -> float:
        """One-sided p of a value that lies ``distance`` >= 0 away: where the interval ends exactly there."""
        if not self.se:
            return 0.0 if distance else 0.5
        ends = [float(special.stdtr(df, -distance / self.se)) for _, df in self._parts]
        low, high = max(min(ends), 1e-300), max(ends)
        if high <= low * (1 + 1e-9):
            return high

        def gap(log_tail: float) -> float:
            return self._half(math.exp(log_tail)) - distance

        # where one part is all but nothing, the answer is an end of the bracket up to rounding
        if gap(math.log(low)) <= 0:
            return low
        if gap(math.log(high)) >= 0:
            return high
        return math.exp(optimize.brentq(gap, math.log(low), math.log(high), xtol=1e-10))

    def p_value(self, at: float = 0.0, alternative: str = "two-sided") -> float:
        """Of a difference of ``at``: p < 1 - level exactly where :meth:`interval` excludes it."""
        if alternative not in ("two-sided", "greater", "less"):
            raise UserError(f"alternative={alternative!r}: two-sided, greater or less")
        if not self._bounded:
            return 1.0
        distance = self.value - at
        tail = self._tail(abs(distance))
        if alternative == "two-sided":
            return min(1.0, 2 * tail)
        return tail if (distance > 0) == (alternative == "greater") else 1 - tail

    def shares(self, margin: float) -> Shares:
        """Of the posterior under a flat prior (t around the value), as baycomp draws them (Benavoli et al. 2017)."""
        if not self._bounded:
            return math.nan, math.nan, math.nan
        if not self.se:
            return float(self.value < -margin), float(abs(self.value) <= margin), float(self.value > margin)
        second, first = self.p_value(-margin, "greater"), self.p_value(margin, "less")
        return second, max(0.0, 1 - first - second), first

    def with_seeds(self, seeds: int, factor: float = 1.0) -> "Estimate":
        """What :func:`crossed` would give with so many seeds of this spread and the same test examples."""
        seeds_part = factor * self.seed_se**2 * self.num_seeds / seeds
        examples_part = 0.0 if math.isnan(self.example_se) else self.example_se**2
        total = seeds_part + examples_part
        slack = seeds_part**2 / max(1, seeds - 1) + examples_part**2 / max(1, (self.num_examples or 2) - 1)
        return Estimate(
            self.value,
            math.sqrt(total),
            total**2 / slack if slack else max(1.0, seeds - 1.0),
            seeds,
            self.num_examples,
            math.sqrt(seeds_part),
            self.example_se,
            self.method,
        )

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


def _of_few(value: float, variance: float, num_seeds: int, num_examples: int) -> Estimate:
    """All seeds agree, and next to no example tells the two apart."""
    se = math.sqrt(variance)
    return Estimate(
        value, se, num_examples - 1.0, num_seeds, num_examples, 0.0, se, "t over examples, as if one each way differed"
    )


def crossed(differences_SN: ArrayLike, *, right_or_wrong: bool = False) -> Estimate:
    """From differences by seed and test example (N may be large: three passes over the table, no copy kept).

    Where all seeds agree exactly, the interval is of the examples alone, and ``method`` says so.

    Args:
        differences_SN: (S, N).
        right_or_wrong: Whether both sides score each example 0 or 1. That all of a few examples are alike then shows
            little: of 40 that two cells answer alike, one in 13 might differ in truth (three over N). So the examples'
            part is never taken to be less than if one example in each direction had differed, which is the variance
            of Bonett and Price's interval for paired proportions (2012), 2 / (N + 2)^2.
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
    least = 2 / (N + 2) ** 2 if right_or_wrong else 0.0
    if not table.any():
        if not least:
            return Estimate(0.0, 0.0, max(1.0, S - 1.0), S, N, 0.0, 0.0, "every difference is exactly 0")
        return _of_few(0.0, least, S, N)
    if S < 2:
        return _unbounded(mean, S, N, "one seed")
    by_example = table.mean(axis=0)
    examples_raw = float(by_example.var(ddof=1)) / N
    if no_spread(by_seed):
        if examples_raw < least:
            return _of_few(mean, least, S, N)
        if no_spread(by_example):
            return _unbounded(mean, S, N, f"all {S} seeds and {N} examples gave the same difference")
        se = math.sqrt(examples_raw)
        return Estimate(mean, se, N - 1.0, S, N, 0.0, se, f"t over examples alone (all {S} seeds agree)")
    seeds_part = float(by_seed.var(ddof=1)) / S
    deviations = float(((table - mean) ** 2).sum())
    rest = deviations - N * (S - 1) * float(by_seed.var(ddof=1)) - S * (N - 1) * float(by_example.var(ddof=1))
    rest_part = max(0.0, rest) / ((S - 1) * (N - 1)) / (S * N)
    examples_part = max(0.0, examples_raw - rest_part)
    if examples_raw < least:
        examples_part = examples_raw = least
        rest_part = 0.0
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
