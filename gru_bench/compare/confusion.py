"""Which classes a row's runs took for which, seed by seed, and what follows of each class: precision, recall, F1."""

from dataclasses import dataclass

import numpy as np

from gru_bench.report.given import shown
from gru_bench.report.groups import Group
from gru_bench.report.markdown import known
from gru_bench.report.view import View
from gru_bench.statistics.intervals import Interval, t_interval, unknown

Counts = dict[tuple[str, str], float]
"""By true and predicted class; what does not occur is left out."""


@dataclass(frozen=True)
class Confused:
    """A row's test examples by true and predicted class.

    Attributes:
        names: Of the C classes that occur or were predicted, those with most examples first.
        counts: (S, C, C) examples of each true class (first) that each seed took for each class (second).
    """

    names: list[str]
    counts: np.ndarray

    @property
    def examples(self) -> np.ndarray:
        """(C,) test examples of each class."""
        return np.asarray(self.counts.sum(axis=2).mean(axis=0))

    @property
    def mean(self) -> np.ndarray:
        """(C, C) counts, mean of the seeds."""
        return np.asarray(self.counts.mean(axis=0))

    @property
    def shares(self) -> np.ndarray:
        """(C, C) the same as shares of the true class; NaN for a class without a test example."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.mean / self.mean.sum(axis=1, keepdims=True))

    def scores(self) -> dict[str, np.ndarray]:
        """(S, C) ``precision``, ``recall`` and ``F1`` of each class; NaN where there is nothing to divide by."""
        right_SC = np.diagonal(self.counts, axis1=1, axis2=2)
        actual_SC, predicted_SC = self.counts.sum(axis=2), self.counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "precision": right_SC / predicted_SC,
                "recall": right_SC / actual_SC,
                "F1": 2 * right_SC / (actual_SC + predicted_SC),
            }


def confused(view: View, group: Group, most: list[str] | None = None) -> Confused | None:
    """The finished runs of a row; one seed's runs, where several, as their mean. None where no run has kept it.

    Args:
        view: All runs.
        group: The row.
        most: Names of classes in the order of another row, which is kept.
    """
    by_seed: dict[int, list[Counts]] = {}
    for run_id, seed in group.seeds:
        found = counts_of(view, run_id) if known(seed) else None
        if found:
            by_seed.setdefault(int(seed), []).append(found)
    if not by_seed:
        return None
    runs = [run for of_seed in by_seed.values() for run in of_seed]
    total: dict[str, float] = {}
    for run in runs:
        for (label, prediction), count in run.items():
            total[label] = total.get(label, 0) + count
            total.setdefault(prediction, 0)
    order = sorted(total, key=lambda name: (-total[name], name))
    names = [name for name in most or [] if name in total]
    names += [name for name in order if name not in names]
    index = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(by_seed), len(names), len(names)))
    for place, (_, of_seed) in enumerate(sorted(by_seed.items())):
        for run in of_seed:
            for (label, prediction), count in run.items():
                counts[place, index[label], index[prediction]] += count / len(of_seed)
    return Confused(names, counts)


def counts_of(view: View, run_id: str) -> Counts | None:
    """What a run kept; of one of an older version, which knows its classes by number, what its examples say."""
    table = view.confusions(run_id)
    if table is not None and {"label", "prediction", "count"} <= set(table):
        labels, guesses, counts = (table[name].tolist() for name in ("label", "prediction", "count"))
        return {
            (shown(str(label)), shown(str(guess))): float(count)
            for label, guess, count in zip(labels, guesses, counts, strict=True)
        }
    examples = view.examples(run_id)
    if not examples or not {"label", "prediction"} <= set(examples):
        return None
    pairs = np.stack([np.asarray(examples[name], dtype=np.int64) for name in ("label", "prediction")], axis=1)
    different, counts = np.unique(pairs, axis=0, return_counts=True)
    return {
        (f"class {label}", f"class {guess}"): float(count)
        for (label, guess), count in zip(different.tolist(), counts.tolist(), strict=True)
    }


def interval_of(values_S: np.ndarray, level: float = 0.95) -> tuple[float, Interval]:
    """The mean over the seeds that have a value, and its interval; NaN of none."""
    there = values_S[np.isfinite(values_S)]
    if not len(there):
        return float("nan"), unknown(level, "no seed has a value")
    return float(there.mean()), t_interval(there, level)
