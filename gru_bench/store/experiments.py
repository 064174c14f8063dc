"""Experiments: found by their name, made where there is none, and what to do where one was deleted."""

import shlex
from typing import TYPE_CHECKING

from gru_bench.errors import UserError
from gru_bench.store.connect import artifact_root, connect, one_line, python_command, without_password
from gru_bench.store.find import local_folder
from gru_bench.store.line import is_away
from gru_bench.store.notes import NOTE, OF_EXPERIMENT, of_experiment, placed
from gru_bench.store.schema import BENCH_EXPERIMENT
from gru_bench.store.ui_view import UI_VIEW_TAG, view_state

if TYPE_CHECKING:
    from mlflow import MlflowClient


def find_experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """An experiment's id; it is made if there is none of that name.

    Raises:
        UserError: It was deleted (the message shows how to restore it), or the name is not valid.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        root = artifact_root(uri)
        location = None if root is None else root.as_uri()
        tags = {UI_VIEW_TAG: view_state([])}
        if name != BENCH_EXPERIMENT:
            tags[NOTE] = placed("", OF_EXPERIMENT, of_experiment(name))
        try:
            return client.create_experiment(name, artifact_location=location, tags=tags)
        except MlflowException as error:
            if is_away(error):
                raise
            found = client.get_experiment_by_name(name)  # another process was quicker
            if found is None:
                raise UserError(f"experiment={name}: {one_line(error)}") from error
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"experiment={name} was deleted in {without_password(uri)}; restore it: "
            f"{how_to_restore(uri, found.experiment_id)}"
        )
    if artifact_root(uri) is not None and local_folder(found.artifact_location) is None:
        raise UserError(
            f"experiment={name} keeps its artifacts on a server ({found.artifact_location}); choose another name, "
            "or give that server as tracking.uri"
        )
    return found.experiment_id


def how_to_restore(uri: str, experiment_id: str) -> str:
    """The command that restores a deleted experiment; it needs nothing on the PATH but Python."""
    place = shlex.quote(without_password(uri))
    return f"MLFLOW_TRACKING_URI={place} {python_command()} -m mlflow experiments restore -x {experiment_id}"


def deleted_experiments(uri: str) -> list[str]:
    """Names of the experiments that were deleted, but not yet for good: nothing can be written under these names.

    Raises:
        UserError: The store cannot be read.
    """
    from mlflow.entities import ViewType

    found = connect(uri, create=False).search_experiments(view_type=ViewType.DELETED_ONLY)
    return sorted(experiment.name for experiment in found)
