"""How a run ends, and what is left of it: status, reason, and all that was measured."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from stores import ENVIRONMENT, artifact, columns, copy_store, one_run, plan

from gru_bench.errors import Unsupported, UserError
from gru_bench.store.schema import ERROR, STATUS
from gru_bench.store.signals import deferred_signals, raise_on_signals
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


@pytest.mark.parametrize(
    ("error", "status", "tag", "reason"),
    [
        (None, "FINISHED", "finished", None),
        (ValueError("two\n lines"), "FAILED", "failed", "ValueError: two lines"),
        (RuntimeError(), "FAILED", "failed", "RuntimeError: RuntimeError"),
        (MemoryError(), "FAILED", "failed", "out of memory: MemoryError"),
        (
            RuntimeError("Resource temporarily unavailable"),
            "FAILED",
            "failed",
            "out of memory: Resource temporarily unavailable",
        ),
        (RuntimeError("CUDA out of memory. Tried"), "FAILED", "failed", "out of memory: CUDA out of memory. Tried"),
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
