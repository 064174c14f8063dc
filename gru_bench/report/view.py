"""The view of the results that all sections share: read, looked up and grouped once."""

from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd

from gru_bench.report.baselines import baselines_in
from gru_bench.report.groups import Group, Measured, TaskGroups, by_task, is_known, value_text
from gru_bench.report.markdown import known
from gru_bench.report.scores import Outcome, outcome, seed_values
from gru_bench.report.timings import not_timed, timings_of
from gru_bench.store.read import Results
from gru_bench.store.schema import HORIZON, RUN_FACTS, SETTINGS

VALUE_COLUMNS = ("run_id", "split", "metric", "slice", "slice_value", "value")
NO_TIMES = ("flops_per_token",)
"""Of the split ``speed``, what no clock has measured."""


class View:
    """What sections read. Building it changes nothing of the results, and sections change nothing of it.

    Attributes:
        all_runs: One row per run, with every column of :data:`~gru_bench.store.schema.RUN_FACTS` and those of the
            environment, in an order that depends on nothing but their content.
        runs: Those that are compared with others: the rows of every table, but of those on how far back cells reach.
        searched: The others, which a sweep made to choose a rate or to look for the longest lag. They were stopped as
            soon as their question was answered, and which of them there are depends on the outcome, so that a mean
            over them, or a comparison, would mislead.
        values: One row a measured number, likewise.
        curves: One row per point of a curve.
        bench: The stored figures of ``bench/cells.py``.
        timings: What ``gru-bench time`` measured, of each pair the one that counts: of layers, and of models that these
            runs trained. What else was measured of these pairs is ``timed_before``, and ``not_timed`` are the rows of
            pairs that did not finish.
        measured: The values, to be looked up by split, metric and slice; without the times of runs that were trained
            together with other seeds, whose steps were not their own.
        tasks: The tasks by name, each with the rows of its tables.
        baselines: What simple models score on the data of these runs.
        examples: Reads what a run, or a baseline, kept of each test example.
        confusions: Reads how many test examples of each class a run took for which.
        accept: What the user accepts although it weakens the comparison, such as ``margins`` that differ.
    """

    def __init__(self, results: Results, accept: frozenset[str] = frozenset()):
        self.all_runs, self.values = complete(results)
        of_search = is_known(self.all_runs["role"]) | left_out(self.all_runs)
        self.runs = self.all_runs[~of_search].reset_index(drop=True)
        self.searched = self.all_runs[of_search].reset_index(drop=True)
        self.curves, self.bench = results.curves.copy(), results.bench.copy()
        self.timings, self.timed_before = timings_of(results.timings, self.all_runs)
        self.not_timed = not_timed(results.timings, self.all_runs)
        self.baselines = baselines_in(results.baselines)
        self.measured = measure(self.values[~is_time_in_batch(self.values, self.all_runs)])
        self._evaluated: dict[tuple[str, str], dict[int, float]] = {}
        if len(self.curves):
            for run, metric, step, value in zip(
                *(self.curves[name].tolist() for name in ("run_id", "metric", "step", "value")), strict=True
            ):
                self._evaluated.setdefault((run, metric), {})[step] = value
        self.tasks = by_task(self.runs, self.measured, SETTINGS)
        self.examples, self.confusions, self.accept = results.examples, results.confusions, accept
        self._remembered: dict[Hashable, Any] = {}

    def remember(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, computed once for all sections that ask under the same key."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    def seed_values(
        self, group: Group, metric: str, split: str = "test", slice: str = "", slice_value: str = ""
    ) -> pd.Series:
        """One value per seed of a row's finished runs; see :func:`gru_bench.report.scores.seed_values`."""
        key = ("seed_values", group.task, group.cell, group.key, group.label, metric, split, slice, slice_value)
        found: pd.Series = self.remember(
            key, lambda: seed_values(self.measured, group, metric, split, slice, slice_value)
        )
        return found.copy()

    def outcomes(self, task: TaskGroups) -> dict[str, Outcome]:
        """Test scores of a task by the label of each row."""
        found: dict[str, Outcome] = self.remember(
            ("outcomes", task.task, task.metric),
            lambda: {group.label: outcome(self.measured, task, group) for group in task.groups},
        )
        return dict(found)

    def _of(self, group: Group, split: str, metric: str) -> dict[str, float]:
        """A measured number of a row's finished runs, by run."""
        found = self.measured.get((split, metric, "", ""), {})
        return {run: found[run] for run in group.finished["run_id"] if run in found}

    def still_improving(self, group: Group) -> tuple[int, int]:
        """How many finished runs had their best validation score at the last step, and for how many this is known.

        Nothing is known of a run whose curve shows that it was evaluated only once. Of one without a curve of its
        primary metric, as old stores have them, the steps are trusted. A score that an earlier step had too is no
        improvement: of equal ones the step with the lowest loss is kept.
        """
        best, steps = self._of(group, "train", "best_step"), self._of(group, "train", "steps")
        metrics = dict(zip(group.finished["run_id"], group.finished["primary_metric"], strict=True))
        curves = {run: self._evaluated.get((run, f"valid/{metrics[run]}"), {}) for run in best.keys() & steps.keys()}
        both = [run for run, curve in curves.items() if len(curve) != 1]

        def late(run: str) -> bool:
            at_best = curves[run].get(int(best[run]))
            tied = any(value == at_best for step, value in curves[run].items() if step < best[run])
            return best[run] >= steps[run] and not tied

        return sum(map(late, both)), len(both)

    def ended_by_patience(self, group: Group) -> tuple[int, int]:
        """How many finished runs patience ended, and for how many the reason is known."""
        reasons = [str(reason) for reason in group.finished["stopped"] if known(reason)]
        return sum("patience" in reason for reason in reasons), len(reasons)

    def never_left_the_guess(self, task: TaskGroups, group: Group) -> tuple[int, int]:
        """How many finished runs beat the trivial guess on their data by less than the margin, or not at all.

        Where no margin is known, any gain counts. The second number is of how many runs this is known.
        """
        if task.higher_is_better is None:
            return 0, 0
        scores, guesses = self._of(group, "test", task.metric), self._of(group, "test", f"trivial_{task.metric}")
        sign = 1 if task.higher_is_better else -1
        gains = [sign * (scores[run] - guesses[run]) for run in scores.keys() & guesses.keys()]
        least = (task.margin or 0.0) * (1 - 1e-9)  # a gain of the margin itself may be a little less, once rounded
        return sum(gain <= 0 or gain < least for gain in gains), len(gains)


def complete(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and values with every column that sections read, in an order that depends on nothing but their content."""
    runs, values = results.runs.copy(), results.values.copy()
    for frame, columns in ((runs, RUN_FACTS), (values, VALUE_COLUMNS)):
        for column in columns:
            if column not in frame:
                frame[column] = None
    runs["seed"] = pd.to_numeric(runs["seed"], errors="coerce")
    runs["job"] = pd.to_numeric(runs["job"], errors="coerce")
    for column in ("slice", "slice_value"):
        values[column] = values[column].fillna("").astype(str)
    runs = runs.sort_values(["task", "cell", "group_key", "seed", "job", "run_id"], ignore_index=True)
    return runs, values.sort_values(list(VALUE_COLUMNS), ignore_index=True)


def left_out(runs: pd.DataFrame) -> pd.Series:
    """Which runs are jobs of a search for a horizon that left no run: no plan knows their role.

    All runs of such a sweep have one.
    """
    searches = set(runs.loc[runs["role"] == HORIZON, "sweep"])
    return (runs["status"] == "missing") & is_known(runs["sweep"]) & runs["sweep"].isin(searches)


def measure(values: pd.DataFrame) -> Measured:
    """The values of :func:`complete`, to be looked up by split, metric and slice."""
    found: Measured = {}
    columns = (values[column].tolist() for column in VALUE_COLUMNS)
    for run_id, split, metric, slice, slice_value, value in zip(*columns, strict=True):
        if known(value):
            found.setdefault((split, metric, slice, slice_value), {})[run_id] = float(value)
    return found


def differing_settings(task: TaskGroups) -> list[str]:
    """How the rows of a task differ besides cell and rate, each as ``backend: loop (rnn, gru), vendor (lstm)``."""
    found = []
    for column in SETTINGS:
        if column == "learning_rate":  # a column of the table
            continue
        cells: dict[str, dict[str, None]] = {}
        for group in task.groups:
            if known(value := group.fact(column)):
                cells.setdefault(value_text(column, value), {})[group.cell] = None
        if len(cells) > 1:
            values = [f"{text} ({', '.join(names)})" for text, names in cells.items()]
            found.append(f"{column}: {', '.join(values)}")
    return found


def in_batch(runs: pd.DataFrame) -> pd.Series:
    """Which runs were trained together with others that differ in the seed alone."""
    return (runs["seeds_in_batch"].fillna(1) > 1).astype(bool)


def is_time_in_batch(values: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    """Which values are times of such runs."""
    together = set(runs.loc[in_batch(runs), "run_id"])
    timed: pd.Series = (values["split"] == "speed") & ~values["metric"].isin(NO_TIMES)
    return timed & values["run_id"].isin(together)
