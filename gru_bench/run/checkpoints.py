"""The checkpoints of a run: where they lie, to whom they belong, and what a signal does to a run that trains.

A run that is ended from outside (by a signal, a crash of its process or its machine) leaves its last checkpoint in the
cache folder. The next run of the same config into the same store goes on from there, if code, software, machine and
data are the same too; otherwise it begins anew and says why. A run that ends by itself, well or not, leaves none.
"""

import functools
import hashlib
import inspect
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from filelock import FileLock, Timeout
from hydra.utils import get_object

import gru_bench
from gru_bench.cache_dir import cache_dir
from gru_bench.config.canonical import digest
from gru_bench.measure.environment import machine_id
from gru_bench.run import loaded
from gru_bench.run.job import Job
from gru_bench.run.record import Recorder
from gru_bench.store.signals import Preempted, TimedOut, at_next_step, at_once, check_signals
from gru_bench.training.checkpoint import Damaged, Keeper, State, read, write

PACKAGE = Path(gru_bench.__file__).parent
SOURCES = ("backends", "cells", "data", "losses.py", "metrics.py", "models", "tasks", "training")
"""Parts of this package that decide what a training step computes."""
SUFFIXES = (".py", ".cpp", ".h")
KEPT_DAYS = 30
"""Checkpoints that nobody came back for are removed after so many days."""
MOST_OF_THE_TIME = 20
"""After a checkpoint that took t seconds the next one is due after at least so many times t: it costs 5 % at most."""


class Checkpoints(Keeper):
    """The checkpoints of one run; a context manager around all of it.

    Args:
        uri: The store's.
        job: The run's, with its data loaded.
        every_s: Least seconds from one checkpoint to the next; none is made before.
        say: Shows a line to the user.
    """

    def __init__(self, uri: str, job: Job, every_s: float, say: Callable[[str], None]) -> None:
        self.every_s, self.say = every_s, say
        self.folder = folder() / hashlib.sha256(f"{uri} {job.keys[0]}".encode()).hexdigest()[:24]
        self.lock: FileLock | None = None
        self.off = ""  # why none are kept
        self.job = job
        self.identity: dict[str, str] = {}
        self.record: Recorder | None = None
        self.began_as = ""
        self.found: State | None = None
        self.due = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lock is None:
            return
        by_itself = kind is None or issubclass(kind, Exception)
        with suppress(OSError):
            if by_itself:
                self.path.unlink(missing_ok=True)
        self.lock.release()
        with suppress(OSError):
            if by_itself:
                Path(self.lock.lock_file).unlink(missing_ok=True)
                self.folder.rmdir()

    @property
    def path(self) -> Path:
        """Of the last checkpoint."""
        return self.folder / "checkpoint.pt"

    def begin(self, record: Recorder, kernel: str) -> None:
        """Before training.

        Args:
            record: Of the run. Its part of a checkpoint is what the run has on record.
            kernel: What runs the cell.
        """
        self.record, self.began_as = record, record.run.run_id
        self.identity = identity(self.job, kernel)
        self.due = time.monotonic() + self.every_s

    def load(self) -> State | None:
        if not self.path.exists() or not self._locked():
            return None
        try:
            kept = read(self.path)
        except (OSError, Damaged) as problem:
            self.refused(f"it is {problem}" if isinstance(problem, Damaged) else str(problem))
            return None
        before = kept["identity"]
        other = [name for name in {**self.identity, **before} if self.identity.get(name) != before.get(name)]
        if other:
            self.refused(", ".join(f"another {name}" for name in other))
            return None
        self.found = kept
        session: State = kept["session"]
        return session

    def refused(self, why: str) -> None:
        self.found = None
        self.say(f"a checkpoint of this run is not used ({why}); training begins anew")

    def goes_on(self) -> None:
        assert self.found is not None
        assert self.record is not None
        kept, self.found = self.found, None
        step, self.began_as = kept["session"]["fit"]["steps"], kept["began_as"]
        threads = torch.get_num_threads()
        on_other = f", which had {kept['threads']} threads (now {threads})" if kept["threads"] != threads else ""
        self.say(f"goes on from step {step} of run {self.began_as}{on_other}")
        self.record.resumed(step, self.began_as, kept["record"])
        self.due = time.monotonic() + self.every_s

    @contextmanager
    def whole_steps(self) -> Iterator[None]:
        with at_next_step():
            yield
        check_signals()

    @contextmanager
    def interruptible(self, state: Callable[[], State], /) -> Iterator[None]:
        try:
            with at_once():
                yield
        except (KeyboardInterrupt, SystemExit) as leaving:
            self._leave(leaving, state)

    def after_step(self, step: int, state: Callable[[], State], /) -> None:
        try:
            check_signals()
        except (KeyboardInterrupt, SystemExit) as leaving:
            self._leave(leaving, state)
        if time.monotonic() >= self.due:
            self._save(state)

    def _leave(self, leaving: BaseException, state: Callable[[], State]) -> None:
        """Keep a checkpoint, then let go on what ends the process.

        Raises:
            BaseException: The same, or with the step of the checkpoint.
        """
        step = None if isinstance(leaving, TimedOut) else self._save(state)  # which would not end sooner the next time
        if step is None:
            raise leaving
        self.say(f"checkpoint at step {step}: the same command goes on from there")
        if isinstance(leaving, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted, checkpoint at step {step}") from leaving
        raise Preempted(step) from leaving

    def _save(self, make: Callable[[], State]) -> int | None:
        """Write a checkpoint; the step that it was made at, or None where none can be kept."""
        assert self.record is not None
        if self.off or not self._locked():
            self.due = float("inf")
            return None
        started = time.monotonic()
        session = make()
        state = {
            "identity": self.identity,
            "began_as": self.began_as,
            "threads": torch.get_num_threads(),
            "session": session,
            "record": self.record.state(),
        }
        step: int | None = session["fit"]["steps"]
        try:
            write(self.path, state)
        except OSError as error:
            self.off = str(error)
            self.say(f"no checkpoints are kept of this run: {error.strerror or error}")
            step = None
        now = time.monotonic()
        self.due = now + max(self.every_s, MOST_OF_THE_TIME * (now - started))
        return step

    def _locked(self) -> bool:
        """Whether the checkpoints of this key are this process's own; taken when it is first asked."""
        if self.lock is not None or self.off:
            return self.lock is not None
        try:
            remove_old(self.folder.parent)
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            lock.acquire(timeout=0)
        except Timeout:
            self.off = "another process trains the same run at this time"
        except OSError as error:
            self.off = error.strerror or str(error)
        else:
            self.lock = lock
            return True
        self.say(f"no checkpoints are kept of this run: {self.off}")
        return False


def folder() -> Path:
    """Where the checkpoints of all runs lie, each in a folder of its own."""
    return cache_dir() / "checkpoints"


def remove_old(checkpoints: Path) -> None:
    """Remove the checkpoints for which nobody has come back."""
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    with suppress(OSError):
        for entry in list(os.scandir(checkpoints)):
            if entry.is_dir(follow_symlinks=False) and newest(Path(entry.path)) < oldest:
                shutil.rmtree(entry.path, ignore_errors=True)


def newest(path: Path) -> float:
    """When a folder or a file in it was last changed; now where it goes away meanwhile."""
    try:
        return max(one.stat().st_mtime for one in (path, *path.iterdir()))
    except OSError:
        return time.time()


def identity(job: Job, kernel: str) -> dict[str, str]:
    """What must be equal for a run to go on from a checkpoint, under names for a sentence (``another ...``)."""
    return {
        "config": job.keys[0],
        "choice of probes": digest(job.node.get("probes") or {}),
        "training data": loaded.known(job.task).fingerprint,
        "version of the code": code(),
        "code of your own": digest(own_code(job.node)),
        "torch": " ".join(filter(None, (torch.__version__, torch.version.cuda, str(torch.backends.cudnn.version())))),
        "machine": machine_id(),
        "device": str(job.place.device),
        "kernel": kernel,
    }


@functools.cache
def code() -> str:
    """A digest of the files of this package that decide what a training step computes; read once a process."""
    sha = hashlib.sha256()
    for part in SOURCES:
        for file in sorted([PACKAGE / part, *(PACKAGE / part).rglob("*")]):
            if file.suffix in SUFFIXES and file.is_file():
                content = file.read_bytes()
                sha.update(f"{file.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return sha.hexdigest()[:24]


def own_code(node: Any) -> dict[str, str]:
    """Digests of the files in which a config's classes are defined, of those that are neither ours nor torch's."""
    if isinstance(node, list):
        return {name: content for part in node for name, content in own_code(part).items()}
    if not isinstance(node, dict):
        return {}
    found = {name: content for part in node.values() for name, content in own_code(part).items()}
    target = str(node.get("_target_", ""))
    if target and target.split(".")[0] not in ("gru_bench", "torch"):
        with suppress(OSError, TypeError):
            found[target] = hashlib.sha256(Path(inspect.getfile(get_object(target))).read_bytes()).hexdigest()
    return found
