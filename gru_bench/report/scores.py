"""What is computed from the scores of a row's seeds: means, deviations, the gain over the trivial guess."""

import math

import pandas as pd

from gru_bench.report.groups import Group, Measured, TaskGroups
from gru_bench.report.markdown import known, number


def seed_values(
    measured: Measured, group: Group, metric: str, split: str = "test", slice: str = "", slice_value: str = ""
) -> pd.Series:
    """One value a seed of the finished runs, by seed; a seed that ran twice counts once, with its mean."""
    by_run = measured.get((split, metric, slice, slice_value), {})
    by_seed: dict[int, list[float]] = {}
    for run_id, seed in zip(group.finished["run_id"], group.finished["seed"], strict=True):
        if run_id in by_run and known(seed):
            by_seed.setdefault(int(seed), []).append(by_run[run_id])
    return pd.Series({seed: math.fsum(found) / len(found) for seed, found in sorted(by_seed.items())}, dtype=float)


def best_mean(task: TaskGroups, scores: list[pd.Series]) -> float | None:
    """The best of the rows' means; None where nothing finished or no direction is known."""
    means = [float(series.mean()) for series in scores if len(series)]
    means = [mean for mean in means if not math.isnan(mean)]
    if not means or task.higher_is_better is None:
        return None
    return max(means) if task.higher_is_better else min(means)


def gain_over_trivial(task: TaskGroups, scores: list[pd.Series]) -> float | None:
    """By how much the best mean is better than the trivial guess, in the metric's own unit."""
    best, trivial = best_mean(task, scores), task.trivial_value
    if best is None or trivial is None:
        return None
    return best - trivial if task.higher_is_better else trivial - best


def deviation(values: pd.Series) -> float | None:
    """Standard deviation over seeds; None for one seed, or where a value is infinite."""
    return float(values.std(ddof=1)) if len(values) > 1 and values.map(math.isfinite).all() else None


def describe(values: pd.Series) -> tuple[str, str, str]:
    """Mean, standard deviation over seeds and smallest to largest, as text."""
    if values.empty:
        return number(None), number(None), number(None)
    low_high = f"{number(values.min())} .. {number(values.max())}" if len(values) > 1 else number(None)
    return number(values.mean()), number(deviation(values), 2), low_high
