"""What ``bench/faults.py`` does to a sweep, kind by kind, and the reasons that runs may then give for their end."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from gru_bench.cache_dir import replace_text
from gru_bench.store.reap import GONE, LOST

Undo = Callable[[], None]
WORKER_MARKS = ("spawn_main", "popen_loky", "resource_tracker")
FULL_KEEP = 4096
"""Bytes left free on a disk that is full."""


class Target(Protocol):
    """The sweep that runs, as a fault sees it."""

    @property
    def driver(self) -> int:
        """Process id, which is that of its group too."""

    @property
    def store(self) -> Path:
        """The folder of the SQLite file."""

    @property
    def code(self) -> Path:
        """The copy of the product that runs."""

    @property
    def is_over(self) -> bool:
        """Whether the driver has ended."""

    def wrong(self, problem: str, text: str) -> None:
        """Note a problem."""

    def kill_server(self) -> Undo:
        """Kill the MLflow server; returns what starts it again."""

    def later(self, seconds: float, undo: Undo) -> None:
        """Undo something after some seconds."""


class NotNow(Exception):
    """There is nothing that this fault could hit; it is tried again a moment later."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        happen: Does it; raises :class:`NotNow`.
        reasons: Pattern of what runs that it ended may say.
        weight: How often, against the others.
        moments: When: ``run`` (anywhere in the sweep), ``start``, ``store`` (when the file of the store first appears)
            or ``close``.
        where: Launchers, or ``server``, or ``sqlite``; nothing for everywhere.
        alone: Whether it waits until what other faults did has been undone.
    """

    happen: Callable[[Target, random.Random], None]
    reasons: str
    weight: float = 1.0
    moments: tuple[str, ...] = ("run", "run", "run", "start", "close")
    where: tuple[str, ...] = ()
    alone: bool = False


def workers(target: Target) -> list[psutil.Process]:
    """The worker processes of the sweep, and no helpers of theirs.

    Raises:
        NotNow: There is none.
    """
    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(target.driver).children():
            with suppress(psutil.Error):
                line = " ".join(child.cmdline())
                if any(mark in line for mark in WORKER_MARKS[:2]) and WORKER_MARKS[2] not in line:
                    found.append(child)
    if not found:
        raise NotNow
    return sorted(found, key=lambda process: process.pid)


def send(pid: int, number: int, *, group: bool = False) -> None:
    """A signal, to a process that may be gone."""
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def worker_killed(target: Target, rng: random.Random) -> None:
    """One of them, as the system does for want of memory."""
    send(rng.choice(workers(target)).pid, signal.SIGKILL)


def to_driver(number: int, *, group: bool = False) -> Callable[[Target, random.Random], None]:
    """A signal to the driver; or to its whole group, as a terminal sends it."""

    def happen(target: Target, _: random.Random) -> None:
        send(target.driver, number, group=group)

    return happen


def ctrl_c_twice(target: Target, rng: random.Random) -> None:
    """The second one while the running jobs finish, or after that."""
    driver = target.driver  # by then there may be another one
    send(driver, signal.SIGINT, group=True)
    target.later(rng.uniform(0.1, 1.5), lambda: send(driver, signal.SIGINT, group=True))


def worker_stopped(target: Target, rng: random.Random) -> None:
    """For good: longer than ``stall_timeout``."""
    send(rng.choice(workers(target)).pid, signal.SIGSTOP)


def worker_paused(target: Target, rng: random.Random) -> None:
    """For a few seconds."""
    pid = rng.choice(workers(target)).pid
    send(pid, signal.SIGSTOP)
    target.later(rng.uniform(0.5, 4.0), lambda: send(pid, signal.SIGCONT))


def all_paused(target: Target, rng: random.Random) -> None:
    """A laptop that sleeps."""
    driver = target.driver
    send(driver, signal.SIGSTOP, group=True)
    target.later(rng.uniform(0.5, 4.0), lambda: send(driver, signal.SIGCONT, group=True))


def disk_full(target: Target, rng: random.Random) -> None:
    """Of the store, for some seconds."""
    filler = target.store / "filler"
    free = shutil.disk_usage(target.store).free
    if free > 2**30:
        raise NotNow  # not a disk of our own
    with filler.open("wb") as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, free - FULL_KEEP))
    target.later(rng.uniform(1.0, 15.0), lambda: filler.unlink(missing_ok=True))


def read_only(target: Target, rng: random.Random) -> None:
    """The folder of the store and the file, for some seconds."""
    changed = [path for path in [target.store, *target.store.glob("mlflow.db*")] if path.exists()]
    modes = {path: path.stat().st_mode for path in changed}

    def undo() -> None:
        for path, mode in modes.items():
            with suppress(FileNotFoundError):
                path.chmod(mode)

    for path in changed:
        with suppress(FileNotFoundError):
            path.chmod(modes[path] & 0o555)
    target.later(rng.uniform(1.0, 15.0), undo)


def locked(target: Target, rng: random.Random) -> None:
    """Mostly for seconds, now and then for longer than anything waits."""
    file = target.store / "mlflow.db"
    if not file.exists():
        raise NotNow
    connection = sqlite3.connect(file, isolation_level=None, timeout=5, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        raise NotNow from None
    seconds = rng.uniform(40, 75) if rng.random() < 0.1 else rng.uniform(5, 20)
    target.later(seconds, connection.close)


def moved(target: Target, rng: random.Random) -> None:
    """The folder of the store: a disk that was not mounted for a while."""
    away = target.store.with_name("away")
    try:
        target.store.rename(away)
    except OSError:
        raise NotNow from None

    def undo() -> None:
        if target.store.exists():
            target.wrong("untrue", "the folder of the store was made anew while it was away")
            shutil.rmtree(target.store)
        away.rename(target.store)

    target.later(rng.uniform(1.0, 15.0), undo)


def memory(target: Target, rng: random.Random) -> None:
    """A worker gets no more memory than it has, for a while."""
    process = rng.choice(workers(target))
    try:
        before = resource.prlimit(process.pid, resource.RLIMIT_AS)
        used = process.memory_info().vms
        resource.prlimit(process.pid, resource.RLIMIT_AS, (used + rng.randrange(1, 4) * 2**18, before[1]))
    except (ProcessLookupError, psutil.Error):
        raise NotNow from None

    def undo() -> None:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, before)

    target.later(rng.uniform(1.0, 4.0), undo)


def version(target: Target, rng: random.Random) -> None:
    """The installed code is another version from now on."""
    init = target.code / "gru_bench" / "__init__.py"
    for path in sorted((target.code / "gru_bench").rglob("*.py")):
        more = "__version__ += '.1'\n" if path == init else ""
        # as pip does: whoever imports it meanwhile finds the old file or the new one, and none that is half written
        replace_text(path, f"{path.read_text(encoding='utf-8')}# {rng.random()}\n{more}")


def server_killed(target: Target, rng: random.Random) -> None:
    """And started again after some seconds."""
    target.later(rng.uniform(0.5, 25.0), target.kill_server())


KILLED = "|".join([LOST, GONE]).replace("(", r"\(").replace(")", r"\)")
ASKED = f"SIGTERM|SIGHUP|preempted|interrupted|whole sweep was ended|{KILLED}"
SIGNALLED = "the worker process was ended by signal 9|preempted"
NOT_STORED = "could not be stored|cannot be|disk|read-only|readonly|No space"

KINDS: dict[str, Kind] = {
    "worker_killed": Kind(worker_killed, f"{SIGNALLED}|{KILLED}", 3, where=("workers", "joblib")),
    "driver_killed": Kind(to_driver(signal.SIGKILL), KILLED, 2),
    "group_killed": Kind(to_driver(signal.SIGKILL, group=True), KILLED, 2),
    "first_start": Kind(to_driver(signal.SIGKILL, group=True), KILLED, 1, moments=("store",), where=("sqlite",)),
    "sigterm": Kind(to_driver(signal.SIGTERM), ASKED, 2),
    "sighup": Kind(to_driver(signal.SIGHUP, group=True), ASKED),
    "ctrl_c": Kind(to_driver(signal.SIGINT, group=True), ASKED, 2),
    "ctrl_c_twice": Kind(ctrl_c_twice, ASKED, 2),
    "worker_stopped": Kind(worker_stopped, f"stall_timeout|{KILLED}", 0.7, ("run",), ("workers",)),
    "worker_paused": Kind(worker_paused, "", 1, where=("workers",)),
    "all_paused": Kind(all_paused, "", 1),
    "disk_full": Kind(disk_full, NOT_STORED, 1.5, where=("sqlite",), alone=True),
    "read_only": Kind(read_only, NOT_STORED, 1.5, where=("sqlite",), alone=True),
    "locked": Kind(locked, NOT_STORED, 1.5, where=("sqlite",), alone=True),
    "moved": Kind(moved, NOT_STORED, 1.5, where=("sqlite",), alone=True),
    "memory": Kind(
        memory,
        f"[Mm]emory|alloc|thread|temporarily unavailable|{SIGNALLED}|signal|exit code|{KILLED}",
        1,
        ("run",),
        ("workers",),
    ),
    "version": Kind(version, "", 1),
    "server_killed": Kind(server_killed, NOT_STORED, 6, where=("server",)),
}


def undo_all(waiting: list[tuple[float, Undo]], *, upto: float | None = None) -> None:
    """Undo what is due; None for everything."""
    upto = time.monotonic() if upto is None else upto
    for due in [item for item in waiting if item[0] <= upto]:
        waiting.remove(due)
        due[1]()
