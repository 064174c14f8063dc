"""Where a store can be, and what is in the way of opening it."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from conftest import REPOSITORY
from stores import ENVIRONMENT, copy_store, one_run

from gru_bench.errors import UserError
from gru_bench.store import connect as store_module
from gru_bench.store.connect import absolute_uri, sqlite_file, without_password
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


# URIs


FOLDERS = ["mlruns", "./mlruns", "file:///tmp/mlruns"]
NO_FILE = ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "sqlite://host/a.db"]


@pytest.mark.parametrize("uri", [*FOLDERS, *NO_FILE, "sqlite://a:b/c", "htp://server:5000", "http://"])
def test_what_cannot_be_a_store_is_refused_with_what_can(uri: str) -> None:
    with pytest.raises(UserError, match=r"valid: .*sqlite:///FILE\.db") as error:
        Store(uri=uri)
    assert str(error.value).startswith(f"tracking.uri={uri}: ")


@pytest.mark.parametrize("uri", ["http://localhost:5000", "https://host/mlflow", "postgresql+psycopg2://host/db"])
def test_servers_stay_as_they_are(uri: str) -> None:
    assert Store(uri=uri).uri == uri == Store(uri=uri + "/").uri


def test_sqlite_paths_are_absolute(empty_folder: Path) -> None:
    assert Store().uri == f"sqlite:///{empty_folder}/mlflow.db"
    assert Store(uri="sqlite:///sub/../a.db").uri == f"sqlite:///{empty_folder}/a.db"


@pytest.mark.parametrize("name", ["a b", "a%20b", "a%b", "ü#x&y=1+2", "a?b"])
def test_a_working_folder_with_an_awkward_name(name: str, empty_folder: Path) -> None:
    (empty_folder / name).mkdir()
    os.chdir(empty_folder / name)
    uri = Store().uri
    assert sqlite_file(uri) == empty_folder / name / "mlflow.db"
    assert absolute_uri(uri) == uri


def test_passwords_are_not_shown() -> None:
    assert without_password("postgresql://me:p@ss@host/db") == "postgresql://***@host/db"
    assert without_password("http://host:5000/x@y") == "http://***@y"  # a user, and a password that begins with 5000/x?
    assert without_password("http://host:5000/x") == "http://host:5000/x"


# opening


def test_a_new_default_store(tmp_path: Path) -> None:
    """In a folder with an awkward name and an old file store, which MLflow's own default would trip over."""
    folder = tmp_path / "a b ü#x"
    (folder / "mlruns" / "1").mkdir(parents=True)
    (folder / "mlruns" / "1" / "meta.yaml").write_text("name: old")
    program = "from gru_bench.store.write import Store\nwith Store().run('e', 'r', sweep_id=None, tags={}): pass"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in folder.iterdir()} <= {"mlflow.db", "mlflow.db.lock", "mlartifacts", "mlruns"}
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    (run_folder,) = (folder / "mlartifacts").iterdir()
    assert (run_folder / "artifacts" / "values.parquet").is_file()


def test_eight_processes_on_a_new_store(tmp_path: Path) -> None:
    command = [sys.executable, REPOSITORY / "bench" / "first_use.py", "--processes", "8", "--repeats", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["ok"], summary["repeats_all_ok"]) == (16, 2), done.stdout


def test_files_that_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to have a header of its own")
    for path, reason in {
        tmp_path / "nowhere" / "a.db": "there is no folder",
        tmp_path: "that is a folder",
        tmp_path / "text.db": "file is not a database",
        Path("/proc/a.db"): "cannot be written",
    }.items():
        with pytest.raises(UserError, match=reason) as error:
            Store(uri=f"sqlite:///{path}").open()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("revision", "way_on"),
    [
        ("ffffffffffff", "newer version of MLflow .*; install the version that wrote it"),
        ("0a8213491aaa", r"older version of MLflow .*; copy it, run `\S+ -m mlflow db upgrade sqlite:///COPY.db`"),
    ],
)
def test_another_version_of_mlflow(store: Store, tmp_path: Path, revision: str, way_on: str) -> None:
    one_run(store, "a")
    with closing(sqlite3.connect(sqlite_file(store.uri) or "")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
    (tmp_path / "link.db").symlink_to(tmp_path / "mlflow.db")  # MLflow checks a name once a process
    with pytest.raises(UserError, match=f"written by an? {way_on}"):
        Store(uri=f"sqlite:///{tmp_path / 'link.db'}").open()


def test_a_deleted_experiment(store: Store) -> None:
    one_run(store, "a")
    store.client.delete_experiment(store.experiment_id("quick"))
    with pytest.raises(UserError, match=r"was deleted .*; restore it: .* -m mlflow experiments restore -x 1"):
        one_run(store, "b")


def test_an_experiment_that_another_process_made_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store.experiment_id("quick")
    look = store.client.get_experiment_by_name
    answers = [None]
    monkeypatch.setattr(store.client, "get_experiment_by_name", lambda n: answers.pop() if answers else look(n))
    assert store.experiment_id("quick") == made
    assert not answers


def test_an_experiment_whose_artifacts_are_on_a_server(store: Store) -> None:
    store.client.create_experiment("quick", artifact_location="mlflow-artifacts:/1")
    with pytest.raises(UserError, match=r"experiment=quick keeps its artifacts on a server \(mlflow-artifacts:/1\)"):
        one_run(store, "a")


# servers


def test_the_deadlines_leave_room_within_ten_seconds() -> None:
    assert store_module.CONNECT_WITHIN_S < store_module.ANSWER_WITHIN_S <= 5


def test_a_closed_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=rf"tracking.uri=http://\*\*\*@127.0.0.1:{port}: cannot connect .*refused"):
        Store(uri=f"http://me:secret@127.0.0.1:{port}").open()


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ANSWER_WITHIN_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = Store(uri=f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(UserError, match=r"no answer within 0.5 s"):
            silent.open()


class SomethingElse(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


def test_a_server_that_is_not_mlflow() -> None:
    with HTTPServer(("127.0.0.1", 0), SomethingElse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(UserError, match="404") as error:
                Store(uri=f"http://127.0.0.1:{server.server_port}").open()
        finally:
            server.shutdown()
    assert "\n" not in str(error.value)
