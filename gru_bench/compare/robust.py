"""Whether a verdict survives: without a seed, without a task, on another backend, at equal seconds instead of steps."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gru_bench.compare.compared import Compared
from gru_bench.compare.evidence import MACHINES_MARK, Evidence, level_of, on_scale
from gru_bench.compare.speed import StepTimes, step_times_of_both
from gru_bench.report.groups import Group
from gru_bench.report.view import View
from gru_bench.statistics.across import Hierarchical, hierarchical
from gru_bench.statistics.crossed import Estimate, Uncertain, seeds_only
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.verdict import Answer

EXTREMES = 10
"""Of more than twice as many seeds only so many with the lowest and the highest differences are left out in turn: they
move the estimate most."""


def answer_of(estimate: Uncertain, margin: float | None, like: Compared) -> Answer:
    """The answer of another estimate at the levels of a verdict, however few seeds it has."""
    if not math.isfinite(estimate.value):
        return "undecided"
    equivalence = estimate.interval(like.verdict.equivalence.level)
    if margin is not None and equivalence.known and equivalence.inside(margin):
        return "equivalent"
    interval = estimate.interval(like.verdict.interval.level)
    if not (interval.known and interval.clear_of()):
        return "undecided"
    return "first" if estimate.value > 0 else "second"


def fragile_seeds(one: Compared) -> dict[int, Answer]:
    """The seeds without which a verdict would be another one, and which; empty where it stands on no single seed."""
    if len(one.seeds) < 2:
        return {}
    by_difference = [one.seeds[i] for i in np.argsort(one.by_seed, kind="stable")]
    few = len(one.seeds) <= 2 * EXTREMES
    tried = sorted(by_difference if few else by_difference[:EXTREMES] + by_difference[-EXTREMES:])
    found = {seed: answer_of(one.without_seed(seed).estimate, one.margin, one) for seed in tried}
    return {seed: answer for seed, answer in found.items() if answer != one.verdict.answer}


def over_tasks(found: Sequence[Evidence]) -> Hierarchical | None:
    """One estimate over tasks in units of their margins, of the comparisons of means; None where there is none."""
    usable = comparable(found)
    if not usable:
        return None
    effects = [one.estimate.value / (one.margin or math.nan) for one in usable]
    errors = [standard_error(one) / (one.margin or math.nan) for one in usable]
    return hierarchical(effects, errors)


def comparable(found: Sequence[Evidence]) -> list[Evidence]:
    """The comparisons whose effects are differences of means with a margin and a standard error."""
    return [one for one in found if one.margin and one.kind == "mean" and math.isfinite(standard_error(one))]


def standard_error(one: Evidence) -> float:
    """Of the difference; infinite where the data do not bound it."""
    return one.estimate.se if isinstance(one.estimate, Estimate) else math.inf


@dataclass(frozen=True)
class AtEqualSeconds:
    """Validation scores of a pair after equal steps and after equal seconds of training.

    Attributes:
        steps: The answer by the best validation scores of the whole training.
        seconds: The answer by those within as many seconds as the quicker run of each seed took in all.
        ratio: Seconds of the first by seconds of the second, geometric mean over the seeds.
        source: Where the seconds of a step are from: paired timings, or runs that had the machine alone.
    """

    steps: Answer
    seconds: Answer
    ratio: float
    source: str


def at_equal_seconds(view: View, one: Compared) -> AtEqualSeconds | None:
    """None where curves or clean step times are not known, and below the fewest seeds of a verdict."""
    if MACHINES_MARK in one.marks or len(one.seeds) < MIN_SEEDS:
        return None
    times = step_times_of_both(view, one.pair.first, one.pair.second)
    if times is None:
        return None
    runs = [run_by_seed(group) for group in (one.pair.first, one.pair.second)]
    better = np.fmax.accumulate if one.pair.task.higher_is_better else np.fmin.accumulate
    whole: tuple[list[float], list[float]] = ([], [])
    within: tuple[list[float], list[float]] = ([], [])
    ratios = []
    for seed in one.seeds:
        both = [
            timed_curve(view, side.get(seed, ""), one.pair.task.metric, of_side)
            for side, of_side in zip(runs, times, strict=True)
        ]
        if both[0] is None or both[1] is None:
            return None
        end = min(curve.index[-1] for curve in both if curve is not None)
        for side, curve in enumerate(both):
            assert curve is not None
            best = better(curve.to_numpy())
            reached = int(np.searchsorted(curve.index.to_numpy(), end * (1 + 1e-9), side="right"))
            if not reached:
                return None
            whole[side].append(float(best[-1]))
            within[side].append(float(best[reached - 1]))
        ratios.append(both[0].index[-1] / both[1].index[-1])
    answers = [answer_of(of_means(one, scores), one.pair.task.margin, one) for scores in (whole, within)]
    return AtEqualSeconds(answers[0], answers[1], float(np.exp(np.log(ratios).mean())), times[0].source)


def of_means(one: Compared, scores: tuple[list[float], list[float]]) -> Estimate:
    """Of scores of both sides, one a seed."""
    first_S, second_S = np.array(scores[0]), np.array(scores[1])
    level = level_of(one.pair.task.metric, first_S, second_S)
    first, second = (on_scale(side[:, None], side, level)[:, 0] for side in (first_S, second_S))
    return seeds_only((first - second) * (1 if one.pair.task.higher_is_better else -1))


def run_by_seed(group: Group) -> dict[int, str]:
    """The latest run of each seed."""
    finished = group.finished
    return {int(seed): run for run, seed in zip(finished["run_id"], finished["seed"], strict=True) if seed == seed}


def timed_curve(view: View, run_id: str, metric: str, times: StepTimes) -> pd.Series | None:
    """Validation scores of a run by seconds of training: its steps times its step time."""
    curves: dict[str, Curve] = view.remember(("curves", metric), lambda: by_run(view.curves, metric))
    curve, step_s = curves.get(run_id), times.by_run.get(run_id)
    if curve is None or not step_s:
        return None
    steps, scores = curve
    return pd.Series(scores, index=steps * step_s)


Curve = tuple[np.ndarray, np.ndarray]
"""Steps in their order, and the score at each."""


def by_run(curves: pd.DataFrame, metric: str) -> dict[str, Curve]:
    """The validation curve of each run."""
    mine = curves[curves["metric"] == f"valid/{metric}"] if len(curves) else curves
    if not len(mine):
        return {}
    mine = mine[["run_id", "step", "value"]].dropna().sort_values(["run_id", "step"], kind="stable")
    runs, steps, scores = mine["run_id"].to_numpy(dtype=object), mine["step"].to_numpy(), mine["value"].to_numpy(float)
    ends = [0, *(np.flatnonzero(runs[1:] != runs[:-1]) + 1).tolist(), len(runs)]
    return {str(runs[a]): (steps[a:b], scores[a:b]) for a, b in itertools.pairwise(ends)}
