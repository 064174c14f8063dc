"""Threads beside other work: fewer, said, and the same for all runs of a sweep."""

import pytest
from conftest import Command
from runs import STEPS, TINY, stored

from gru_bench.measure import threads
from gru_bench.measure.threads import free_threads
from gru_bench.run import cores
from gru_bench.run.cores import Threads, decide_threads


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (threads, cores):
        monkeypatch.setattr(module, "usable_cores", lambda: 4)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("others", "workers", "free"), [(0.0, 1, 4), (0.4, 1, 4), (1.0, 1, 3), (3.9, 1, 1), (9.0, 1, 1), (2.0, 2, 1)]
)
def test_a_run_gets_the_cores_that_are_free(others: float, workers: int, free: int) -> None:
    assert free_threads(4 // workers, workers, others) == free


@pytest.mark.usefixtures("four_cores")
def test_auto_gives_way_and_a_number_is_kept_but_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores_used_by_others", lambda: 2.8)
    assert decide_threads("auto", 1) == Threads(1, "threads=auto: 1 and not 4, since others use 2.8 of 4 cores")
    warned = decide_threads(4, 1)
    assert warned.number == 4
    assert warned.remark == "threads=4: others use 2.8 of 4 cores; threads=1 is likely to be faster"
    monkeypatch.setattr(cores, "cores_used_by_others", lambda: 0.1)
    assert decide_threads("auto", 1) == Threads(4)
    assert decide_threads("auto", 2) == Threads(2)


def test_one_thread_needs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores_used_by_others", lambda: pytest.fail("looked"))
    assert decide_threads(1, 1) == Threads(1)


@pytest.mark.usefixtures("four_cores")
def test_a_sweep_decides_once_for_all_of_its_runs(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([1.9, 0.0, 0.0])
    monkeypatch.setattr(cores, "cores_used_by_others", lambda: next(looks))
    tiny = [argument for argument in TINY if not argument.startswith("threads=")]
    assert gru_bench("train", "-m", "cell=gru,rnn", *tiny, *STEPS) == 0
    assert list(stored().runs["threads"]) == [2, 2]
    assert capsys.readouterr().err.count("threads=auto: 2 and not 4, since others use 1.9 of 4 cores") == 1
