"""What simple models score on the data of the runs, to be shown beside the trivial guess."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gru_bench.report.groups import Group, TaskGroups, distinct
from gru_bench.report.markdown import known

NAMES = {"bag_of_words": "bag of words"}
"""What reports call them."""


@dataclass(frozen=True)
class Baseline:
    """A simple model that was trained, chosen and tested on the rows of some runs.

    Attributes:
        run_id: Of its row in the store, by which what it said of each test row is read.
        name: In words.
        data: Fingerprint of the rows.
        features: What it looks at, in words.
        class_weights: How much each class counted in its training; empty for all alike.
        seconds: Its training took; None where that is not known.
        test: Score by metric on the test rows.
        valid: Likewise on the validation rows.
    """

    run_id: str
    name: str
    data: str
    features: str
    class_weights: str
    seconds: float | None
    test: dict[str, float]
    valid: dict[str, float]


def baselines_in(rows: pd.DataFrame) -> list[Baseline]:
    """The baselines of a table with one row a score."""
    found = []
    for run_id, part in rows.groupby("run_id", sort=True):
        scores = {
            split: dict(zip(of_split["metric"], map(float, of_split["value"]), strict=True))
            for split, of_split in part.groupby("split")
        }
        first = part.iloc[0]
        found.append(
            Baseline(
                str(run_id),
                NAMES.get(str(first["baseline"]), str(first["baseline"])),
                str(first["data_fingerprint"]),
                str(first["features"]),
                str(first["class_weights"]) if known(first["class_weights"]) else "",
                float(first["seconds"]) if known(first["seconds"]) else None,
                scores.get("test", {}),
                scores.get("valid", {}),
            )
        )
    return sorted(found, key=lambda one: (one.data, one.name, one.class_weights, one.run_id))


def on_data_of(baselines: Sequence[Baseline], group: Group, metric: str, *, higher_is_better: bool) -> Baseline | None:
    """The baseline on a row's data, the one that validates best of several; None where there is none."""
    data = {str(value) for value in distinct(group.finished["data_fingerprint"])}
    fitting = [one for one in baselines if {one.data} == data and metric in one.test and metric in one.valid]
    sign = 1 if higher_is_better else -1
    return max(fitting, key=lambda one: sign * one.valid[metric], default=None)


def of_task(baselines: Sequence[Baseline], task: TaskGroups) -> list[Baseline]:
    """The baselines that a task's rows are held against, each once."""
    if task.higher_is_better is None:
        return []
    found = [on_data_of(baselines, group, task.metric, higher_is_better=task.higher_is_better) for group in task.groups]
    return list({one.run_id: one for one in found if one is not None}.values())


def labelled(found: Sequence[Baseline]) -> list[tuple[str, Baseline]]:
    """Each with a label that tells it from the others of its task."""
    return [(one.name if len(found) == 1 else f"{one.name} (data {one.data[:6]})", one) for one in found]
