"""Scores on parts of the test data: what the sections on lengths and on other parts have in common."""

import math
from dataclasses import dataclass

import pandas as pd

from gru_bench.report.groups import TaskGroups
from gru_bench.report.markdown import known, number, plus_minus
from gru_bench.report.scores import deviation
from gru_bench.report.view import View


@dataclass(frozen=True)
class Parts:
    """One way to cut one task's test data.

    Attributes:
        name: By what it is cut.
        values: The parts, in the order of their numbers, else of their names.
        scores: ``scores[row][value]`` has a value a seed; rows without any are left out.
        trivial: What the trivial guess scores, by value; None where no run kept it, or where the rows differ in data.
    """

    task: TaskGroups
    metric: str
    name: str
    values: list[str]
    scores: dict[str, dict[str, pd.Series]]
    trivial: dict[str, float | None]

    def rows(self, shown: list[str]) -> list[list[str]]:
        """The lines of a table with a column for each of these parts."""
        lines = [[label, *(plus_minus_of(row[value]) for value in shown)] for label, row in self.scores.items()]
        if any(known(self.trivial[value]) for value in shown):
            lines.append(["trivial guess", *(number(self.trivial[value]) for value in shown)])
        return lines


def cut(view: View, task: TaskGroups, metric: str, name: str) -> Parts:
    """The parts by which one of a task's test scores was told apart; none where it was not."""
    finished = {run for group in task.groups for run in group.finished["run_id"]}
    values = {
        value
        for (split, *rest, value), by_run in view.measured.items()
        if (split, *rest) == ("test", metric, name) and not finished.isdisjoint(by_run)
    }
    ordered = sorted(values, key=lambda text: (as_number(text), text))
    scores = {
        group.label: {value: view.seed_values(group, metric, "test", name, value) for value in ordered}
        for group in task.groups
    }
    kept = {label: row for label, row in scores.items() if any(len(series) for series in row.values())}
    guesses = {
        value: _agreed(view.measured.get(("test", f"trivial_{metric}", name, value), {}), task) for value in ordered
    }
    return Parts(task, metric, name, ordered, kept, guesses)


def _agreed(by_run: dict[str, float], task: TaskGroups) -> float | None:
    """The value that a task's runs agree on."""
    ids = {run for group in task.groups for run in group.runs["run_id"]}
    found = {value for run, value in by_run.items() if run in ids}
    return found.pop() if len(found) == 1 else None


def as_number(text: str) -> float:
    """A part's place on an axis; a range such as ``5-9`` or ``31+`` stands at its lower end."""
    try:
        return float(text.split("-")[0].rstrip("+") or text)
    except ValueError:
        return math.inf


def plus_minus_of(series: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    if series.empty:
        return number(None)
    return plus_minus(series.mean(), deviation(series))
