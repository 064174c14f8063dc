"""Outcomes of all or nothing: which share of the seeds solves the task, and after how many steps."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import Estimate, Shares
from gru_bench.statistics.inputs import Array, as_finite, check_level
from gru_bench.statistics.intervals import Interval


def _check_counts(solved: int, num: int) -> None:
    if not 0 <= solved <= num or num < 1:
        raise UserError(f"{solved} of {num} seeds solved: a count between 0 and the number of seeds, at least one seed")


def wilson(solved: int, num: int, level: float = 0.95) -> Interval:
    """Interval of one share (Wilson 1927)."""
    check_level(level)
    _check_counts(solved, num)
    low, high = _wilson(solved, num, float(special.ndtri((1 + level) / 2)))
    return Interval(low, high, level, "Wilson")


def _wilson(solved: int, num: int, z: float) -> tuple[float, float]:
    share = solved / num
    middle = (share + z * z / (2 * num)) / (1 + z * z / num)
    half = z * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num)) / (1 + z * z / num)
    return (middle - half if solved else 0.0), (middle + half if solved < num else 1.0)


def newcombe(solved_first: int, num_first: int, solved_second: int, num_second: int, level: float = 0.95) -> Interval:
    """Interval of the difference of two shares, first less second (Newcombe 1998, method 10)."""
    check_level(level)
    _check_counts(solved_first, num_first)
    _check_counts(solved_second, num_second)
    low, high = _newcombe(solved_first, num_first, solved_second, num_second, float(special.ndtri((1 + level) / 2)))
    return Interval(low, high, level, "Newcombe")


def _newcombe(a: int, m: int, b: int, n: int, z: float) -> tuple[float, float]:
    p, q = a / m, b / n
    p_low, p_high = _wilson(a, m, z)
    q_low, q_high = _wilson(b, n, z)
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


@lru_cache(maxsize=4096)
def boschloo(solved_first: int, num_first: int, solved_second: int, num_second: int, alternative: str) -> float:
    """Exact p of equal shares (Boschloo 1970): more powerful than Fisher's test everywhere."""
    table = [[solved_first, solved_second], [num_first - solved_first, num_second - solved_second]]
    if not any(table[0]) or not any(table[1]):
        return 1.0
    return float(min(1.0, stats.boschloo_exact(table, alternative=alternative).pvalue))


@dataclass(frozen=True)
class SuccessDifference:
    """Difference of the shares of seeds that solved the task: first less second.

    Interval and p never contradict each other: Newcombe's interval is drawn out to zero where the exact test does not
    reject, and the p is the larger of the exact one and the one at which Newcombe's interval touches zero.
    """

    solved_first: int
    solved_second: int
    num_first: int
    num_second: int

    def __post_init__(self) -> None:
        _check_counts(self.solved_first, self.num_first)
        _check_counts(self.solved_second, self.num_second)

    @property
    def value(self) -> float:
        """Share of the first less share of the second."""
        return self.solved_first / self.num_first - self.solved_second / self.num_second

    @property
    def num_seeds(self) -> int:
        """Seeds of the cell that has fewer."""
        return min(self.num_first, self.num_second)

    @property
    def example_se(self) -> float:
        """Solved or not is judged on one test set; its noise is not known."""
        return math.nan

    @property
    def _counts(self) -> tuple[int, int, int, int]:
        return self.solved_first, self.num_first, self.solved_second, self.num_second

    def interval(self, level: float) -> Interval:
        """Newcombe's interval, drawn out to zero where Boschloo's test does not reject at this level."""
        ends = newcombe(*self._counts, level)
        if ends.clear_of() and boschloo(*self._counts, "two-sided") >= 1 - level:
            return Interval(min(ends.low, 0.0), max(ends.high, 0.0), level, "Newcombe, to zero by Boschloo's test")
        return ends

    def p_value(self, at: float = 0.0, alternative: str = "two-sided") -> float:
        """Where Newcombe's interval ends at ``at``; against zero no less than Boschloo's exact p."""
        if alternative not in ("two-sided", "greater", "less"):
            raise UserError(f"alternative={alternative!r}: two-sided, greater or less")
        one_sided = self._newcombe_p(at)
        if alternative == "two-sided":
            p = 2 * min(one_sided, 1 - one_sided)
        else:
            p = one_sided if alternative == "greater" else 1 - one_sided
        return max(p, boschloo(*self._counts, alternative)) if at == 0.0 else p

    def _newcombe_p(self, at: float) -> float:
        """One-sided p against "greater": the tail of the z at which the interval's end reaches ``at``."""
        if self.value == at:
            return 0.5
        end = 0 if self.value > at else 1

        def gap(z: float) -> float:
            return _newcombe(*self._counts, z)[end] - at

        largest = 35.0
        if (gap(largest) > 0) == (gap(1e-9) > 0):
            tail = 0.0
        else:
            tail = float(special.ndtr(-optimize.brentq(gap, 1e-9, largest)))
        return tail if end == 0 else 1 - tail

    def shares(self, margin: float) -> Shares:
        """Of the posterior under Jeffreys' prior for each share, independent of one another."""
        quantiles = (np.arange(2000) + 0.5) / 2000
        second_share = special.betaincinv(*_posterior(self.solved_second, self.num_second), quantiles)
        a, b = _posterior(self.solved_first, self.num_first)
        second = float(special.betainc(a, b, np.clip(second_share - margin, 0, 1)).mean())
        first = float(1 - special.betainc(a, b, np.clip(second_share + margin, 0, 1)).mean())
        return second, max(0.0, 1 - first - second), first

    def with_seeds(self, seeds: int, factor: float = 1.0) -> Estimate:
        """Of two shares like these; one success and one failure are added, so that none is certain (Agresti, Caffo)."""
        variance = 0.0
        for solved, num in ((self.solved_first, self.num_first), (self.solved_second, self.num_second)):
            share = (solved + 1) / (num + 2)
            variance += min(0.25, factor * share * (1 - share)) / seeds
        se = math.sqrt(variance)
        return Estimate(self.value, se, 1e6, seeds, None, se, math.nan, "normal approximation of shares")

    def factors(self, level: float) -> tuple[float, float]:
        """As for a variance over so many seeds: a rough range."""
        df = max(1, self.num_seeds - 1)
        return float(df / special.chdtri(df, (1 - level) / 2)), float(df / special.chdtri(df, (1 + level) / 2))


def _posterior(solved: int, num: int) -> tuple[float, float]:
    return solved + 0.5, num - solved + 0.5


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier curve of the steps to solve a task.

    ``unsolved[i]`` is the share that has not solved it after ``steps[i]``. ``median`` and the ends of its interval are
    infinite where too few seeds solved it.
    """

    steps: Array
    unsolved: Array
    median: float
    interval: Interval
    num_solved: int
    num_seeds: int


def survival(steps_S: ArrayLike, solved_S: ArrayLike, level: float = 0.95) -> Survival:
    """Steps to solve over seeds: where ``solved`` is false, ``steps`` is the budget at which the run was cut off.

    The median's interval is that of Brookmeyer and Crowley (1982) on the log-log scale.
    """
    check_level(level)
    steps, solved = as_finite(steps_S, "steps"), np.asarray(solved_S, dtype=bool)
    if steps.shape != solved.shape:
        raise UserError(f"survival: {steps.size} counts of steps and {solved.size} outcomes; one of each a seed")
    times, events = np.unique(steps[solved], return_counts=True)
    at_risk = np.array([(steps >= time).sum() for time in times], dtype=np.float64)
    unsolved = np.cumprod(1 - events / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(events / (at_risk * (at_risk - events)))
        # log(-log S) has the standard error sqrt(greenwood) / |log S|; where nobody is left the bound is the last one
        z = (np.log(-np.log(unsolved)) - math.log(math.log(2))) * -np.log(unsolved) / np.sqrt(greenwood)
    critical = float(special.ndtri((1 + level) / 2))
    z = np.where(np.isfinite(z), z, math.nan)
    low = times[~(z < -critical) & (unsolved < 1)]
    high = times[z > critical]
    # where all seeds have solved it the log-log scale ends: the exact bound of a share of 0 says whether that is enough
    if not high.size and solved.all() and 1 - ((1 - level) / 2) ** (1 / steps.size) < 0.5:
        high = times[-1:]
    reached = times[unsolved <= 0.5]
    return Survival(
        times,
        unsolved,
        float(reached[0]) if reached.size else math.inf,
        Interval(
            float(low[0]) if low.size else math.inf,
            float(high[0]) if high.size else math.inf,
            level,
            "Brookmeyer-Crowley",
        ),
        int(solved.sum()),
        steps.size,
    )
