"""What is set before anything is timed, and what is said of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from gru_bench.backends.native import build
from gru_bench.errors import UserError
from gru_bench.timing import instrument

CODE = """
import os, sys, torch
from gru_bench.timing.instrument import settle
print(settle(1, deterministic=True))
assert torch.get_num_threads() == 1 and torch.are_deterministic_algorithms_enabled()
assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
assert torch.tensor(1e-39) * 1.0 == 0, "subnormal"
if hasattr(os, "sched_getaffinity"):
    assert len(os.sched_getaffinity(0)) == 1
"""


def test_a_process_is_settled_and_says_how() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    (said,) = done.stdout.splitlines()
    assert said.startswith("1 thread ")
    assert "TF32 off; deterministic algorithms on; subnormal numbers are zero" in said
    assert "native code: " in said
    assert "/" not in said.replace("c++/", "")


def test_cores_are_taken_from_the_end_and_one_of_each_physical_one_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument, "SYSTEM", tmp_path)
    for core in range(4):  # 0 and 1 share one, 2 and 3 another
        path = tmp_path / f"cpu{core}" / "topology" / "thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(f"{core - core % 2}-{core - core % 2 + 1}\n")
    assert instrument._apart(range(4)) == [3, 1, 2, 0]
    assert instrument._apart([0, 1, 2]) == [2, 1, 0]
    monkeypatch.setattr(instrument, "SYSTEM", tmp_path / "elsewhere")
    assert instrument._apart(range(4)) == [3, 2, 1, 0]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_cores_that_are_not_there_are_refused() -> None:
    with pytest.raises(UserError, match=r"^threads=2: only 1 cores to run on; valid: 1\.\.1$"):
        instrument.settle(2, cores=[0])
    with pytest.raises(UserError, match=r"^cores=100000: .+; leave cores out$"):
        instrument.settle(1, cores=[100_000])


def test_a_system_that_lets_no_process_choose_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []

    def pin(task: int, _: object) -> None:
        asked.append(task)
        if task == 7:
            raise ProcessLookupError(3, "No such process")

    for task in ("7", "8"):
        (tmp_path / task).mkdir()
    monkeypatch.setattr(instrument, "TASKS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", pin, raising=False)
    assert instrument._pin(1, None) == "on core 1"
    assert sorted(asked) == [0, 7, 8]  # a thread that has ended meanwhile is none

    def forbid(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbid)
    assert instrument._pin(1, None) == "not pinned (Operation not permitted)"


def test_a_machine_without_a_compiler_says_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise build.CannotBuild("no C++ compiler found")

    monkeypatch.setattr(build, "compiler", none)
    assert instrument.compiled_by() == "none, no compiler"
