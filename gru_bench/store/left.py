"""What processes that are over have left in the spool: their runs, and the sweeps whose end they could not write."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gru_bench.process import is_alive
from gru_bench.store.connect import spool_folder
from gru_bench.store.reap import LOST
from gru_bench.store.schema import JOB, OWNER, SWEEP
from gru_bench.store.spool import ABOUT, END, LOCK, End, Experiments, Package

SWEEPS = "sweeps"
"""Folder beside those of the runs: an empty file a sweep whose jobs are over, but whose end was not yet written."""
QUIET_S = 900.0
"""A run whose owner cannot be looked up from here is taken for dead when it wrote nothing for so long."""


def left_packages(uri: str, experiments: Experiments) -> Iterator[Package]:
    """What processes that are over have left for a store, the oldest first, each locked: the caller releases it."""
    root = spool_folder(uri)
    folders = [path for path in root.iterdir() if path.name != SWEEPS] if root.is_dir() else []
    for folder in sorted(folders, key=begun):
        lock = FileLock(folder / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue
        try:
            package = Package.load(uri, folder, experiments)
        except (OSError, ValueError, TypeError, KeyError):
            lock.release()
            if begun(folder) < time.time() - QUIET_S:
                shutil.rmtree(folder, ignore_errors=True)  # killed before it was begun
            continue
        package._lock = lock
        alive = is_alive(package.about.tags[OWNER])
        # a lock may not be seen from another machine
        if package.end is None and (alive or (alive is None and package.written > time.time() - QUIET_S)):
            package.release()
            continue
        if package.end is None:
            package.finish(End("KILLED", "killed", LOST, int(1000 * package.written)))
        yield package


def are_being_sent(uri: str) -> bool:
    """Whether other processes are about to send runs that are over."""
    root = spool_folder(uri)
    for end in root.glob(f"*/{END}") if root.is_dir() else ():
        lock = FileLock(end.parent / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            continue
        lock.release()
    return False


def number_kept(uri: str) -> int:
    """How many runs of a store are over, but not yet delivered."""
    return len(list(spool_folder(uri).glob(f"*/{END}")))


def has_finished(uri: str, sweep_id: str, job: int, owner: str | None) -> bool:
    """Whether a process that is gone has left a finished run of a job; None, of which process is not known, has not."""
    for end in spool_folder(uri).glob(f"*/{END}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            tags = json.loads((end.parent / ABOUT).read_text(encoding="utf-8"))["tags"]
            status = json.loads(end.read_text(encoding="utf-8"))["status"]
            if (status, tags[SWEEP], tags[JOB], tags[OWNER]) == ("FINISHED", sweep_id, str(job), owner):
                return True
    return False


def begun(folder: Path) -> float:
    """When a run's folder was made, about."""
    try:
        return min(path.stat().st_mtime for path in (folder / ABOUT, folder) if path.exists())
    except (OSError, ValueError):
        return 0.0


def keep_sweep(uri: str, sweep_id: str) -> None:
    """Keep that a sweep is over, until its end has been written."""
    with suppress(OSError, RuntimeError):
        place = spool_folder(uri) / SWEEPS
        place.mkdir(parents=True, exist_ok=True)
        (place / sweep_id).touch()


def forget_sweep(uri: str, sweep_id: str) -> None:
    """Once the end of a sweep has been written."""
    with suppress(OSError, RuntimeError):
        place = spool_folder(uri) / SWEEPS
        (place / sweep_id).unlink(missing_ok=True)
        place.rmdir()
        place.parent.rmdir()


def left_sweeps(uri: str) -> list[str]:
    """The sweeps that are over, but whose end was not written."""
    try:
        return sorted(path.name for path in (spool_folder(uri) / SWEEPS).iterdir())
    except (OSError, RuntimeError):
        return []
