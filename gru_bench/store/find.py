"""Runs and artifacts in a store that has answered. Writer and reader share it."""

import json
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gru_bench.errors import UserError
from gru_bench.store.connect import artifact_root, one_line, without_password
from gru_bench.store.reap import GONE, is_over
from gru_bench.store.schema import DIVERGED, ERROR, PLANNED_FILE, STATUS, SWEEP
from gru_bench.store.source import Source, StoredRun


def run_status(run: StoredRun) -> str:
    """How a run ended. MLflow has no status for unsupported: there our tag counts, otherwise MLflow's status.

    One that MLflow has as running, but whose process is over, was killed, though nobody has written that yet.
    """
    status = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}.get(run.status, "running")
    if status == "running" and is_over(run):
        return "killed"
    return "unsupported" if status == "failed" and run.tags.get(STATUS) == "unsupported" else status


def run_error(run: StoredRun) -> str:
    """Why a run did not finish, in a line; empty where it did, or still runs."""
    return run.tags.get(ERROR, "") or (GONE if run.status != "KILLED" and run_status(run) == "killed" else "")


def is_result(status: str, error: str) -> bool:
    """Whether such a run is an answer, which running it again would only repeat.

    That is one that finished, one that the cell or the backend refused, and one whose loss was lost.
    """
    return status in ("finished", "unsupported") or (status == "failed" and error.startswith(DIVERGED))


def standing(status: str, error: str) -> int:
    """Which of two runs of one job counts, before the later one does: finished, else a result, else any."""
    return 2 if status == "finished" else int(is_result(status, error))


def sweep_runs(source: Source, parent: StoredRun) -> list[StoredRun]:
    """All runs of a sweep, the oldest first."""
    return source.runs([parent.experiment_id], {SWEEP: parent.run_id})


@contextmanager
def fetched(source: Source, run: StoredRun, names: tuple[str, ...]) -> Iterator[list[Path] | None]:
    """Paths of a run's artifacts on this machine, for the time of the block.

    Args:
        source: Of the run.
        run: Whose artifacts.
        names: Of files, or of folders, directly below the run's artifacts.

    Yields:
        One path a name, or None where one of them is not there.

    Raises:
        UserError: The artifacts lie on a server that this URI does not lead to.
    """
    local, root = local_folder(run.artifact_uri), artifact_root(source.uri)
    if local is None:
        with tempfile.TemporaryDirectory() as folder:
            yield downloaded(source, run, names, folder)
        return
    # a SQLite file may have been moved together with the artifacts beside it
    places = [local] if root is None else [root / run.run_id / "artifacts", local]
    found = ([place / name for name in names] for place in places)
    yield next((files for files in found if all(file.exists() for file in files)), None)


def downloaded(source: Source, run: StoredRun, names: tuple[str, ...], folder: str) -> list[Path] | None:
    """Artifacts that lie on a server, put into a folder."""
    from mlflow.exceptions import MlflowException

    try:
        if not set(names) <= {file.path for file in source.client.list_artifacts(run.run_id)}:
            return None
        return [Path(source.client.download_artifacts(run.run_id, name, folder)) for name in names]
    except MlflowException as error:
        raise UserError(
            f"tracking.uri={without_password(source.uri)}: cannot get {run.artifact_uri}/{names[0]}: {one_line(error)}"
        ) from error


def local_folder(artifact_uri: str) -> Path | None:
    """The folder that an artifact URI means on this machine, or None for a server's."""
    parts = urllib.parse.urlsplit(artifact_uri)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(artifact_uri) if not parts.scheme else None


def read_planned(source: Source, parent: StoredRun, problems: list[str] | None = None) -> list[dict[str, str]]:
    """The planned matrix of a sweep; empty if its parent died before writing it, or it was damaged since.

    A job has its number as ``job``, and as ``run`` the id of the run that stands for it, where another sweep had a
    result for it already. What is damaged is added to the problems, in a line.
    """
    try:
        with fetched(source, parent, (PLANNED_FILE,)) as files:
            planned: list[dict[str, str]] = json.loads(files[0].read_text(encoding="utf-8")) if files else []
        if isinstance(planned, list) and all(
            job["job"].isdecimal() and all(isinstance(value, str) for value in job.values()) for job in planned
        ):
            return planned
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    if problems is not None:
        problems.append(
            f"sweep {parent.run_id}: its {PLANNED_FILE} is damaged; jobs of it that left no run are left out"
        )
    return []
