"""The data that a run saw, as MLflow's own dataset: what the UI shows in its column, and finds runs by."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gru_bench.store.schema import DATA_FACTS, FINGERPRINT, GUESS

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTEXT = "train"
LONGEST_DIGEST, LONGEST_NAME = 36, 500
"""Characters, by MLflow."""
NOT_TAKEN = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED", "INVALID_PARAMETER_VALUE"})
"""MLflow's codes of a server that keeps no such thing: the facts have it all the same."""

THERE_ALREADY = re.compile("unique constraint|duplicate entry", re.IGNORECASE)
"""How SQLite, PostgreSQL and MySQL say that another run has added a row since MLflow looked for it."""


def log_dataset(client: "MlflowClient", run_id: str, params: Mapping[str, str]) -> None:
    """Link a run to its data, by its facts: task, source and fingerprint. Done again, it changes nothing.

    Args:
        client: On the store.
        run_id: MLflow's id.
        params: All facts that were sent so far.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    facts = {
        name.removeprefix(DATA_FACTS): text
        for name, text in params.items()
        if name.startswith(DATA_FACTS) and not name.startswith(GUESS)
    }
    dataset = Dataset(
        name=params.get("task", "data")[:LONGEST_NAME],
        digest=params[FINGERPRINT][:LONGEST_DIGEST],
        source_type="gru_bench",
        source=json.dumps({"uri": params.get("data_source", "")}),
        profile=json.dumps(facts) if facts else None,
    )
    inputs = [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, CONTEXT)])]
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException as error:
        if error.error_code in NOT_TAKEN:
            return
        if not THERE_ALREADY.search(str(error)):
            raise
        client.log_inputs(run_id, inputs)  # a run that began at the same moment: MLflow now finds its row
