"""A written report in MLflow: its files as artifacts of the sweep, its verdict in the experiment's description."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gru_bench.errors import UserError
from gru_bench.store.connect import absolute_uri, connect, one_line
from gru_bench.store.notes import NOTE as NOTE
from gru_bench.store.notes import placed
from gru_bench.store.read import Results
from gru_bench.store.schema import KIND, SWEEP_KIND
from gru_bench.store.source import Client, StoredRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

PLACE = "report"
"""Folder among the artifacts of the sweep's parent."""
FILES = ("report.md", "details.md", "report.html", "results.csv", "timings.csv", "figures", "tables")
"""What a report may consist of; the folder that it was written to may hold a user's own files."""
OURS = "**Verdict.**"
"""How our paragraph of the description begins."""


def publish(uri: str | None, results: Results, folder: Path, sentence: str) -> str | None:
    """Put a report where those who open MLflow find it. Doing it again replaces it.

    Args:
        uri: The store that the results were read from; None is ``mlflow.db`` in the working folder.
        results: What the report was made from.
        folder: Where its files are.
        sentence: The verdict.

    Returns:
        None, or why nothing was published, in a line: a report must not fail because a store cannot be written.
    """
    experiments = sorted(set(results.runs["experiment"]))
    if len(experiments) != 1:
        return f"not published in MLflow: the report covers {len(experiments)} experiments"
    try:
        uri = absolute_uri(uri)
        client = connect(uri, create=False)
        found = client.get_experiment_by_name(experiments[0])
        sweeps = Client(uri, client).runs([found.experiment_id], {KIND: SWEEP_KIND}) if found else []
        if not sweeps:
            return f"not published in MLflow: experiment={experiments[0]} has no sweep there"
        if not set(results.runs["sweep"]) - {""} <= {sweep.run_id for sweep in sweeps}:
            return "not published in MLflow: the report covers several stores"
        upload(client, sweeps[-1], folder)
        describe(client, sweeps[-1], sentence)
    except UserError as error:
        return f"not published in MLflow: {error}"
    except Exception as error:  # a read-only file, a server without rights, a full disk: each has errors of its own
        return f"not published in MLflow: {one_line(error)}"
    return None


def upload(client: "MlflowClient", sweep: StoredRun, folder: Path) -> None:
    """Replace the report among a sweep's artifacts."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as copied:
        for name in FILES:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, Path(copied, name))
            elif (folder / name).is_file():
                shutil.copy(folder / name, Path(copied, name))
        with suppress(Exception):  # not there yet, or a kind of artifact store that deletes nothing
            get_artifact_repository(sweep.artifact_uri).delete_artifacts(PLACE)
        client.log_artifacts(sweep.run_id, copied, PLACE)


def describe(client: "MlflowClient", sweep: StoredRun, sentence: str) -> None:
    """Write the verdict into the description of the experiment; what somebody else wrote there stays."""
    before = client.get_experiment(sweep.experiment_id).tags.get(NOTE, "")
    link = f"#/experiments/{sweep.experiment_id}/runs/{sweep.run_id}/artifacts/{PLACE}/report.md"
    described = placed(before, OURS, f"{sentence} [The whole report]({link})", first=True)
    client.set_experiment_tag(sweep.experiment_id, NOTE, described)
