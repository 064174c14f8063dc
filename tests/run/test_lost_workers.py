"""A worker that is lost: what it had finished stays, and what it had not is handed out again."""

import json
from pathlib import Path

import pytest
from stores import copy_store, one_run, plan, score

from gru_bench.process import owner
from gru_bench.run.launch import Launch, Opened
from gru_bench.run.worker import Lost
from gru_bench.run.workers import Told
from gru_bench.store.left import has_finished
from gru_bench.store.schema import JOB, OWNER, SWEEP
from gru_bench.store.spool import spool_folder
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    return copy_store(fresh_store, tmp_path)


def told_of(store: Store, *batches: list[int]) -> tuple[Told, str]:
    sweep_id = store.open_sweep("adhoc", plan("gru", "lstm", seeds=2), {})
    launch = Launch(opened=Opened(store, sweep_id, "adhoc"))
    told = Told(launch, list(batches), {0: 0, 1: 1, 2: 2, 3: 3})
    told.jobs = [("state", [(job, [f"seed={job}"]) for job in batch]) for batch in batches]
    return told, sweep_id


def lost(process: str = "", *, again: bool = True) -> Lost:
    return Lost("the worker process was ended by signal 9", process or owner(), again)


def status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)


def left_open(store: Store, sweep_id: str, job: int) -> str:
    """A run whose process is gone; its id."""
    experiment = store.experiment_id("adhoc")
    tags = {SWEEP: sweep_id, JOB: str(job), OWNER: owner()}
    return str(store.client.create_run(experiment, tags=tags).info.run_id)


@pytest.mark.parametrize("again", [False, True])
def test_what_was_finished_before_its_worker_was_lost_is_not_run_again(
    store: Store, capfd: pytest.CaptureFixture[str], again: bool
) -> None:
    told, sweep_id = told_of(store, [0])
    run_id = one_run(store, "a", score(), experiment="adhoc", sweep_id=sweep_id, job="0")
    if again:
        assert not told.again(0, lost())
    else:
        told.ended(0, lost(again=False))
    assert told.finished == {0}
    assert told.launched.tally.ended == {0: "finished"}
    assert status(store, run_id) == "FINISHED"
    assert capfd.readouterr().err == "[1] : finished, and then the worker process was ended by signal 9\n"


def test_what_was_not_finished_is_handed_out_again(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    told, sweep_id = told_of(store, [0])
    run_id = left_open(store, sweep_id, 0)
    assert told.again(0, lost())
    assert told.jobs == [("state", [(0, ["seed=0"])])]
    assert told.launched.tally.ended == {}
    assert status(store, run_id) == "KILLED"
    assert capfd.readouterr().err == "[1] : killed: the worker process was ended by signal 9; it is tried again\n"


def test_another_process_may_have_finished_it_before(store: Store) -> None:
    """As with only=all: the job runs anew, and its older result does not stand for this one."""
    told, sweep_id = told_of(store, [0])
    one_run(store, "a", score(), experiment="adhoc", sweep_id=sweep_id, job="0")
    assert told.again(0, lost("1 2 elsewhere"))


def test_of_several_at_once_only_the_rest_is_handed_out_again(store: Store) -> None:
    told, sweep_id = told_of(store, [0, 1, 2], [3])
    one_run(store, "b", score(), experiment="adhoc", sweep_id=sweep_id, job="1")
    assert told.again(0, lost())
    assert told.batches == [[0, 2], [3]]
    assert told.jobs == [("state", [(0, ["seed=0"]), (2, ["seed=2"])]), ("state", [(3, ["seed=3"])])]
    assert told.finished == {1}


@pytest.mark.parametrize(
    ("how", "job", "process", "found"),
    [
        ("FINISHED", "7", "1 2 here", True),
        ("FAILED", "7", "1 2 here", False),
        ("FINISHED", "8", "1 2 here", False),
        ("FINISHED", "7", "another", False),
        ("FINISHED", "7", None, False),
    ],
)
def test_what_a_store_that_is_away_has_not_got_yet(
    store: Store, how: str, job: str, process: str | None, found: bool
) -> None:
    folder = spool_folder(store.uri) / "one"
    folder.mkdir(parents=True)
    tags = {SWEEP: "s", JOB: job, OWNER: "1 2 here"}
    (folder / "run.json").write_text(json.dumps({"experiment": "adhoc", "name": "a", "tags": tags}))
    (folder / "end.json").write_text(json.dumps({"status": how, "tag": "", "reason": "", "ended": 0}))
    assert has_finished(store.uri, "s", 7, process) == found
    (folder / "end.json").write_text("{")
    assert not has_finished(store.uri, "s", 7, process)
