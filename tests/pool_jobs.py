"""Jobs for the tests of the pool: they run in workers, which import this file."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gru_bench.run.alive import beat, begin
from gru_bench.store.signals import raise_on_signals


def pid() -> int:
    return os.getpid()


def plus_one(number: int) -> int:
    return number + 1


def first_time(folder: str) -> bool:
    """Whether this is the first call with that folder."""
    try:
        Path(folder, "been").mkdir()
    except FileExistsError:
        return False
    return True


def die_once(folder: str, number: int) -> str:
    if first_time(folder):
        os.kill(os.getpid(), number)
        time.sleep(60)
    return "second"


def die(number: int) -> None:
    begin()
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(code: int) -> None:
    os._exit(code)


def call(function: Callable[..., object], *arguments: object) -> object:
    return function(*arguments)


def fail() -> None:
    raise ValueError("no")


def fill_memory() -> None:
    raise MemoryError


def hang() -> None:
    """No sign of life."""
    begin()
    while True:
        time.sleep(60)


def endless() -> None:
    """Alive, but without end, and deaf."""
    begin()
    while True:
        beat()
        time.sleep(0.05)


def obedient(folder: str, wait: float) -> str:
    """Says that it is there, and how it was ended."""
    raise_on_signals()
    Path(folder, str(os.getpid())).touch()
    try:
        time.sleep(wait)
    except KeyboardInterrupt:
        Path(folder, "interrupted").touch()
        raise
    except SystemExit as error:
        Path(folder, "left").write_text(error.reason)  # type: ignore[attr-defined]
        raise
    return "done"


def environment(name: str) -> tuple[str | None, bool]:
    """A variable, and whether torch was imported before this job."""
    return os.environ.get(name), "torch" in sys.modules


def drive(folder: str) -> None:
    """A driver with two workers that are busy for long; for tests that end it."""
    from pool_watch import Quiet

    from gru_bench.run.pool import Pool
    from gru_bench.store.signals import finish_first

    raise_on_signals()
    finish_first("finishing")
    pool = Pool([{}, {}])
    try:
        pool.run(obedient, [(folder, 2.0)] * 4 if folder.endswith("short") else [(folder, 120.0)] * 4, Quiet())
        print("all ended" if not signal_came() else "finished", flush=True)
    finally:
        pool.close()


def signal_came() -> bool:
    from gru_bench.store import signals

    return signals.finishing


if __name__ == "__main__":
    drive(sys.argv[1])
