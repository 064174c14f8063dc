"""The pool with jobs that die, hang, and are interrupted; each in real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pool_jobs as jobs
import psutil
import pytest
from conftest import REPOSITORY
from pool_watch import Quiet

from gru_bench.run import pool as pool_module
from gru_bench.run.pool import Limits, Pool, _Batch
from gru_bench.run.worker import OUT_OF_MEMORY_CODE, Done, Lost, Raised, Worker, why_ended
from gru_bench.store import signals

PATIENCE_S = 60


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


# nohup, and some runners of tests, have processes ignore it from their start, and so does the product then
UNDER_NOHUP = pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="SIGHUP is ignored here")


@pytest.fixture(scope="module")
def one() -> Iterator[Pool]:
    pool = Pool([{}])
    yield pool
    pool.close()


def test_jobs_return_in_their_order_from_warm_workers(one: Pool) -> None:
    watch = Quiet()
    assert one.run(jobs.plus_one, [(number,) for number in range(5)], watch) == [Done(n) for n in range(1, 6)]
    assert watch.begun == [0, 1, 2, 3, 4]
    (first,) = one.run(jobs.pid, [()], Quiet())
    assert one.run(jobs.pid, [()], Quiet()) == [first]


def test_a_job_that_raises_is_told_from_one_that_is_lost(one: Pool) -> None:
    assert one.run(jobs.fail, [()], Quiet()) == [Raised("ValueError: no")]


def test_what_is_killed_from_outside_is_tried_once_more(one: Pool, tmp_path: Path) -> None:
    watch = Quiet()
    assert one.run(jobs.die_once, [(str(tmp_path), signal.SIGKILL)], watch) == [Done("second")]
    number, lost = watch.over[0]
    assert number == 0
    assert isinstance(lost, Lost)
    assert lost.again
    assert "signal 9 (SIGKILL)" in lost.reason
    assert int(lost.owner.split()[0]) != os.getpid()


def test_a_signal_waits_until_a_worker_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Worker] = []

    def started(environment: Mapping[str, str]) -> Worker:
        signal.raise_signal(signal.SIGTERM)
        made.append(Worker(environment))
        return made[0]

    monkeypatch.setattr(pool_module, "Worker", started)
    before = {number: signal.getsignal(number) for number in signals.LEAVING}
    signals.raise_on_signals()
    pool = Pool([{}])
    try:
        with pytest.raises(signals.Leave):
            pool.run(jobs.pid, [()], Quiet())
        assert pool.workers == {0: made[0]}  # so that it is ended with the others
    finally:
        signals.forget()
        for number, handler in before.items():
            signal.signal(number, handler)
        pool.close()


def test_a_worker_without_memory_ends_and_the_next_job_has_a_new_one(one: Pool) -> None:
    (before,) = one.run(jobs.pid, [()], Quiet())
    lost, after = one.run(jobs.call, [(jobs.fill_memory,), (jobs.pid,)], Quiet())
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.again) == ("the worker process had no memory left", False)
    assert isinstance(after, Done)
    assert after != before


def test_a_second_loss_leaves_it_lost_and_the_others_go_on(one: Pool) -> None:
    watch = Quiet()
    lost, done = one.run(jobs.call, [(jobs.die, signal.SIGKILL), (jobs.plus_one, 1)], watch)
    assert isinstance(lost, Lost)
    assert not lost.again
    assert [number for number, _ in watch.over] == [0, 0, 1]
    assert done == Done(2)


@pytest.mark.parametrize(
    ("job", "argument", "reason"),
    [(jobs.die, signal.SIGSEGV, "signal 11 (SIGSEGV)"), (jobs.leave, 3, "exit code 3"), (jobs.leave, 0, "exit code 0")],
)
def test_what_ends_by_itself_is_not_tried_again(
    one: Pool, job: Callable[..., None], argument: int, reason: str
) -> None:
    watch = Quiet()
    (lost,) = one.run(job, [(argument,)], watch)
    assert isinstance(lost, Lost)
    assert reason in lost.reason
    assert len(watch.over) == 1


def test_an_idle_worker_that_is_killed_costs_nothing(one: Pool) -> None:
    (done,) = one.run(jobs.pid, [()], Quiet())
    assert isinstance(done, Done)
    os.kill(done.value, signal.SIGKILL)
    watch = Quiet()
    (after,) = one.run(jobs.pid, [()], watch)
    assert isinstance(after, Done)
    assert after != done
    assert len(watch.over) == 1


def test_no_sign_of_life_ends_a_run_and_so_does_a_stopped_process(one: Pool) -> None:
    (lost,) = one.run(jobs.hang, [()], Quiet(), Limits(stall_timeout=0.3))
    assert isinstance(lost, Lost)
    assert lost.reason.startswith("stall_timeout=0.3: no sign of life for ")
    (lost,) = one.run(jobs.die, [(signal.SIGSTOP,)], Quiet(), Limits(stall_timeout=0.3))
    assert isinstance(lost, Lost)
    assert lost.reason.startswith("stall_timeout=0.3")


def test_a_run_that_takes_too_long_and_is_deaf_is_ended(one: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gru_bench.run.pool.KILL_AFTER_S", 0.1)
    (lost,) = one.run(jobs.endless, [()], Quiet(), Limits(run_timeout=0.2, stall_timeout=30))
    assert isinstance(lost, Lost)
    assert lost.reason.startswith("run_timeout=0.2: the run took longer")
    (lost,) = one.run(jobs.endless, [()], Quiet(), Limits(run_timeout=0.1, stall_timeout=30), [3])
    assert isinstance(lost, Lost)
    assert lost.reason.startswith("run_timeout=0.1: 3 runs together, of which each may take so long, took longer")


def test_several_runs_at_once_may_take_so_many_times_as_long(one: Pool) -> None:
    limits = Limits(run_timeout=10.0)
    batch = _Batch(one, jobs.pid, [(), ()], Quiet(), limits, [1, 3])
    worker = cast(Any, SimpleNamespace(job=0, sign=SimpleNamespace(begun=time.monotonic() - 25, beat=0.0)))
    assert "took longer" in batch.over(worker)
    worker.job = 1
    assert batch.over(worker) == ""


def test_workers_have_their_environment_before_anything_is_imported() -> None:
    pool = Pool([{"GRU_BENCH_TEST_CARD": "a"}])
    try:
        assert pool.run(jobs.environment, [("GRU_BENCH_TEST_CARD",)], Quiet()) == [Done(("a", False))]
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("code", "killed", "reason"),
    [
        (-9, 0, "the worker process was ended by signal 9 (SIGKILL): by hand, or by the system"),
        (-9, 1, "the worker process was ended by signal 9 (SIGKILL): out of memory, as the system says that it ended a "
                "process for want of it"),
        (-11, 1, "the worker process was ended by signal 11 (SIGSEGV)"),
        (7, 0, "the worker process left with exit code 7"),
        (OUT_OF_MEMORY_CODE, 0, "the worker process had no memory left"),
    ],
)  # fmt: skip
def test_reasons(code: int, killed: int, reason: str) -> None:
    assert why_ended(code, killed) == reason


class Driver:
    """A process with two busy workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "tests" / "pool_jobs.py"), str(folder)],
            env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        wait_until(lambda: len(self.workers()) == 2)

    def workers(self) -> list[int]:
        return [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        wait_until(lambda: not any(map(psutil.pid_exists, self.workers())))
        return self.process.returncode, out, err


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


def test_no_worker_survives_its_driver(driver: Driver) -> None:
    driver.process.kill()
    assert driver.end()[0] == -signal.SIGKILL


def test_ctrl_c_twice_interrupts_what_runs(driver: Driver) -> None:
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal does
    wait_until(lambda: bool(driver.process.stderr and "finishing" in driver.process.stderr.readline()))
    assert not (driver.folder / "interrupted").exists()
    os.killpg(driver.process.pid, signal.SIGINT)
    driver.end()
    assert (driver.folder / "interrupted").exists()
    assert len(driver.workers()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=UNDER_NOHUP)])
def test_what_asks_the_driver_to_end_ends_the_workers_in_good_order(driver: Driver, number: int) -> None:
    driver.process.send_signal(number)
    assert driver.end()[0] == signals.SIGTERM_EXIT_CODE
    assert (driver.folder / "left").read_text() == "SIGTERM"


def test_ctrl_c_once_lets_the_running_jobs_finish(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    driver = Driver(folder)
    os.killpg(driver.process.pid, signal.SIGINT)
    code, out, err = driver.end()
    assert (code, out.strip(), err.strip()) == (0, "finished", "finishing")
    assert len(driver.workers()) == 2
