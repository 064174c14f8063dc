"""How the MLflow UI shows an experiment: runs grouped by cell, charts of test and validation metrics on top.

The UI reads a shared view from an experiment tag. MLflow does not document it: where another version ignores it, the
UI opens with its own defaults.
"""

import json
from collections.abc import Iterable

from gru_bench.store.schema import NAMED_BY_CONFIG

UI_VIEW_KEY = "gru_bench"
UI_VIEW_TAG = f"mlflow.sharedViewState.{UI_VIEW_KEY}"

COLUMNS = ("cell", "task", "seed", "hidden_size", "num_parameters")


def ui_url_path(experiment_id: str) -> str:
    """The path after the server's address that opens an experiment in this view."""
    query = f"workflowType=machine_learning&viewStateShareKey={UI_VIEW_KEY}&compareRunsMode=CHART"
    return f"/#/experiments/{experiment_id}/runs?{query}"


def group_params(planned: Iterable[dict[str, str]]) -> list[str]:
    """The params in which a sweep's runs differ, except the seed: the UI may average over nothing else."""
    choices = list(planned)
    names = dict.fromkeys(name for choice in choices for name in choice if name not in ("job", "seed"))
    varied = [name for name in names if len({choice.get(name) for choice in choices}) > 1]
    params = (NAMED_BY_CONFIG[name].name if name in NAMED_BY_CONFIG else f"config.{name}" for name in varied)
    return list(dict.fromkeys(["cell", *params]))


def view_state(groups: list[str]) -> str:
    """The view as the JSON that the UI reads. The UI adds one chart per metric to the section before the ``/``.

    Speed is folded away: it is not to be compared between the runs of a sweep.
    """
    sections = {"test": True, "valid": True, "train": True, "speed": False, "memory": False}
    return json.dumps(
        {
            "groupBy": {
                "aggregateFunction": "average",
                "groupByKeys": [{"mode": "param", "groupByData": name} for name in groups],
            },
            "runsHiddenMode": "SHOW_ALL",
            "selectedColumns": [f"params.`{name}`" for name in COLUMNS],
            "isAccordionReordered": True,
            "compareRunCharts": [],
            "compareRunSections": [
                {"uuid": name, "name": name, "display": display, "isReordered": True, "isGenerated": True}
                for name, display in sections.items()
            ],
        }
    )
