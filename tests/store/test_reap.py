"""Runs whose process is over: known answers, and that a report tells of them without a word written."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import copy_store, one_run, plan, score

from gru_bench.process import owner
from gru_bench.store.read import read
from gru_bench.store.reap import FORGOTTEN_AFTER_S, SILENT_AFTER_S, is_over, reap
from gru_bench.store.schema import BEAT, ERROR, KIND, OWNER
from gru_bench.store.source import StoredRun
from gru_bench.store.write import Store

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


def of_a_dead_process() -> str:
    """The owner that a process was which has ended."""
    code = "from gru_bench.process import owner; print(owner())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run(
    status: str = "RUNNING", *, of: str = "", beat: float | None = None, age: float = 0, kind: str = "run"
) -> StoredRun:
    tags = ({KIND: kind} if kind else {}) | ({OWNER: of} if of else {})
    tags |= {} if beat is None else {BEAT: str(time.time() - beat)}
    return StoredRun("id", "1", status, int(1000 * (time.time() - age)), "", {}, tags)


def test_which_process_is_over() -> None:
    dead, far = of_a_dead_process(), "1 2 another space another machine"
    assert is_over(run(of=dead, beat=0))
    assert is_over(run(of=dead, kind="sweep"))
    assert not is_over(run(of=owner(), beat=2 * SILENT_AFTER_S))  # it lives, whatever it last said
    assert is_over(run(of=owner()), owned_by=owner())
    assert not is_over(run("FINISHED", of=dead))
    assert not is_over(run(of=dead, kind=""))  # somebody else's, in the same store
    assert not is_over(run(of=far, beat=SILENT_AFTER_S - 60, age=2 * SILENT_AFTER_S))
    assert is_over(run(of=far, beat=SILENT_AFTER_S + 60))
    assert is_over(run(of=far, age=SILENT_AFTER_S + 60))
    assert not is_over(run(age=FORGOTTEN_AFTER_S - 60))
    assert is_over(run(age=FORGOTTEN_AFTER_S + 60))


def left_running(store: Store, sweep_id: str, job: str, of: str, experiment: str = "quick") -> str:
    run_id = one_run(store, f"key {job}", experiment=experiment, sweep_id=sweep_id, job=job)
    store.client.set_tag(run_id, OWNER, of)
    store.client.update_run(run_id, status="RUNNING")
    return run_id


def test_a_report_does_not_call_the_dead_running(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("gru", seeds=3), {})
    one_run(store, "key 0", score(0.5), sweep_id=sweep_id, job="0")
    dead = left_running(store, sweep_id, "1", of_a_dead_process())
    left_running(store, sweep_id, "2", owner())
    runs = read(store.uri).runs
    assert list(runs["status"]) == ["finished", "killed", "running"]
    assert runs["error"][1] == "its process is gone without giving a reason"
    assert store.client.get_run(dead).info.status == "RUNNING"  # nothing was written


def test_only_the_dead_are_marked(store: Store) -> None:
    dead_owner = of_a_dead_process()
    first, second = (store.open_sweep(name, plan("gru", seeds=2), {}) for name in ("quick", "other"))
    in_first = [left_running(store, first, "0", dead_owner), left_running(store, first, "1", owner())]
    in_second = left_running(store, second, "0", dead_owner, "other")
    store.client.set_tag(second, OWNER, dead_owner)
    assert reap(store, sweep_id=first, reason="it was killed") == 1
    tags = [store.client.get_run(run_id).data.tags for run_id in in_first]
    assert [tag.get(ERROR) for tag in tags] == ["it was killed", None]
    assert reap(store, experiment="quick") == 0
    assert reap(store) == 2  # the run and its sweep
    assert {store.client.get_run(run_id).info.status for run_id in (in_second, second)} == {"KILLED"}
    assert reap(store, sweep_id=first, owned_by=owner()) == 1
    assert reap(store) == 0
