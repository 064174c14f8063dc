"""The file of a store: interrupted while it was made, moved, copied, or where nothing can be written."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from stores import ENVIRONMENT, copy_store, one_run, same, score

from gru_bench.errors import UserError
from gru_bench.store import connect as connect_module
from gru_bench.store.read import read
from gru_bench.store.sqlite_file import ARTIFACTS, to_read
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    (tmp_path / "old").mkdir()
    return copy_store(fresh_store, tmp_path / "old")


def store_at(folder: Path) -> Store:
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}")


def files(folder: Path) -> dict[str, bytes]:
    """All that is there; SQLite's own files beside the store's aside."""
    kept = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("mlflow.db-"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def rows(folder: Path, question: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return connection.execute(question).fetchall()


# made


@pytest.mark.parametrize(
    "left", ["CREATE TABLE experiments (experiment_id INT)", "CREATE TABLE alembic_version (version_num TEXT)"]
)
def test_a_file_that_was_left_half_made(
    left: str,
    fresh_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(connect_module, "make_tables", lambda file: shutil.copy(fresh_store, file))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute(left)
    one_run(store_at(tmp_path), "a", score())
    assert list(read(store_at(tmp_path).uri).runs["status"]) == ["finished"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gru-bench: {tmp_path / 'mlflow.db'} was left half-made by a start that was interrupted")
    with closing(sqlite3.connect(tmp_path / "mlflow.db.unfinished")) as connection:
        assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == [(left,)]


def test_a_failure_while_it_is_made_leaves_nothing(
    fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE experiments (experiment_id INT)")
        raise OSError("database or disk is full")

    monkeypatch.setattr(connect_module, "make_tables", full)
    with pytest.raises(UserError, match="cannot be written: database or disk is full"):
        store_at(tmp_path).open()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]
    monkeypatch.setattr(connect_module, "make_tables", lambda file: shutil.copy(fresh_store, file))
    one_run(store_at(tmp_path), "a")


def test_tables_of_something_else(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE addresses (name TEXT)")
    before = files(tmp_path)
    with pytest.raises(UserError, match="holds tables of something else; choose another file"):
        store_at(tmp_path).open()
    assert files(tmp_path) == before | {"mlflow.db.lock": b""}


@pytest.mark.slow
def test_killed_while_it_is_made(tmp_path: Path) -> None:
    program = "from gru_bench.store.write import Store; Store().open()"
    for least in (1, 100_000, 400_000):
        child = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=ENVIRONMENT)
        new = tmp_path / ".mlflow.db.new"
        while child.poll() is None and not (new.is_file() and new.stat().st_size >= least):
            time.sleep(0.01)
        assert child.poll() is None, "it was made before it could be killed"
        child.kill()
        child.wait()
        assert not (tmp_path / "mlflow.db").exists()
    one_run(store_at(tmp_path), "a")
    assert not list(tmp_path.glob(".mlflow.db.new*"))


# moved and copied


def test_a_moved_store_goes_on_where_it_now_lies(store: Store, tmp_path: Path) -> None:
    run_id = one_run(store, "a", score(0.5))
    before = read(store.uri)
    (tmp_path / "old").rename(tmp_path / "new place")
    moved = store_at(tmp_path / "new place")
    same(read(moved.uri), before)  # found before anything is written

    later = one_run(moved, "b", score(0.25))
    assert not (tmp_path / "old").exists()
    root = tmp_path / "new place" / ARTIFACTS
    assert {path.name for path in root.iterdir()} == {run_id, later}
    places = rows(tmp_path / "new place", "SELECT run_uuid, artifact_uri FROM runs")
    assert sorted(places) == sorted((id_, f"{root.as_uri()}/{id_}/artifacts") for id_ in (run_id, later))
    assert Path(moved.client.download_artifacts(run_id, "values.parquet")).is_file()  # as the UI asks for it


def test_a_copied_store_leaves_the_first_one_alone(store: Store, tmp_path: Path) -> None:
    run_id = one_run(store, "a", score(0.5))
    with closing(sqlite3.connect(tmp_path / "old" / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    before = files(tmp_path / "old")
    one_run(store_at(tmp_path / "copy"), "b", score(0.25))
    assert files(tmp_path / "old") == before
    assert len(read(store_at(tmp_path / "copy").uri, experiment="quick").runs) == 2

    shutil.rmtree(tmp_path / "copy" / ARTIFACTS / run_id)
    (place,) = rows(tmp_path / "copy", f"SELECT artifact_uri FROM runs WHERE run_uuid = '{run_id}'")
    assert place[0].startswith((tmp_path / "copy").as_uri())


def test_the_same_place_by_another_name_is_no_move(store: Store, tmp_path: Path) -> None:
    one_run(store, "a", score(0.5))
    before = rows(tmp_path / "old", "SELECT artifact_uri FROM runs")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    store_at(tmp_path / "link").open()
    assert rows(tmp_path / "old", "SELECT artifact_uri FROM runs") == before


# read


READER = """
import os, sys
from gru_bench.store.read import read
read(sys.argv[2])  # imports what another user may not see
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
runs = read(sys.argv[1]).runs
print(*runs["status"])
try:
    open(os.path.join(os.path.dirname(sys.argv[1].removeprefix("sqlite:///")), "new"), "w")
except OSError:
    print("nothing can be written")
"""


@pytest.mark.parametrize("logged", [False, True])
def test_a_folder_where_nothing_can_be_written(
    logged: bool, store: Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one_run(store, "a", score(0.5))
    file = tmp_path / "old" / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("UPDATE runs SET status = 'FAILED'")
        connection.commit()
        shutil.copytree(tmp_path / "old", tmp_path / "shelf")
    shelf = tmp_path / "shelf"
    (shelf / "mlflow.db-shm").unlink()
    if not logged:
        (shelf / "mlflow.db-wal").unlink()
    for path in (*shelf.rglob("*"), shelf):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o777)
    environment = ENVIRONMENT | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", READER, f"sqlite:///{shelf / 'mlflow.db'}", store.uri]
    done = subprocess.run(command, env=environment, cwd=shelf, capture_output=True, text=True)
    for folder in (shelf, *(path for path in shelf.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    assert done.stdout.splitlines() == ["failed" if logged else "finished", "nothing can be written"], done.stderr


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        to_read(tmp_path / "nothing.db")
    assert os.listdir(tmp_path) == []
