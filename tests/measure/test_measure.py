"""Time, threads and environment against answers that are known beforehand."""

import getpass
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from made_cells import CPU

from gru_bench.errors import UserError
from gru_bench.measure import environment as env
from gru_bench.measure import threads
from gru_bench.measure.memory import PeakMemory
from gru_bench.measure.timing import StepClock

# time


def test_the_clock_counts_what_is_inside_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = StepClock(CPU)
    for seconds in (5.0, 1.0, 2.0):
        with clock():
            now[0] += seconds
        now[0] += 100
    assert clock.seconds() == [5.0, 1.0, 2.0]
    assert clock.seconds(skip=1) == [1.0, 2.0]
    assert clock.seconds(skip=9) == []


def test_a_step_that_raises_is_not_counted() -> None:
    clock = StepClock(CPU)
    with pytest.raises(ValueError, match="lost"), clock:
        raise ValueError("lost")
    assert clock.seconds() == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_and_time_on_cuda() -> None:
    cuda = torch.device("cuda")
    clock = StepClock(cuda)
    held = torch.empty(1 << 20, device=cuda)
    with PeakMemory(cuda) as meter:
        for _ in range(3):
            with clock():
                torch.empty(1 << 20, device=cuda).normal_()
    assert meter.peak_bytes is not None
    assert meter.peak_bytes >= held.nbytes + (4 << 20)
    assert len(clock.seconds()) == 3
    assert all(seconds > 0 for seconds in clock.seconds())


# threads


@pytest.mark.parametrize(("cores", "workers", "expected"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 4, 1), (1, 1, 1)])
def test_auto_divides_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, expected: int) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    assert threads.resolve_threads("auto", workers) == expected
    assert threads.resolve_threads(expected, workers) == expected
    with pytest.raises(UserError, match=rf"^threads={expected + 1}: .* {cores}.*valid: auto or 1"):
        threads.resolve_threads(expected + 1, workers)


def test_the_message_names_workers_and_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    with pytest.raises(UserError, match=r"threads=5: .*: 8 for 2 workers; valid: auto or 1\.\.4$"):
        threads.resolve_threads(5, 2)


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [({}, 1), ({"n_jobs": 3}, 3), ({"n_jobs": None}, 1), ({"n_jobs": -1}, 8), ({"n_jobs": -2}, 7)],
)
def test_workers_of_a_launcher(monkeypatch: pytest.MonkeyPatch, launcher: dict[str, int], expected: int) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    assert threads.num_workers(launcher) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")
def test_usable_cores_follow_the_affinity_mask() -> None:
    mask = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mask)})
        assert threads.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, mask)


@pytest.mark.parametrize(("quota", "expected"), [(None, 6), (2.5, 2), (0.5, 1), (16.0, 6)])
def test_usable_cores_follow_the_quota(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    assert threads.usable_cores() == expected


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/slice/job\n")
    write(tmp_path / "slice" / "job" / "cpu.max", "max 100000\n")
    assert threads.cpu_quota(tmp_path, own) is None
    write(tmp_path / "slice" / "cpu.max", "150000 100000\n")
    assert threads.cpu_quota(tmp_path, own) == 1.5
    write(tmp_path / "cpu.max", "50000 100000\n")
    assert threads.cpu_quota(tmp_path, own) == 0.5


def test_quota_of_the_first_version(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("3:memory:/x\n2:cpu,cpuacct:/box\n")
    write(tmp_path / "cpu" / "box" / "cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "cpu" / "box" / "cpu.cfs_period_us", "100000\n")
    assert threads.cpu_quota(tmp_path, own) is None
    write(tmp_path / "cpu" / "box" / "cpu.cfs_quota_us", "300000\n")
    assert threads.cpu_quota(tmp_path, own) == 3
    assert threads.cpu_quota(tmp_path, tmp_path / "absent") is None


def test_set_threads_may_be_called_again() -> None:
    for number in (2, 1):
        threads.set_threads(number)
        assert torch.get_num_threads() == number


# environment


def test_the_environment_is_text_and_names_nobody() -> None:
    facts = env.environment()
    assert {"python", "torch", "cpu", "cores", "memory_gib", "os", "mlflow"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
    assert facts["torch"] == torch.__version__
    assert facts["cores"] == str(threads.usable_cores())
    everything = " ".join([*facts, *facts.values(), env.machine_id()])
    assert socket.gethostname() not in everything.split()
    assert str(Path.home()) not in everything
    assert getpass.getuser() not in everything.split()


def test_the_machine_is_a_hash_of_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    one = env.machine_id()
    assert re.fullmatch(r"[0-9a-f]{12}", one)
    assert env.machine_id() == one
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert env.machine_id() == one
    monkeypatch.setattr(env, "gpu_models", lambda: ["a card"])
    assert env.machine_id() != one
    monkeypatch.setattr(env, "gpu_models", list)
    monkeypatch.setattr(env, "cpu_model", lambda: "another processor")
    assert env.machine_id() != one


@pytest.mark.parametrize(
    ("busy", "own", "expected"), [(0.2, 0.2, 0.0), (0.3, 0.0, 1.5), (0.4, 0.2, 1.0), (0.1, 0.2, 0.0)]
)
def test_cores_used_by_others(monkeypatch: pytest.MonkeyPatch, busy: float, own: float, expected: float) -> None:
    clocks = {"wall": 0.0, "busy": 5.0, "own": 3.0}

    def sleep(seconds: float) -> None:
        clocks["wall"] += seconds
        clocks["busy"] += busy
        clocks["own"] += own

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "perf_counter", lambda: clocks["wall"])
    monkeypatch.setattr(time, "process_time", lambda: clocks["own"])
    monkeypatch.setattr(env, "busy_seconds", lambda _: clocks["busy"])
    monkeypatch.setattr(env, "_noted", None)
    assert env.cores_used_by_others(0.2) == pytest.approx(expected)
    assert env.shared_machine(1) == (expected > env.OTHERS_ABOVE)
    assert env.shared_machine(2)


@pytest.mark.parametrize(
    ("passed", "others", "before_that", "shared", "waits"),
    [
        (0.3, 0.0, 4.0, False, False),  # what others did before the end of the last training counts no more
        (0.3, 0.4, 0.0, False, False),
        (0.3, 1.0, 0.0, False, True),  # the store may have been at work for the last run
        (0.05, 0.0, 0.0, False, True),  # too short to say
        (9.0, 0.0, 0.0, False, True),  # too long ago
    ],
)
def test_a_warm_process_waits_only_where_the_machine_may_be_shared(
    monkeypatch: pytest.MonkeyPatch, passed: float, others: float, before_that: float, shared: bool, waits: bool
) -> None:
    slept: list[float] = []
    clock = {"wall": 100.0, "busy": before_that}

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock["wall"] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(env, "core_time", lambda: env.CoreTime(clock["wall"], 0.0, clock["busy"]))
    monkeypatch.setattr(env, "_noted", None)
    assert env.noted_core_time().busy_s == before_that
    clock["wall"] += passed
    clock["busy"] += others * passed
    assert env.shared_machine() == shared
    assert bool(slept) == waits


def test_the_machines_clock_moves() -> None:
    before = env.core_time()
    deadline = time.perf_counter() + 0.3
    while time.perf_counter() < deadline:
        pass
    after = env.core_time()
    assert after.busy_s > before.busy_s
    assert after.own_s > before.own_s


def test_ticks_of_many_cores_are_no_company() -> None:
    def others(seconds: float, cores: int, more: float) -> bool:
        work = seconds * cores
        return env.had_company(env.CoreTime(0.0, 0.0, 0.0), env.CoreTime(seconds, work, work + more * seconds))

    assert env.others_blur(env.CoreTime(0, 0, 0), env.CoreTime(0.08, 0, 64 * 0.08)) == pytest.approx(1)
    assert not others(0.08, 64, 1.4)
    assert others(0.08, 64, 2.0)
    assert others(0.08, 1, 0.7)
    assert not others(0.08, 1, 0.6)
    assert others(60.0, 64, 0.52)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_git_state_is_that_of_the_packages_own_checkout(tmp_path: Path) -> None:
    package = tmp_path / "project" / "package"
    package.mkdir(parents=True)
    assert env.git_state(package) == (None, None)
    git(tmp_path / "project", "init")
    assert env.git_state(package) == (None, None)  # no commit yet
    write(package / "code.py", "x = 1\n")
    git(tmp_path / "project", "add", ".")
    git(tmp_path / "project", "commit", "-m", "first")
    commit, dirty = env.git_state(package)
    assert re.fullmatch(r"[0-9a-f]{40}", commit or "")
    assert dirty is False
    write(package / "code.py", "x = 2\n")
    assert env.git_state(package) == (commit, True)
    # installed into an environment that lies inside some other repository
    installed = tmp_path / "project" / ".venv" / "lib" / "package"
    installed.mkdir(parents=True)
    assert env.git_state(installed) == (None, None)


def test_git_state_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert env.git_state(REPOSITORY / "gru_bench") == (None, None)
