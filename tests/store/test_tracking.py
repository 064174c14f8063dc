import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from conftest import REPOSITORY
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from stores import copy_store, one_run, plan

from gru_bench.errors import Unsupported, UserError
from gru_bench.store import connect as store_module
from gru_bench.store.connect import absolute_uri, sqlite_file, without_password
from gru_bench.store.schema import ERROR, GROUP_KEY, PARENT, STATUS, SWEEP
from gru_bench.store.signals import deferred_signals, raise_on_signals
from gru_bench.store.ui_view import UI_VIEW_TAG, group_params, ui_url_path
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])}


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


def artifact(store: Store, run_id: str, name: str) -> Path:
    return Path(store.uri.removeprefix("sqlite:///")).parent / "mlartifacts" / run_id / "artifacts" / name


def columns(path: Path) -> dict[str, list[Any]]:
    return pyarrow.parquet.ParquetFile(path).read().to_pydict()


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
    assert without_password("http://host:5000/x@y") == "http://host:5000/x@y"


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


def test_another_version_of_mlflow(store: Store) -> None:
    with closing(sqlite3.connect(sqlite_file(store.uri) or "")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
        connection.commit()
    with pytest.raises(UserError, match="another version of MLflow"):
        store.open()


def test_a_deleted_experiment(store: Store) -> None:
    one_run(store, "a")
    store.client.delete_experiment(store.experiment_id("quick"))
    with pytest.raises(UserError, match=r"was deleted .*; choose another name, or restore it: .* restore -x 1"):
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


# how a run ends


@pytest.mark.parametrize(
    ("error", "status", "tag", "reason"),
    [
        (None, "FINISHED", "finished", None),
        (ValueError("two\n lines"), "FAILED", "failed", "ValueError: two lines"),
        (RuntimeError(), "FAILED", "failed", "RuntimeError: RuntimeError"),
        (UserError("seed=x: no"), "FAILED", "failed", "seed=x: no"),
        (Unsupported("vendor: gru only"), "FAILED", "unsupported", "vendor: gru only"),
        (KeyboardInterrupt(), "KILLED", "killed", "interrupted"),
        (SystemExit(143), "KILLED", "killed", "SIGTERM"),
        (SystemExit(3), "KILLED", "killed", "SystemExit: 3"),
    ],
)
def test_status_and_reason(store: Store, error: BaseException | None, status: str, tag: str, reason: str) -> None:
    def measure(run: Run) -> None:
        run.curve("train/loss", 10, 0.5)
        run.value("test", "accuracy", 0.75, unit="", higher_is_better=True)

    run_id = one_run(store, "a", measure, error=error)
    run = store.client.get_run(run_id)
    assert run.info.status == status
    assert run.info.end_time is not None
    assert run.data.tags[STATUS] == tag
    assert run.data.tags.get(ERROR) == reason
    # nothing measured is lost
    assert run.data.metrics == {"train/loss": 0.5, "test/accuracy": 0.75}
    assert columns(artifact(store, run_id, "values.parquet"))["value"] == [0.75]
    assert columns(artifact(store, run_id, "curves.parquet")) == {
        "metric": ["train/loss"],
        "step": [10],
        "value": [0.5],
    }
    trace = artifact(store, run_id, "traceback.txt")
    assert trace.is_file() == (error is not None)
    assert error is None or type(error).__name__ in trace.read_text()


def test_no_names_of_users_or_folders(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "alice"))
    run_id = one_run(store, "a", error=OSError(f"{tmp_path}/home/alice/data is not there"))
    run = store.client.get_run(run_id)
    assert run.data.tags[ERROR] == "OSError: ~/data is not there"
    assert not {"mlflow.user", "mlflow.source.name"} & set(run.data.tags)
    assert str(tmp_path) not in artifact(store, run_id, "traceback.txt").read_text()


def test_what_cannot_be_stored_is_not_finished(store: Store) -> None:
    def measure(run: Run) -> None:
        run.value("test", "accuracy", 0.75, unit="", higher_is_better=True)
        run.curve("//", 1, 0.5)  # not a name that MLflow takes

    with pytest.raises(MlflowException, match="Invalid"):
        one_run(store, "a", measure)
    (run,) = store.client.search_runs([store.experiment_id("quick")])
    assert run.info.status == "FAILED"
    assert run.data.tags[ERROR].startswith("could not be stored: Invalid")
    assert columns(artifact(store, run.info.run_id, "values.parquet"))["value"] == [0.75]


def test_a_store_that_goes_away_does_not_hide_the_reason(store: Store) -> None:
    error = ValueError("the reason")
    one_run(store, "a", lambda run: store.client.delete_run(run.run_id), error=error)
    assert "its end could not be written to sqlite:" in error.__notes__[0]


CHILD = """
import signal, sys, time
from gru_bench.store.schema import JOB
from gru_bench.store.write import Store, raise_on_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
raise_on_signals()
tags = {JOB: sys.argv[3]}
with Store(uri=sys.argv[1]).run("quick", "child", sweep_id=sys.argv[2], tags=tags) as run:
    run.value("test", "accuracy", 0.75, unit="", higher_is_better=True)
    print(run.run_id, flush=True)
    time.sleep(60)
"""


def test_signals_leave_a_reason(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("rnn", "lstm", "gru"), {})
    sent = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, store.uri, sweep_id, str(job)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for job in range(3)
    ]
    run_ids = []
    for child, number in zip(children, sent, strict=True):
        assert child.stdout is not None
        run_ids.append(child.stdout.readline().strip())
        child.send_signal(number)
    codes = []
    for child in children:
        child.communicate(timeout=60)
        codes.append(child.returncode)
    assert codes == [143, -signal.SIGINT, -signal.SIGKILL]

    runs = [store.client.get_run(run_id) for run_id in run_ids]
    assert [run.info.status for run in runs] == ["KILLED", "KILLED", "RUNNING"]
    assert [run.data.tags.get(ERROR) for run in runs] == ["SIGTERM", "interrupted", None]
    for run_id in run_ids[:2]:
        assert columns(artifact(store, run_id, "values.parquet"))["value"] == [0.75]

    counts = store.close_sweep(sweep_id)
    assert counts == {"finished": 0, "failed": 0, "killed": 3, "unsupported": 0, "missing": 0}
    lost = store.client.get_run(run_ids[2])
    assert lost.info.status == "KILLED"
    assert "without giving a reason" in lost.data.tags[ERROR]


def finish_in_spite_of(number: int, done: list[int]) -> None:
    with deferred_signals():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append(number)


def test_signals_wait_for_the_end_of_a_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done: list[int] = []
    try:
        raise_on_signals()
        for number, error in ((signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)):
            with pytest.raises(error):
                finish_in_spite_of(number, done)
        assert done == [signal.SIGTERM, signal.SIGINT]
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)  # the handler is back
    finally:
        signal.signal(signal.SIGTERM, before)


def test_signals_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    problems: list[BaseException] = []

    def use() -> None:
        try:
            raise_on_signals()
            with deferred_signals():
                pass
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not problems
    assert signal.getsignal(signal.SIGTERM) is before


# what a run writes


def test_params(store: Store) -> None:
    flat: dict[str, object] = {f"config.k{number}": number for number in range(250)}
    flat |= {
        "config.list": [1, 2],
        "config.a[0]@b": 1,
        "config.none": None,
        "data.train_rows": 7,
        "env_torch": "2.13.0",
    }
    flat |= {"notes": "x" * 5000, "shared": True, "learning_rate": 1e-05, "git_commit": ""}
    params = store.client.get_run(one_run(store, "a", lambda run: run.params(flat))).data.params
    assert {f"config.k{number}": str(number) for number in range(250)}.items() <= params.items()
    assert (params["config.none"], params["shared"], params["learning_rate"]) == ("null", "True", "1e-05")
    assert (params["config.list"], params["git_commit"], params["config.a_0__b"]) == ("[1, 2]", "", "1")
    assert (params["data.train_rows"], params["env_torch"]) == ("7", "2.13.0")
    assert len(params["notes"]) == 1000
    assert params["notes"].endswith("(cut; the whole is in config.yaml)")


def test_curves_are_kept_until_they_are_flushed(store: Store) -> None:
    with store.run("quick", "a", sweep_id=None, tags={}) as run:
        for step in range(2500):
            run.curve("train/loss", step, step / 3)
        assert store.client.get_metric_history(run.run_id, "train/loss") == []
        run.flush()
        assert len(store.client.get_metric_history(run.run_id, "train/loss")) == 2500
        run.flush()
    history = store.client.get_metric_history(run.run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(step, step / 3) for step in range(2500)]


def test_infinity_does_not_reach_the_charts(store: Store) -> None:
    def measure(run: Run) -> None:
        run.curve("train/loss", 1, math.inf)
        run.value("test", "perplexity", -math.inf, unit="", higher_is_better=False)

    run_id = one_run(store, "a", measure)
    metrics = store.client.get_run(run_id).data.metrics
    assert all(math.isnan(value) for value in metrics.values())
    assert len(metrics) == 2
    assert columns(artifact(store, run_id, "curves.parquet"))["value"] == [math.inf]
    assert columns(artifact(store, run_id, "values.parquet"))["value"] == [-math.inf]


def test_a_value_does_not_bend_a_curve_of_its_name(store: Store) -> None:
    def measure(run: Run) -> None:
        run.curve("valid/loss", 10, 0.2)
        run.curve("valid/loss", 20, 0.5)
        run.value("valid", "loss", 0.2, unit="nats", higher_is_better=False)
        run.value("test", "loss", 0.3, unit="nats", higher_is_better=False)
        run.value("test", "loss", 0.4, unit="nats", higher_is_better=False, slice="length", slice_value="50")
        run.value("test", "loss", 0.25, unit="nats", higher_is_better=False)

    run_id = one_run(store, "a", measure)
    assert store.client.get_run(run_id).data.metrics == {"valid/loss": 0.5, "valid/best_loss": 0.2, "test/loss": 0.25}
    assert columns(artifact(store, run_id, "values.parquet")) == {
        "split": ["valid", "test", "test"],
        "metric": ["loss", "loss", "loss"],
        "slice": ["", "", "length"],
        "slice_value": ["", "", "50"],
        "value": [0.2, 0.25, 0.4],
        "unit": ["nats", "nats", "nats"],
        "higher_is_better": [False, False, False],
    }


def test_tables_and_texts(store: Store) -> None:
    table = {"correct": [True, False], "nats": [0.5, math.nan], "text": ["a", "ü"]}

    def write(run: Run) -> None:
        run.table("test_examples", table)
        run.text("config.yaml", "seed: 0\n")
        run.params({"num_parameters": 12, "group_key": "g"})

    run_id = one_run(store, "a", write, cell="gru")
    read = columns(artifact(store, run_id, "test_examples.parquet"))
    assert (read["correct"], read["text"]) == (table["correct"], table["text"])
    assert artifact(store, run_id, "config.yaml").read_text() == "seed: 0\n"
    data = store.client.get_run(run_id).data
    assert (data.tags["cell"], data.tags["num_parameters"], data.tags["mlflow.runName"]) == ("gru", "12", "a")
    assert (data.tags[GROUP_KEY], data.params) == ("g", {"num_parameters": "12"})


# sweeps


def test_a_sweep_that_went_well(store: Store) -> None:
    planned = plan("rnn", "gru", seeds=2)
    sweep_id = store.open_sweep("quick", planned, {"overrides": "cell=rnn,gru", "launcher": "basic"})
    run_ids = [one_run(store, choice["job"], sweep_id=sweep_id, job=choice["job"]) for choice in planned]
    assert store.close_sweep(sweep_id) == {"finished": 4, "failed": 0, "killed": 0, "unsupported": 0, "missing": 0}
    parent = store.client.get_run(sweep_id)
    assert (parent.info.status, parent.data.tags[STATUS]) == ("FINISHED", "finished")
    assert parent.data.params == {"overrides": "cell=rnn,gru", "launcher": "basic"}
    assert json.loads(artifact(store, sweep_id, "planned.json").read_text()) == planned
    for run_id in run_ids:
        run_tags = store.client.get_run(run_id).data.tags
        assert run_tags[PARENT] == run_tags[SWEEP] == sweep_id


def test_a_sweep_that_did_not(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("rnn", "lstm", "gru", seeds=2), {})
    one_run(store, "0", sweep_id=sweep_id, job="0")
    one_run(store, "1", sweep_id=sweep_id, job="1", error=ValueError("no"))
    one_run(store, "2", sweep_id=sweep_id, job="2", error=Unsupported("no"))
    one_run(store, "3", sweep_id=sweep_id, job="3", error=KeyboardInterrupt())
    retried = [one_run(store, "4", sweep_id=sweep_id, job="4", error=error) for error in (ValueError(), None)]
    one_run(store, "other", job="5")  # of no sweep
    counts = store.close_sweep(sweep_id)
    assert counts == {"finished": 2, "failed": 1, "killed": 1, "unsupported": 1, "missing": 1}
    assert len(set(retried)) == 2
    parent = store.client.get_run(sweep_id)
    assert parent.info.status == "FAILED"
    reason = "of 6 jobs: 1 failed, 1 killed, 1 unsupported, 1 missing"
    assert parent.data.tags[ERROR] == reason

    assert store.close_sweep(sweep_id) == counts
    assert store.client.get_run(sweep_id).info.end_time == parent.info.end_time


def test_a_sweep_interrupted_while_it_opens(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gru_bench.store.write.log_facts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.open_sweep("quick", plan("rnn", "gru"), {})
    (parent,) = store.client.search_runs([store.experiment_id("quick")], run_view_type=ViewType.ALL)
    assert parent.info.status == "FAILED"
    assert parent.data.tags[ERROR] == "of 2 jobs: 2 missing"


# the UI


def test_the_ui_averages_over_seeds_alone() -> None:
    assert group_params(plan("rnn", "gru", seeds=3)) == ["cell"]
    assert group_params(plan("rnn", "gru", budget="hidden")) == ["cell"]
    longer = {"job": "1", "cell": "gru", "task": "copy_memory", "seed": "0", "trainer.max_steps": "5"}
    both = [*plan("gru"), longer]
    assert group_params(both) == ["cell", "task", "config.trainer.max_steps"]
    assert group_params(plan("gru", optimizer="adam") + plan("gru", optimizer="sgd")) == ["cell", "optimizer"]


def test_the_experiment_carries_its_view(store: Store) -> None:
    store.open_sweep("quick", plan("rnn", "gru"), {})
    experiment = store.client.get_experiment(store.experiment_id("quick"))
    view = json.loads(experiment.tags[UI_VIEW_TAG])
    assert view["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "cell"}]
    assert [section["name"] for section in view["compareRunSections"]][:2] == ["test", "valid"]
    assert UI_VIEW_TAG.endswith(ui_url_path("7").split("viewStateShareKey=")[1].split("&")[0])
    assert ui_url_path("7").startswith("/#/experiments/7/runs?")


def test_the_yaml_is_the_default_store() -> None:
    node = yaml.safe_load((REPOSITORY / "conf" / "tracking" / "mlflow.yaml").read_text())
    assert node.pop("_target_") == "gru_bench.store.write.Store"
    assert Store(**node).uri == Store().uri
