"""A real store that is locked, gone or deleted in the middle: runs go on, and their rows arrive later."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from stores import ENVIRONMENT, copy_store, one_run, plan, score

from gru_bench.errors import UserError
from gru_bench.store import courier as courier_module
from gru_bench.store import spool
from gru_bench.store.experiments import deleted_experiments
from gru_bench.store.left import number_kept
from gru_bench.store.line import StoreAway
from gru_bench.store.read import read
from gru_bench.store.schema import BEAT, ERROR, OWNER
from gru_bench.store.spool import spool_folder
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    return copy_store(fresh_store, tmp_path / "store")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLUSH_WITHIN_S", "BEGIN_WITHIN_S", "END_WITHIN_S"):
        monkeypatch.setattr(courier_module, name, 0.05)


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Another writer has the database for itself."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def jobs(store: Store, sweep_id: str, *numbers: int) -> None:
    for number in numbers:
        one_run(store, f"k{number}", score(number / 4), sweep_id=sweep_id, job=str(number))


def test_a_database_that_another_one_holds(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_id = store.open_sweep("quick", plan("gru", seeds=4), {})
    jobs(store, sweep_id, 0)
    with held(tmp_path / "store" / "mlflow.db"), monkeypatch.context() as impatient:
        for name in ("FLUSH_WITHIN_S", "BEGIN_WITHIN_S", "END_WITHIN_S"):
            impatient.setattr(courier_module, name, 0.05)
        jobs(store, sweep_id, 1, 2)
        assert number_kept(store.uri) == 2
    jobs(store, sweep_id, 3)
    assert store.close_sweep(sweep_id)["finished"] == 4
    results = read(store.uri)
    assert sorted(results.values["value"]) == [0.0, 0.25, 0.5, 0.75]
    assert not spool_folder(store.uri).exists()
    away, back = capsys.readouterr().err.splitlines()
    assert away.startswith("gru-bench: the store does not answer (no answer within 0.05 s); results are kept in ")
    assert back == "gru-bench: the store answers again; what was kept has been delivered"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("cache", ["writable", "not"])
def test_a_store_whose_folder_is_away(
    cache: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "BEGIN_WITHIN_S", 100.0)
    monkeypatch.setattr(courier_module, "END_WITHIN_S", 100.0)
    sweep_id = store.open_sweep("quick", plan("gru", seeds=3), {})
    jobs(store, sweep_id, 0)
    if cache == "not":
        monkeypatch.setenv("GRU_BENCH_CACHE", "/proc/nowhere")
    monkeypatch.setattr(courier_module, "END_WITHIN_S", 0.05)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    jobs(store, sweep_id, 1, 2)
    assert number_kept(store.uri) == (2 if cache == "writable" else 0)
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert store.close_sweep(sweep_id) == {"finished": 3, "failed": 0, "killed": 0, "unsupported": 0, "missing": 0}
    assert sorted(read(store.uri).values["value"]) == [0.0, 0.25, 0.5]


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_moved_away_while_files_are_sent(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "BEGIN_WITHIN_S", 100.0)
    real = spool.link
    home, away = tmp_path / "store", tmp_path / "elsewhere"

    def moved(file: Path, place: Path) -> None:
        real(file, place)
        if home.exists():
            home.rename(away)

    sweep_id = store.open_sweep("quick", plan("gru"), {})
    with monkeypatch.context() as moving:
        moving.setattr(spool, "link", moved)
        jobs(store, sweep_id, 0)
        assert number_kept(store.uri) == 1
    assert not home.exists()  # MLflow makes it anew, to put the files there
    away.rename(home)
    assert store.close_sweep(sweep_id)["finished"] == 1
    assert list(read(store.uri).values["value"]) == [0.0]


def test_a_store_that_never_comes_back_and_another_in_its_place(
    store: Store, fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_id = store.open_sweep("quick", plan("gru", seeds=2), {})
    jobs(store, sweep_id, 0)
    monkeypatch.setattr(courier_module, "END_WITHIN_S", 0.05)
    monkeypatch.setattr("gru_bench.store.write.CLOSE_WITHIN_S", 0.0)
    (tmp_path / "store").rename(tmp_path / "lost")
    jobs(store, sweep_id, 1)
    with pytest.raises(StoreAway, match=r"mlflow.db is gone"):
        store.close_sweep(sweep_id)
    assert number_kept(store.uri) == 1

    (tmp_path / "store").mkdir()
    later = copy_store(fresh_store, tmp_path / "store")
    monkeypatch.setattr(courier_module, "END_WITHIN_S", 100.0)
    later.recover()
    assert list(read(later.uri, experiment="quick").values["value"]) == [0.25]
    assert not spool_folder(store.uri).exists()
    later.recover()
    assert len(read(later.uri, experiment="quick").runs) == 1


CHILD = """
import sys
from gru_bench.store import courier
from gru_bench.store.write import Store, raise_on_signals
courier.BEGIN_WITHIN_S = 1000
courier.FLUSH_WITHIN_S = 0.1
courier.END_WITHIN_S = 1000
raise_on_signals()
store = Store(uri=sys.argv[1])
with store.run("quick", "child", sweep_id=None, tags={}) as run:
    run.value("test", "mse", 0.75, unit="", higher_is_better=False)
    print(run.run_id, flush=True)
    sys.stdin.readline()
    print("ending", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_while_its_run_is_sent(sent: int, store: Store, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, store.uri],
        env=ENVIRONMENT | {"GRU_BENCH_CACHE": str(tmp_path / "cache")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        run_id = child.stdout.readline().strip()
        with held(tmp_path / "store" / "mlflow.db"):
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "ending\n"
            while number_kept(store.uri) == 0:
                assert child.poll() is None
            child.send_signal(sent)
            child.wait(timeout=60)  # SQLite would wait for longer than the other writer lets go
    store.recover()
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert ERROR not in run.data.tags
    assert list(read(store.uri).values["value"]) == [0.75]
    store.recover()
    assert len(read(store.uri).runs) == 1


def test_an_open_run_says_that_its_process_lives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.run("quick", "a", sweep_id=None, tags={}) as run:
        before = store.client.get_run(run.run_id).data.tags
        assert before[OWNER]
        monkeypatch.setattr(courier_module.time, "time", lambda: float(before[BEAT]) + 50)
        store._courier._beat()
        assert float(store.client.get_run(run.run_id).data.tags[BEAT]) == float(before[BEAT]) + 50
    store._courier._beat()
    monkeypatch.undo()


@pytest.mark.slow
def test_a_deleted_experiment_has_a_way_on(store: Store) -> None:
    assert deleted_experiments(store.uri) == []
    one_run(store, "a", experiment="adhoc")
    store.client.delete_experiment(store.experiment_id("adhoc"))
    assert deleted_experiments(store.uri) == ["adhoc"]
    with pytest.raises(UserError, match=r"experiment=adhoc was deleted .*; restore it: ") as error:
        one_run(store, "b", experiment="adhoc")
    subprocess.run(str(error.value).partition("restore it: ")[2], shell=True, check=True, capture_output=True)
    one_run(store, "b", experiment="adhoc")
    assert deleted_experiments(store.uri) == []
