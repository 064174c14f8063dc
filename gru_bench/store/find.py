"""Runs and artifacts in a store that has answered. Writer and reader share it."""

import json
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from gru_bench.errors import UserError
from gru_bench.store.connect import artifact_root, one_line, without_password
from gru_bench.store.schema import PLANNED_FILE, STATUS, SWEEP

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

RUNS_A_PAGE = 1000


def run_status(run: "MlflowRun") -> str:
    """How a run ended. MLflow has no status for unsupported: there our tag counts, otherwise MLflow's status."""
    status = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}.get(run.info.status, "running")
    return "unsupported" if status == "failed" and run.data.tags.get(STATUS) == "unsupported" else status


def sweep_runs(client: "MlflowClient", parent: "MlflowRun") -> list["MlflowRun"]:
    """All runs of a sweep, the oldest first."""
    return search(client, [parent.info.experiment_id], f"tags.`{SWEEP}` = '{parent.info.run_id}'")


def search(client: "MlflowClient", experiment_ids: list[str], condition: str) -> list["MlflowRun"]:
    """All runs that meet a condition, page after page, the oldest first."""
    runs: list[MlflowRun] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            experiment_ids,
            condition,
            max_results=RUNS_A_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def fetch(client: "MlflowClient", uri: str, run: "MlflowRun", names: tuple[str, ...], folder: str) -> list[Path] | None:
    """Paths of a run's artifacts on this machine.

    Args:
        client: From :func:`gru_bench.store.connect.connect`.
        uri: The store's absolute URI.
        run: Whose artifacts.
        names: Their file names.
        folder: Where to put those that lie on a server.

    Returns:
        One path a name, or None where one of them is not there.

    Raises:
        UserError: The artifacts lie on a server that this URI does not lead to.
    """
    from mlflow.exceptions import MlflowException

    local, root = local_folder(run.info.artifact_uri), artifact_root(uri)
    if local is not None:
        # a SQLite file may have been moved together with the artifacts beside it
        places = [local] if root is None else [local, root / run.info.run_id / "artifacts"]
        found = (place for place in places if all((place / name).is_file() for name in names))
        place = next(found, None)
        return None if place is None else [place / name for name in names]
    try:
        if not set(names) <= {file.path for file in client.list_artifacts(run.info.run_id)}:
            return None
        return [Path(client.download_artifacts(run.info.run_id, name, folder)) for name in names]
    except MlflowException as error:
        raise UserError(
            f"tracking.uri={without_password(uri)}: cannot get {run.info.artifact_uri}/{names[0]}: {one_line(error)}"
        ) from error


def local_folder(artifact_uri: str) -> Path | None:
    """The folder that an artifact URI means on this machine, or None for a server's."""
    parts = urllib.parse.urlsplit(artifact_uri)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(artifact_uri) if not parts.scheme else None


def read_planned(client: "MlflowClient", uri: str, parent: "MlflowRun") -> list[dict[str, str]]:
    """The planned matrix of a sweep; empty if its parent died before writing it."""
    with tempfile.TemporaryDirectory() as folder:
        files = fetch(client, uri, parent, (PLANNED_FILE,), folder)
        planned: list[dict[str, str]] = json.loads(files[0].read_text(encoding="utf-8")) if files else []
    return planned
