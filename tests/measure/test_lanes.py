"""Two lanes: who waits for whom, and that whoever dies has released what it held."""

import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from stores import ENVIRONMENT

from gru_bench.measure import lanes

HOLD = """
import sys
from gru_bench.measure import lanes
with getattr(lanes, sys.argv[1])("train gru adding", print):
    print("held", flush=True)
    sys.stdin.readline()
"""
PATIENCE_S = 30


@pytest.fixture(autouse=True)
def own_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lanes, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(lanes, "_said_none", set())


@contextmanager
def another(mode: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a lane until it reads a line."""
    environment = ENVIRONMENT | {"GRU_BENCH_CACHE": os.environ["GRU_BENCH_CACHE"]}
    command = [sys.executable, "-c", HOLD, mode]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


class Waiter:
    """Something that takes a lane in a thread, and what it said."""

    def __init__(self, mode: lanes.Mode, what: str) -> None:
        self.said: list[str] = []
        self.say_nothing = False
        self.waits, self.holds, self.let_go = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, args=(mode, what), daemon=True)
        self.thread.start()

    def run(self, mode: lanes.Mode, what: str) -> None:
        def say(text: str) -> None:
            if self.say_nothing:
                raise BrokenPipeError
            self.said.append(text)
            self.waits.set()

        with lanes.held(mode, what, say):
            self.holds.set()
            self.let_go.wait(PATIENCE_S)

    def end(self) -> None:
        self.let_go.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


def test_jobs_run_side_by_side_and_say_nothing() -> None:
    said: list[str] = []
    with lanes.shared("one", said.append), lanes.shared("two", said.append):
        assert len(lanes.holders(lanes.folder() / lanes.HOLDERS)) == 2
    assert not said
    assert not lanes.holders(lanes.folder() / lanes.HOLDERS)


def test_a_timing_waits_for_a_job_and_a_job_that_is_killed_waits_for_nobody() -> None:
    with another("shared") as job:
        timing = Waiter("alone", "gru-bench time")
        assert timing.waits.wait(PATIENCE_S)
        assert timing.said == [
            f"gru-bench time waits until this machine is free of: train gru adding (process {job.pid})"
        ]
        assert not timing.holds.is_set()
        job.kill()
        assert timing.holds.wait(PATIENCE_S)
        timing.end()
    assert timing.said[1].startswith("gru-bench time goes on after ")


def test_a_killed_timing_lets_a_job_go_on() -> None:
    with another("alone") as held:
        job = Waiter("shared", "train lstm adding")
        assert job.waits.wait(PATIENCE_S)
        assert not job.holds.is_set()
        held.kill()
        assert job.holds.wait(PATIENCE_S)
        job.end()


def test_jobs_that_come_later_wait_for_a_timing_that_waits() -> None:
    # without the gate a stream of jobs would keep the timing out for ever
    with ExitStack() as first:
        first.enter_context(lanes.shared("first", print))
        timing = Waiter("alone", "time")
        assert timing.waits.wait(PATIENCE_S)
        later = Waiter("shared", "later")
        assert later.waits.wait(PATIENCE_S)
        assert not later.holds.is_set()
        first.close()
    assert timing.holds.wait(PATIENCE_S)
    assert not later.holds.is_set()
    timing.end()
    assert later.holds.wait(PATIENCE_S)
    later.end()


@pytest.mark.parametrize("why", ["no fcntl", "no folder"])
def test_without_locks_nothing_waits_and_that_is_said_once(
    why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if why == "no fcntl":
        monkeypatch.setattr(lanes, "fcntl", None)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "file"))  # no folder can be made there
    said: list[str] = []
    with lanes.alone("one", said.append), lanes.alone("two", pytest.fail):
        pass
    (line,) = said
    assert line.startswith("one: the cache folder has no locks")


def test_neither_a_full_disk_nor_a_closed_terminal_gives_up_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("full, or closed")

    with monkeypatch.context() as patched, ExitStack() as first:
        patched.setattr(Path, "write_text", refuse)
        first.enter_context(lanes.alone("first", refuse))
        job = Waiter("shared", "job")
        assert job.waits.wait(PATIENCE_S)
        assert not job.holds.is_set()
        assert job.said == ["job waits until this machine is free of: another job of gru-bench"]
        job.say_nothing = True  # its terminal is closed
        first.close()
        assert job.holds.wait(PATIENCE_S)
        timing = Waiter("alone", "time")
        assert timing.waits.wait(PATIENCE_S)  # so the job has its lane
        assert not timing.holds.is_set()
        job.end()
        assert timing.holds.wait(PATIENCE_S)
        timing.end()


def test_the_lanes_are_the_machines_and_not_the_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/sys/kernel/random/boot_id").exists():
        pytest.skip("this system draws no id when it starts")
    place = lanes.folder()
    monkeypatch.setattr(socket, "gethostname", lambda: "another-container")
    assert lanes.folder() == place


def test_where_no_id_was_drawn_the_host_name_tells_machines_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Path) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", none)
    monkeypatch.setattr(platform, "system", lambda: "FreeBSD")
    monkeypatch.setattr(socket, "gethostname", lambda: "one")
    place = lanes.folder()
    monkeypatch.setattr(socket, "gethostname", lambda: "two")
    assert lanes.folder() != place


def test_an_error_inside_the_block_is_the_users() -> None:
    with pytest.raises(OSError, match="mine"), lanes.alone("one", print):
        raise OSError("mine")
    with lanes.alone("two", pytest.fail):  # and the lane is free again
        pass


def test_no_second_of_a_run_passes_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from gru_bench.run import train

    began: list[bool] = []
    timing = Waiter("alone", "gru-bench time")
    assert timing.holds.wait(PATIENCE_S)
    waits = threading.Event()
    asked: Any = SimpleNamespace(sweep=None, alone=True, name="gru adding seed 0", config=OmegaConf.create({}))
    monkeypatch.setattr(train, "trained", lambda *_: began.append(timing.let_go.is_set()) or "done")
    monkeypatch.setattr(
        lanes.Waiting, "go_on", lambda self: waits.set() if self.what == "train gru adding seed 0" else None
    )
    release = threading.Thread(target=lambda: waits.wait(PATIENCE_S) and timing.end())
    release.start()
    assert train.train(asked, print) == "done"
    release.join(PATIENCE_S)
    assert began == [True]
