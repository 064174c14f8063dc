"""What a number of trials is expected to find: the best validation score after k trials.

Dodge et al. (2019), *Show Your Work*, arXiv:1909.03004, equation 2: of N trials the best of k draws from their
empirical distribution, which is exact and needs no simulation. It is biased towards less as k nears N. Suffixes: N
trials, R resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gru_bench.errors import UserError
from gru_bench.statistics.inputs import Array, as_finite, check_level

RESAMPLES = 2000


@dataclass(frozen=True)
class Expected:
    """The expected best score after 1, 2 ... N trials, with the ends of its interval."""

    value: Array
    low: Array
    high: Array


def weights(num_trials: int) -> Array:
    """(N, N): row k - 1 holds the chance of each trial, worst first, to be the best of k draws."""
    if num_trials < 1:
        raise UserError(f"num_trials={num_trials}: at least one trial is needed")
    ends = np.arange(num_trials + 1) / num_trials
    powers = ends[None, :] ** np.arange(1, num_trials + 1)[:, None]
    return np.diff(powers, axis=1)


def expected_best(scores_N: ArrayLike) -> Array:
    """(N,) the expected best of 1, 2 ... N trials. Higher scores are better; equal ones are no exception."""
    sorted_N = np.sort(as_finite(scores_N, "scores"))
    return np.asarray(weights(sorted_N.size) @ sorted_N)


def resampled(scores_N: ArrayLike, rng: np.random.Generator, resamples: int = RESAMPLES) -> Array:
    """(R, N) :func:`expected_best` of trials drawn again, with replacement, from those that were made."""
    scores = as_finite(scores_N, "scores")
    drawn_RN = np.sort(rng.choice(scores, size=(resamples, scores.size)), axis=1)
    return np.asarray(drawn_RN @ weights(scores.size).T)


def expected(scores_N: ArrayLike, rng: np.random.Generator, level: float = 0.95) -> Expected:
    """The curve with its percentile interval: how far other trials from the same ranges might move it."""
    check_level(level)
    low, high = np.quantile(resampled(scores_N, rng), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Expected(expected_best(scores_N), low, high)


def expected_difference(
    first_N: ArrayLike, second_N: ArrayLike, rng: np.random.Generator, level: float = 0.95
) -> Expected:
    """The curve of the first less that of the second, up to the number of trials that both have.

    Both are independent samples; the interval is that of each k alone.
    """
    check_level(level)
    first, second = expected_best(first_N), expected_best(second_N)
    both = min(first.size, second.size)
    drawn = resampled(first_N, rng)[:, :both] - resampled(second_N, rng)[:, :both]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Expected(first[:both] - second[:both], low, high)
