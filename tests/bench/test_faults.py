"""What ``bench/faults.py`` plans and finds; and a few of its faults over a small sweep."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from stores import copy_store, one_run, plan, score

sys.path.insert(0, str(REPOSITORY / "bench"))

import faults
from faults_kinds import KINDS
from faults_sweep import HALF_STARTED, NOT_OURS
from faults_truth import compared, differences, stored, untruths

from gru_bench.store.read import read
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def test_a_sweep_follows_from_its_seed_and_number() -> None:
    plans = [faults.planned(seed, number, list(KINDS), 8) for seed in (0, 1) for number in range(20)]
    assert plans == [faults.planned(seed, number, list(KINDS), 8) for seed in (0, 1) for number in range(20)]
    assert len({repr(one) for one in plans}) == 40
    for launcher, backing, planned in plans:
        assert len(planned) == 8
        assert [fault.moment for fault in planned].count("store") <= 1
        for fault in planned:
            assert faults.fits(KINDS[fault.kind].where, launcher, backing)
    kinds = {fault.kind for number in range(200) for fault in faults.planned(0, number, list(KINDS), 8)[2]}
    assert kinds == set(KINDS)


@pytest.mark.parametrize(
    ("where", "launcher", "backing", "is_possible"),
    [
        ((), "basic", "server", True),
        (("workers",), "basic", "sqlite", False),
        (("workers", "joblib"), "joblib", "server", True),
        (("sqlite",), "workers", "server", False),
        (("server",), "workers", "server", True),
    ],
)
def test_where_a_kind_can_happen(where: tuple[str, ...], launcher: str, backing: str, is_possible: bool) -> None:
    assert faults.fits(where, launcher, backing) == is_possible


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    return copy_store(fresh_store, tmp_path)


def test_what_is_lost_doubled_and_untrue(store: Store) -> None:
    sweep_id = store.open_sweep("adhoc", plan("gru", seeds=2), {})
    first = one_run(store, "a", score(), sweep_id=sweep_id, job="0")
    second = one_run(store, "b", score(), sweep_id=sweep_id, job="1")
    told = {0: [first], 1: [second]}
    assert list(untruths(stored(store.uri), told, 2, "")) == []
    assert list(untruths(stored(store.uri), told, 3, "")) == [("lost", "2 of 3 are there")]
    gone = {0: [first], 1: [second, "never"]}
    assert [problem for problem, _ in untruths(stored(store.uri), gone, 2, "")] == ["lost"]

    one_run(store, "a", sweep_id=sweep_id, job="0", error=OSError("No space left on device"))
    assert [problem for problem, _ in untruths(stored(store.uri), told, 2, "")] == ["untrue"]
    assert [problem for problem, _ in untruths(stored(store.uri), told, 2, "signal 9")] == ["untrue"]
    assert list(untruths(stored(store.uri), told, 2, "signal 9|No space")) == []
    one_run(store, "b", score(), sweep_id=sweep_id, job="1")
    assert [problem for problem, _ in untruths(stored(store.uri), told, 2, "No space")] == ["doubled"]
    store.client.update_run(first, status="RUNNING")
    assert ("lost", f"job 1: run {first} was told to be finished") in untruths(stored(store.uri), told, 2, "No space")
    assert any(problem == "untrue" for problem, _ in untruths(stored(store.uri), told, 2, "No space"))


def test_frames_that_differ(store: Store) -> None:
    for experiment, value in (("one", 0.5), ("two", 0.5), ("three", 0.5 + 2**-53)):
        sweep_id = store.open_sweep(experiment, plan("gru"), {})
        one_run(store, "a", score(value, cell="gru"), experiment=experiment, sweep_id=sweep_id, job="0")
    one, two, three = (
        [table.drop(columns="experiment", errors="ignore") for table in compared(read(store.uri, experiment=name))]
        for name in ("one", "two", "three")
    )
    assert differences(two, one) == []
    (found,) = differences(three, one)
    assert found.startswith("values: ")


def test_only_the_traceback_of_a_worker_that_was_told_nothing_is_pythons() -> None:
    with_nothing = "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=None, pipe_handle=0)"
    done = subprocess.run(
        [sys.executable, "-c", with_nothing, "--multiprocessing-fork"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert HALF_STARTED.sub("", f"before\n{done.stderr}after\n") == "before\nafter\n"
    ours = done.stderr.replace("spawn_main", "serve")
    assert HALF_STARTED.sub("", ours) == ours


def test_what_others_print_is_told_from_what_we_print() -> None:
    of_joblib = (
        "Traceback (most recent call last):\n"
        '  File "/x/joblib/externals/loky/backend/resource_tracker.py", line 386, in main\n'
        "    del cache[rtype][name]\n        ~~~~~~~~~~~~^^^^^^\nKeyError: '/loky-4721-8so8ecv0'\n"
    )
    of_torch = (
        "Exception ignored in atexit callback: <function dump_compile_times at 0x7f7d70272660>\n"
        'Traceback (most recent call last):\n  File "/x/torch/_dynamo/utils.py", line 925, in dump_compile_times\n'
        "    import tabulate\nMemoryError: \n"
    )
    ours = 'Traceback (most recent call last):\n  File "/x/gru_bench/run/train.py", line 1, in f\nKeyError: 1\n'
    assert NOT_OURS.sub("", f"a\n{of_joblib}{ours}{of_torch}{of_joblib}b\n") == f"a\n{ours}b\n"


@pytest.mark.slow
def test_a_few_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    kinds = "worker_killed,driver_killed,sigterm,ctrl_c_twice"
    arguments = ["--seeds=2", "--steps=20", "--a-sweep=6", "--faults=6", f"--kinds={kinds}", "--seed=3"]
    code = faults.main([*arguments, f"--keep={tmp_path / 'kept'}"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["faults"] >= 6  # more, where a sweep was over before all of its own
