"""The SQLite file of a store: made whole or not at all, read from anywhere, at home where it now lies."""

import atexit
import os
import shutil
import sqlite3
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock

from gru_bench.errors import UserError

LOCK_WITHIN_S = 120.0
"""Longest wait for other processes that use a new store for the first time; each holds the lock for seconds."""
ARTIFACTS = "mlartifacts"
MODELS = "models"
"""Folder among the artifacts in which MLflow keeps the files of its logged models."""
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside a file, by the ends of the names."""
OURS = {"experiments", "runs", "metrics", "params", "tags", "alembic_version"}
"""Tables by which a file is known as MLflow's, whole or not."""


def locked(file: Path) -> FileLock:
    """The lock of a SQLite file, shared by all processes that make or open it.

    Raises:
        OSError: The folder cannot be written; filelock by itself would wait for that to change.
    """
    lock = Path(f"{file}.lock")
    lock.touch()
    return FileLock(lock, timeout=LOCK_WITHIN_S)


def make_whole(file: Path, migrate: Callable[[Path], None]) -> Path | None:
    """Make a store's file if there is none, or one whose making was interrupted. The caller holds the lock.

    MLflow makes its tables in a hundred steps, and never finishes what was interrupted. So they are made in a file
    beside this one, which is then moved into its place.

    Args:
        file: Where it is to be.
        migrate: Makes MLflow's tables in the file that it is given, and closes it.

    Returns:
        Where the unfinished file was put, if there was one.

    Raises:
        UserError: The file holds something else.
        OSError, sqlite3.Error: It cannot be read or written.
    """
    file = Path(os.path.realpath(file))
    unfinished = None
    if file.exists() and file.stat().st_size:
        with closing(sqlite3.connect(file, timeout=5)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            if names and not names & OURS:
                raise UserError(f"tracking.uri: {file} holds tables of something else; choose another file")
            if names and not is_unfinished(connection, names):
                return None
        if names:
            unfinished = file.with_name(f"{file.name}.unfinished")
    new = file.with_name(f".{file.name}.new")
    remove(new)
    try:
        migrate(new)
        with closing(sqlite3.connect(new, timeout=5)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")  # all of it in the one file that is moved
        if unfinished is not None:
            os.replace(file, unfinished)
        for end in BESIDE:
            Path(f"{file}{end}").unlink(missing_ok=True)
        os.replace(new, file)
    finally:
        remove(new)
    return unfinished


def remove(file: Path) -> None:
    """A SQLite file and what belongs to it."""
    for end in ("", *BESIDE):
        Path(f"{file}{end}").unlink(missing_ok=True)


def is_unfinished(connection: sqlite3.Connection, names: set[str]) -> bool:
    """Whether MLflow was interrupted while it made these tables: then there is no run, and a step is missing."""
    for name, most in (("runs", 0), ("experiments", 1)):
        if name in names and connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] > most:
            return False
    rows = (
        connection.execute("SELECT version_num FROM alembic_version").fetchall() if names & {"alembic_version"} else []
    )
    return not rows or is_older(rows[0][0]) is True


def is_older(revision: str) -> bool | None:
    """Whether tables of this revision were made by an older MLflow; None for one that this MLflow does not know."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    if revision in scripts.get_heads():
        return False
    return True if revision in {script.revision for script in scripts.walk_revisions()} else None


def bring_home(file: Path, root: Path | None = None) -> None:
    """Let a store that was moved or copied find its artifacts beside it, and write new ones there.

    MLflow keeps absolute places. Runs whose artifacts are not here, but still where they were, keep theirs.

    Args:
        file: The store's.
        root: Where its artifacts are; None is ``mlartifacts`` beside the file.

    Raises:
        OSError, sqlite3.Error: The file cannot be read or written.
    """
    root = root or file.parent / ARTIFACTS
    with closing(sqlite3.connect(file, timeout=5)) as connection:
        experiments = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        moved = [(root.as_uri(), id_) for id_, place in experiments if is_elsewhere(local_path(place), root)]
        runs = connection.execute(
            "SELECT run_uuid, artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) != ?",
            (len(root.as_uri()) + 1, f"{root.as_uri()}/"),
        ).fetchall()
        here = []
        for run_id, place in runs:
            path = local_path(place)
            if path is None or (path.name, path.parent.name) != ("artifacts", run_id):
                continue
            old = path.parent.parent
            if is_elsewhere(old, root) and ((root / run_id).is_dir() or not old.exists()):
                here.append((f"{root.as_uri()}/{run_id}/artifacts", run_id))
        models = [
            (f"{root.as_uri()}/{MODELS}/{id_}/artifacts", id_)
            for id_, place in placed_models(connection)
            for path in [local_path(place)]
            if path is not None and path.parts[-3:] == (MODELS, id_, "artifacts")
            if is_elsewhere(path.parents[2], root) and (root / MODELS / id_).is_dir()
        ]
        if moved or here or models:
            with connection:
                connection.executemany("UPDATE logged_models SET artifact_location = ? WHERE model_id = ?", models)
                connection.executemany("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", moved)
                connection.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", here)


def placed_models(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Each model's id and the place of its artifacts; none in a store that an older MLflow 3 made."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'logged_models'").fetchone():
        return []
    return connection.execute("SELECT model_id, artifact_location FROM logged_models").fetchall()


def is_elsewhere(place: Path | None, root: Path) -> bool:
    """Whether a place is the artifacts' folder of another store than the one whose folder is given."""
    if place is None or place.name != ARTIFACTS or place == root:
        return False
    with suppress(OSError):
        return not place.samefile(root)  # the same by another name
    return True


def local_path(place: str | None) -> Path | None:
    """The path that MLflow's URI of a place means on this machine, or None for a server's."""
    parts = urllib.parse.urlsplit(place or "server:")
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(place or "") if not parts.scheme else None


def to_read(file: Path) -> str:
    """The file as a URI for :mod:`sqlite3` that only reads, also from a place where nothing can be written.

    A file in WAL mode needs two more beside it, even to be read. Where they cannot be made, nobody writes either: then
    the file counts as one that never changes. If there is something in them, a copy is read.

    Raises:
        sqlite3.Error, OSError: It cannot be read.
    """
    uri = f"{file.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        if os.access(file.parent, os.W_OK) or not os.access(file, os.R_OK):
            raise
        log = Path(f"{file}-wal")
        if log.exists() and log.stat().st_size:
            return f"{copied(file).as_uri()}?mode=ro"
        return f"{uri}&immutable=1"
    return uri


def copied(file: Path) -> Path:
    """A copy of a SQLite file in a folder that lives as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="gru_bench_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for end in ("", "-wal"):
        if Path(f"{file}{end}").exists():
            shutil.copy(f"{file}{end}", folder / f"{file.name}{end}")
            (folder / f"{file.name}{end}").chmod(0o600)
    return folder / file.name
