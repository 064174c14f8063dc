"""A run's kept model among the models of MLflow 3, which the tab "Models" of an experiment lists.

Its files are artifacts of the run. What MLflow calls a logged model is a row that leads to the run and has some of its
params and scores. It is made once the run has finished and all else of it has arrived, so that none is left of a run
that did not, and can be made again: the delivery is a tag of it, which is looked up where an earlier try may have come
so far.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gru_bench.kept.folder import FACTS_FILE, MLMODEL_FILE
from gru_bench.store.connect import artifact_root
from gru_bench.store.files import link, remove
from gru_bench.store.find import local_folder
from gru_bench.store.outbox import Point
from gru_bench.store.schema import BEST, DELIVERY, MODEL_FOLDER

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

PARAMS = (
    "task", "family", "cell", "backend", "hidden_size", "num_layers", "num_parameters", "state_size", "budget", "seed",
    "learning_rate", "device", "dtype", "data_fingerprint",
)  # fmt: skip
"""Facts of the run that its model has as params."""
PLACE = "gru_bench.model_uri"
"""Tag of a logged model: by which URI it is loaded."""
NOT_IN_NAMES = str.maketrans(dict.fromkeys("/:.%\"'", "_"))
"""Characters that MLflow refuses in a model's name."""


def log_model(
    client: "MlflowClient",
    uri: str,
    experiment_id: str,
    run_id: str,
    folder: Path,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    points: Iterable[Point],
    *,
    again: bool,
) -> None:
    """Make the row of a run's model.

    Args:
        client: Of the store.
        uri: Of the store.
        experiment_id: The run's.
        run_id: MLflow's.
        folder: The kept model.
        tags: With which the run began; its ``DELIVERY`` is among them.
        params: The run's.
        points: The run's.
        again: Whether this may have been tried before.

    Raises:
        StoreAway: For now that does not work; it can be tried again.
        Exception: MLflow refuses something.
    """
    from mlflow.entities import LoggedModelOutput, Metric

    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    delivery = tags[DELIVERY]
    model = found(client, experiment_id, delivery) if again else None
    is_new = model is None
    if model is None:
        known = dict(tags) | dict(params)
        model = client.create_logged_model(
            experiment_id,
            name=f"{facts['cell']} {facts['task']} seed {facts['seed']}".translate(NOT_IN_NAMES),
            source_run_id=run_id,
            tags={DELIVERY: delivery, PLACE: f"runs:/{run_id}/{MODEL_FOLDER}"},
            params={name: known[name] for name in PARAMS if name in known} | {"kept": facts["kept"]},
            model_type=facts["cell"],
        )
    if str(model.status) == "READY":
        return
    step = facts["step"]
    outputs = None if is_new else client.get_run(run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    scored = [Metric(*point, model_id=model.model_id, run_id=run_id) for point in scores(points, facts["kept"])]
    if scored:  # the run has these points, which MLflow takes as one with those that it has
        client.log_batch(run_id, metrics=scored)
    bring_files(uri, run_id, folder, model)
    client.finalize_logged_model(model.model_id, "READY")


def found(client: "MlflowClient", experiment_id: str, delivery: str) -> "LoggedModel | None":
    """The model that this delivery has made; where an answer was lost there may be two, and one is left."""
    condition = f"tags.`{DELIVERY}` = '{delivery}'"
    models = sorted(client.search_logged_models([experiment_id], condition), key=lambda model: model.model_id)
    for twice in models[1:]:
        client.delete_logged_model(twice.model_id)
    return models[0] if models else None


def scores(points: Iterable[Point], kept: str) -> list[Point]:
    """The latest points of the scores of a run that are those of the weights that it kept.

    Args:
        points: The run's.
        kept: ``best``: all of the test split, and the best of validation. ``last``: validation at the last step; the
            test split was scored with other weights.
    """
    latest = {point[0]: point for point in points}
    if kept == "last":
        return [point for name, point in latest.items() if name.startswith("valid/") and BEST not in name]
    return [point for name, point in latest.items() if name.startswith(("test/", f"valid/{BEST}"))]


def bring_files(uri: str, run_id: str, folder: Path, model: "LoggedModel") -> None:
    """Let ``models:/ID`` be loaded where the artifacts are folders: the run's files, at the model's place as well.

    They are the same on the disk. A server would have to be sent all of them twice, so there the model has none of its
    own, and is loaded as its run's: ``runs:/RUN_ID/model``.
    """
    root, place = artifact_root(uri), local_folder(model.artifact_location)
    if root is None or place is None or not (folder / MLMODEL_FILE).is_file():
        return
    with suppress(OSError):
        remove(place)
        for parent in (place.parent.parent, place.parent):  # no more: the store's own folder may be away
            parent.mkdir(exist_ok=True)
        link(root / run_id / "artifacts" / MODEL_FOLDER, place)
