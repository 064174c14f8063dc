"""Across tasks: one estimate over several, with one left out, and ranks. Tasks are no random sample of all tasks.

Suffixes: K tasks, C cells, S seeds, R resamples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import Estimate, crossed, seeds_only
from gru_bench.statistics.inputs import Array, as_finite, check_level
from gru_bench.statistics.intervals import Interval, unknown

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


@dataclass(frozen=True)
class Hierarchical:
    """Mean effect over tasks; ``tau`` is the standard deviation of the tasks' true effects around it."""

    value: float
    interval: Interval
    tau: float
    num_tasks: int


def hierarchical(effects_K: ArrayLike, se_K: ArrayLike, level: float = 0.95) -> Hierarchical:
    """Random-effects mean of effects in one unit (the margin), each with its standard error.

    tau by restricted maximum likelihood, the interval by Hartung and Knapp with K - 1 degrees of freedom, its factor
    not below 1 (Roever, Knapp and Friede 2015), since few tasks can agree by chance.
    """
    check_level(level)
    effects, se = as_finite(effects_K, "effects"), as_finite(se_K, "standard errors")
    if effects.shape != se.shape:
        raise UserError(f"hierarchical: {effects.size} effects and {se.size} standard errors; one of each a task")
    if (se < 0).any():
        raise UserError("hierarchical: a standard error is below 0")
    count = effects.size
    if count == 1:
        return Hierarchical(float(effects[0]), unknown(level, "one task"), math.nan, 1)
    if not effects.any() and not se.any():  # every seed of every task did the same in both: nothing to weigh by
        return Hierarchical(0.0, unknown(level, "no task shows any difference"), 0.0, count)
    variances = np.maximum(se, 1e-9 * max(1e-300, np.abs(effects).max(), se.max())) ** 2
    tau2 = _reml(effects, variances)
    weights = 1 / (variances + tau2)
    mean = float(weights @ effects / weights.sum())
    factor = max(1.0, float(weights @ (effects - mean) ** 2) / (count - 1))
    half = float(special.stdtrit(count - 1, (1 + level) / 2)) * math.sqrt(factor / weights.sum())
    return Hierarchical(mean, Interval(mean - half, mean + half, level, "Hartung-Knapp"), math.sqrt(tau2), count)


def _reml(effects: Array, variances: Array) -> float:
    """The tau² with the largest restricted likelihood."""

    def loss(tau2: float) -> float:
        weights = 1 / (variances + tau2)
        mean = weights @ effects / weights.sum()
        return float(-np.log(weights).sum() + np.log(weights.sum()) + weights @ (effects - mean) ** 2) / 2

    largest = 10 * (float(effects.var(ddof=1)) + float(variances.max()))
    # the likelihood can have its maximum at the edge, and over orders of magnitude: a grid first
    grid = np.concatenate([[0.0], largest * np.logspace(-8, 0, 81)])
    at = int(np.argmin([loss(tau2) for tau2 in grid]))
    if at == 0:
        return 0.0
    ends = grid[at - 1], grid[min(at + 1, grid.size - 1)]
    return float(optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-9 * largest}).x)


def leave_one_out(items: Mapping[K, V], compute: Callable[[dict[K, V]], T]) -> dict[K, T]:
    """What ``compute`` gives without each item in turn (one task, say), by the item left out."""
    if len(items) < 2:
        raise UserError("leave one out: at least two items are needed")
    return {left: compute({key: item for key, item in items.items() if key != left}) for left in items}


def leave_one_seed_out(differences: ArrayLike) -> list[Estimate]:
    """The estimate without each seed in turn, from differences by seed, or by seed and test example."""
    array = np.asarray(differences, dtype=np.float64)
    if array.ndim not in (1, 2) or len(array) < 2:
        raise UserError(f"leave one seed out: shape {array.shape}; at least two seeds are needed")
    estimate = seeds_only if array.ndim == 1 else crossed
    return [estimate(np.delete(array, seed, axis=0)) for seed in range(len(array))]


@dataclass(frozen=True)
class Improvement:
    """Chance that a run of the first beats a run of the second on a task drawn from those given."""

    value: float
    interval: Interval
    num_tasks: int


def probability_of_improvement(
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Improvement:
    """Of scores by task (higher is better), as rliable defines it (Agarwal et al. 2021): ties count half.

    The bootstrap is stratified: seeds are drawn again within each task and cell; tasks are not. Where no draw differs,
    since the runs of one beat all of the other on each task, it bounds nothing.
    """
    check_level(level)
    if len(first) != len(second) or not first:
        raise UserError(f"probability of improvement: {len(first)} and {len(second)} tasks; the same tasks of both")
    value, drawn = 0.0, np.zeros(resamples)
    for one, other in zip(first, second, strict=True):
        x, y = as_finite(one, "scores of the first"), as_finite(other, "scores of the second")
        wins = (np.sign(x[:, None] - y[None, :]) + 1) / 2
        value += wins.mean() / len(first)
        rows = rng.multinomial(x.size, np.full(x.size, 1 / x.size), size=resamples) / x.size
        columns = rng.multinomial(y.size, np.full(y.size, 1 / y.size), size=resamples) / y.size
        drawn += ((rows @ wins) * columns).sum(axis=1) / len(first)
    if np.ptp(drawn) < 1e-12:
        return Improvement(float(value), unknown(level, "no draw differs"), len(first))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Improvement(
        float(value), Interval(float(low), float(high), level, "stratified bootstrap, percentiles"), len(first)
    )


@dataclass(frozen=True)
class Ranks:
    """Mean rank of each cell over tasks (1 is best), and by how much two must differ (Demšar 2006)."""

    mean_ranks: Array
    difference: float
    p: float
    num_tasks: int
    together: list[tuple[int, ...]]
    """Groups of cells, by column, that do not differ; the largest ones, best first."""


def critical_difference(scores_KC: ArrayLike, alpha: float = 0.05) -> Ranks:
    """Ranks of more than two cells: Friedman's test, then Nemenyi's critical difference. Higher scores are better."""
    scores = np.asarray(scores_KC, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 3:
        raise UserError(f"ranks: shape {scores.shape}; at least two tasks x three cells are needed")
    if np.isnan(scores).any():
        raise UserError("ranks: a score is missing; every cell on every task is needed")
    num_tasks, cells = scores.shape
    ranks = stats.rankdata(-scores, axis=1)
    means = ranks.mean(axis=0)
    spread = ((ranks - (cells + 1) / 2) ** 2).sum() / (num_tasks * (cells - 1))  # the ties' correction is in it
    chi2 = num_tasks * ((means - (cells + 1) / 2) ** 2).sum() / spread if spread else 0.0
    difference = float(stats.studentized_range.ppf(1 - alpha, cells, np.inf) / math.sqrt(2))
    difference *= math.sqrt(cells * (cells + 1) / (6 * num_tasks))
    order = np.argsort(means, kind="stable")
    groups: list[tuple[int, ...]] = []
    for begin in range(cells):
        end = begin
        while end + 1 < cells and means[order[end + 1]] - means[order[begin]] <= difference:
            end += 1
        group = tuple(int(cell) for cell in order[begin : end + 1])
        if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
            groups.append(group)
    return Ranks(means, difference, float(special.chdtrc(cells - 1, chi2)), num_tasks, groups)
