"""What is computed from the scores of a row's seeds: means, deviations, the gain over the trivial guess."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from gru_bench.report.groups import Group, Measured, TaskGroups
from gru_bench.report.markdown import known, number, plus_minus


def seed_values(
    measured: Measured, group: Group, metric: str, split: str = "test", slice: str = "", slice_value: str = ""
) -> pd.Series:
    """One value per seed of the finished runs, by seed; a seed that ran twice counts once, with its mean."""
    by_run = measured.get((split, metric, slice, slice_value), {})
    by_seed: dict[int, list[float]] = {}
    for run_id, seed in group.seeds:
        if run_id in by_run and known(seed):
            by_seed.setdefault(int(seed), []).append(by_run[run_id])
    return pd.Series({seed: math.fsum(found) / len(found) for seed, found in sorted(by_seed.items())}, dtype=float)


@dataclass(frozen=True)
class Outcome:
    """What the seeds of one row scored on the test data.

    Attributes:
        seeds: One score per seed; empty where nothing was scored.
        num_learned: Where they fall into two groups far apart, how many are in the better one; else None.
    """

    seeds: pd.Series
    num_learned: int | None = None

    @property
    def is_split(self) -> bool:
        """Whether some seeds learned the task and others did not: then the mean may lie where no seed does."""
        return self.num_learned is not None

    @property
    def typical(self) -> float:
        """The mean over the seeds, or their median where they split; NaN of none."""
        return typical(self.seeds, self.is_split)

    def texts(self) -> tuple[str, str, str]:
        """Mean, standard deviation and range; where the seeds split, median and share of the seeds that learned."""
        if self.seeds.empty:
            return number(None), number(None), number(None)
        many = len(self.seeds) > 1
        low_high = f"{number(self.seeds.min())} .. {number(self.seeds.max())}" if many else number(None)
        if self.is_split:
            return f"{number(self.typical)} (median)", f"{self.num_learned} of {len(self.seeds)} seeds", low_high
        return number(self.typical), number(deviation(self.seeds), 2), low_high


def outcome(measured: Measured, task: TaskGroups, group: Group) -> Outcome:
    """The scores of one row, and whether its seeds split: by as much as half of the way from guess to ceiling."""
    seeds = seed_values(measured, group, task.metric)
    guesses = list(seed_values(measured, group, f"trivial_{task.metric}"))
    if not guesses and task.trivial_value is not None:
        guesses = [task.trivial_value]
    facts = (task.higher_is_better, task.margin, task.ceiling)
    if not guesses or not all(known(fact) for fact in facts):
        return Outcome(seeds)
    ceiling = float(task.ceiling or 0)
    least = max(float(task.margin or 0), *(abs(guess - ceiling) / 2 for guess in guesses))
    return Outcome(seeds, better_side(list(seeds), bool(task.higher_is_better), least))


def learned(task: TaskGroups, score: float, guess: float) -> bool:
    """Whether a score is half of the way from guess to ceiling, and as far from the guess as a useful model's."""
    assert task.ceiling is not None
    sign = 1 if task.higher_is_better else -1
    return sign * (score - guess) >= least_gain(task, guess) * (1 - 1e-9)


def least_gain(task: TaskGroups, guess: float) -> float:
    """By how much a score that counts as learned is better than the guess."""
    sign = 1 if task.higher_is_better else -1
    return max(sign * (float(task.ceiling or 0) - guess) / 2, task.beats_trivial_by or 0.0)


def better_side(scores: list[float], higher_is_better: bool, least: float) -> int | None:
    """How many scores lie on the better side of the largest gap between neighbours.

    Args:
        scores: In any order.
        higher_is_better: Their direction.
        least: A smaller gap is none.

    Returns:
        None where there is no such gap.
    """
    best_first = sorted(scores, reverse=higher_is_better)
    # two infinite neighbours are equal, and their difference is not a number
    gaps = [0.0 if a == b else abs(a - b) for a, b in itertools.pairwise(best_first)]
    largest = max(gaps, default=0.0)
    return gaps.index(largest) + 1 if largest > 0 and largest >= least else None


def typical(seeds: pd.Series, is_split: bool) -> float:
    """The value that stands for a row: the mean over its seeds, or the median where some learned and some did not."""
    return float(seeds.median() if is_split else seeds.mean())


def plus_minus_of(seeds: pd.Series, is_split: bool) -> str:
    """``0.82 ± 0.031``; the median alone, named as such, where the row's seeds split."""
    if seeds.empty:
        return number(None)
    if is_split:
        return f"{number(typical(seeds, True))} (median)"
    return plus_minus(seeds.mean(), deviation(seeds))


def best_typical(task: TaskGroups, outcomes: Iterable[Outcome]) -> float | None:
    """The best of the rows' means (or medians); None where nothing finished or no direction is known."""
    found = [outcome.typical for outcome in outcomes if not math.isnan(outcome.typical)]
    if not found or task.higher_is_better is None:
        return None
    return max(found) if task.higher_is_better else min(found)


def gain_over_trivial(task: TaskGroups, outcomes: Iterable[Outcome]) -> float | None:
    """By how much the best mean (or median) is better than the trivial guess, in the metric's own unit."""
    best, trivial = best_typical(task, outcomes), task.trivial_value
    if best is None or trivial is None:
        return None
    return best - trivial if task.higher_is_better else trivial - best


def deviation(values: pd.Series) -> float | None:
    """Standard deviation over seeds; None for one seed, or where a value is infinite."""
    if len(values) < 2 or not values.map(math.isfinite).all():
        return None
    return float(values.std(ddof=1)) if values.nunique() > 1 else 0.0  # of equal numbers rounding leaves 1e-16
