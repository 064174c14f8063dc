"""Two lanes on one machine: many training jobs side by side, or one timing alone.

A job of ``gru-bench train`` holds the lane shared while it runs; ``gru-bench time`` holds it alone. Both hold locks of
the operating system (flock) on two files, ``gate`` and ``lane``: whoever dies, however hard, has released them.

A timing first closes the gate, so that no further job starts, and then waits until those that run have ended; it can
wait for as long as the longest of them, but not for ever. A job passes the gate before it takes the lane. All take the
gate before the lane, and a job lets go of the gate at once, so none waits for another in a circle.

The files lie in the cache folder, in a folder named after this start of this machine: where homes are shared over a
network, machines do not wait for each other, while containers of one machine do, and a machine that went down leaves
nothing that counts. Two users, or one with two folders by ``GRU_BENCH_CACHE``, have lanes of their own and do not see
each other's. What does not know locks (Windows, some network drives) has no lanes, which is said once. Then load alone
tells a timing of other work.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Literal

import psutil

from gru_bench.cache_dir import cache_dir
from gru_bench.process import this_start

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOOK_EVERY_S = 0.2
SYSCTL_WITHIN_S = 5
GATE, LANE, HOLDERS = "gate", "lane", "holders"
NAMED = 3
"""Holders that a message names."""
_said_none: set[int] = set()
"""Holds this process once it has said that there are no lanes."""

Mode = Literal["shared", "alone"]
Say = Callable[[str], None]


class NoLocks(Exception):
    """No locks can be had in this folder."""


def folder() -> Path:
    """Where the locks of this machine lie, since it was started."""
    name = hashlib.sha256(this_start().encode()).hexdigest()[:12]
    return cache_dir() / "lanes" / name


@contextmanager
def shared(what: str, say: Say, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lane beside other training jobs, for the time of the block.

    Args:
        what: What runs, in a few words, for those who wait for it.
        say: Is told in a line what is waited for, if anything.
        meanwhile: Called several times a second while it waits.
    """
    with held("shared", what, say, meanwhile):
        yield


@contextmanager
def alone(what: str, say: Say) -> Iterator[None]:
    """Hold the lane alone, for the time of the block; otherwise as :func:`shared`."""
    with held("alone", what, say):
        yield


@contextmanager
def held(mode: Mode, what: str, say: Say, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lane in one of the two ways."""

    def tell(text: str) -> None:
        with suppress(OSError, ValueError):  # a closed terminal is no reason to give up the lane
            say(text)

    with ExitStack() as stack:
        try:
            place = folder()
            (place / HOLDERS).mkdir(parents=True, exist_ok=True)
            gate = stack.enter_context(opened(place / GATE))
            lane = stack.enter_context(opened(place / LANE))
            waiting = Waiting(mode, what, place / HOLDERS, tell, meanwhile)
            take(gate, mode, waiting)
            take(lane, mode, waiting)
            waiting.over()
            stack.callback(leave_note(place / HOLDERS, what))
            if mode == "shared":
                fcntl.flock(gate, fcntl.LOCK_UN)
        except (NoLocks, OSError, RuntimeError):  # RuntimeError: a user without a home folder
            stack.close()
            if os.getpid() not in _said_none:
                _said_none.add(os.getpid())
                tell(f"{what}: the cache folder has no locks, so jobs and timings do not wait for each other")
        yield


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """A file to lock. Closing it releases the lock."""
    if fcntl is None:
        raise NoLocks
    with open(path, "a+", encoding="utf-8") as file:  # locking alone needs a file that may be written to
        yield file


def take(file: IO[str], mode: Mode, waiting: "Waiting") -> None:
    """Wait for a lock. A signal's handler may raise meanwhile.

    Raises:
        OSError: There are no locks here.
    """
    flags = (fcntl.LOCK_SH if mode == "shared" else fcntl.LOCK_EX) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(file, flags)
            return
        except BlockingIOError:
            waiting.go_on()
            time.sleep(LOOK_EVERY_S)


class Waiting:
    """Says once what is waited for, and once when that is over."""

    def __init__(
        self, mode: Mode, what: str, holders: Path, say: Say, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        self.mode, self.what, self.holders, self.say, self.meanwhile = mode, what, holders, say, meanwhile
        self.since: float | None = None

    def go_on(self) -> None:
        """To be called while something is waited for."""
        self.meanwhile()
        if self.since is not None:
            return
        self.since = time.monotonic()
        names: list[str] = []
        with suppress(OSError):
            names = holders(self.holders)
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        self.say(f"{self.what} waits until this machine is free of: {listed or 'another job of gru-bench'}")

    def over(self) -> None:
        """To be called when it is over."""
        if self.since is not None:
            self.say(f"{self.what} goes on after {time.monotonic() - self.since:.0f} s")


def leave_note(place: Path, what: str) -> Callable[[], None]:
    """Let others see what runs, unless the disk is full; returns what takes the note away."""
    note = place / f"{os.getpid()}-{time.monotonic_ns()}"
    with suppress(OSError):
        note.write_text(what, encoding="utf-8")

    def remove() -> None:
        with suppress(OSError):
            note.unlink()

    return remove


def holders(place: Path) -> list[str]:
    """What runs now, by the notes of processes that are alive; notes of others are taken away."""
    found = []
    for note in sorted(place.iterdir()):
        number = note.name.partition("-")[0]
        with suppress(OSError):
            if number.isdigit() and psutil.pid_exists(int(number)):
                found.append(f"{note.read_text(encoding='utf-8') or 'a job'} (process {number})")
            else:
                note.unlink()
    return found
