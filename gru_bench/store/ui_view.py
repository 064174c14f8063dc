"""How the MLflow UI shows an experiment: runs grouped by cell, charts of test and validation metrics on top.

The UI reads a shared view from an experiment tag. MLflow does not document it: where another version ignores it, the
UI opens with its own defaults.
"""

import json
from collections.abc import Iterable

from gru_bench.store.schema import GROUP_LABEL

UI_VIEW_KEY = "gru_bench"
UI_VIEW_TAG = f"mlflow.sharedViewState.{UI_VIEW_KEY}"

ENDED = "how training ended"
"""The section of ``ONCE``, which would stand among the curves of ``train`` otherwise."""
ONCE = ("train/steps", "train/best_step", "train/epochs")
COLUMNS = ("cell", "task", "seed", "hidden_size", "num_parameters")


def ui_url_path(experiment_id: str) -> str:
    """The path after the server's address that opens an experiment in this view."""
    query = f"workflowType=machine_learning&viewStateShareKey={UI_VIEW_KEY}&compareRunsMode=CHART"
    return f"/#/experiments/{experiment_id}/runs?{query}"


def group_params(planned: Iterable[dict[str, str]]) -> list[str]:
    """By which params a sweep's runs are averaged: the cell, where they differ in nothing else but the seed.

    Otherwise by none, which is by the label that each run has: the UI writes ``cell: gru, task: adding`` for two
    params, and cuts that before anything differs.
    """
    choices = list(planned)
    names = {name for choice in choices for name in choice if name not in ("job", "run", "seed", "cell")}
    return [] if any(len({choice.get(name) for choice in choices}) > 1 for name in names) else ["cell"]


def view_state(params: list[str]) -> str:
    """The view as the JSON that the UI reads. The UI adds one chart per metric to the section before the ``/``.

    Numbers of which a run has one are folded away, below scores and curves; speed, too, since it is not to be compared
    between the runs of a sweep.

    Args:
        params: By which runs are grouped; none for their labels.
    """
    groups = [{"mode": "param", "groupByData": name} for name in params]
    sections = {"test": True, "valid": True, "train": True, ENDED: False, "speed": False, "memory": False}
    bar = {"type": "BAR", "metricSectionId": ENDED, "runsCountToCompare": 10, "isGenerated": True, "deleted": False}
    return json.dumps(
        {
            "groupBy": {
                "aggregateFunction": "average",
                "groupByKeys": groups or [{"mode": "tag", "groupByData": GROUP_LABEL}],
            },
            "runsHiddenMode": "SHOW_ALL",
            "selectedColumns": [f"params.`{name}`" for name in COLUMNS],
            "isAccordionReordered": True,
            "compareRunCharts": [bar | {"uuid": metric, "metricKey": metric} for metric in ONCE],
            "compareRunSections": [
                {"uuid": name, "name": name, "display": display, "isReordered": True, "isGenerated": True, "columns": 2}
                for name, display in sections.items()
            ],
        }
    )
