"""One worker process: its pipe, the job that it has, how each of its jobs ended, and why it is gone."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gru_bench.process import die_with_parent, owner
from gru_bench.run.alive import Sign, is_seen_by
from gru_bench.store import signals

OUT_OF_MEMORY_CODE = 12
"""Exit code of a worker that cannot say more: ENOMEM."""


@dataclass(frozen=True)
class Done:
    """What a job returned.

    Attributes:
        value: Of the function.
    """

    value: Any


@dataclass(frozen=True)
class Raised:
    """A job raised, which its function should not.

    Attributes:
        text: The exception in a line.
        by_signal: Whether a signal asked the worker to end, and the job closed what it had open.
    """

    text: str
    by_signal: bool = False


@dataclass(frozen=True)
class Lost:
    """A job whose worker ended, or was ended.

    Attributes:
        reason: Why, in a line.
        owner: The process, as :func:`gru_bench.process.owner` describes it.
        again: Whether the job is handed out once more.
    """

    reason: str
    owner: str
    again: bool = False


Outcome = Done | Raised | Lost


class Worker:
    """One process, its pipe, and the job that it has.

    Args:
        environment: Set in the process before anything else is imported there.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.sign = Sign()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, self.sign, dict(environment)), name="gru-bench worker"
        )
        self.process.start()
        theirs.close()
        self.owner = ""
        self.job: int | None = None
        self.killed_because = ""

    def hand(self, number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
        """Give it a job; returns False where it is gone."""
        self.sign.reset()
        try:
            self.pipe.send((function, arguments))
        except OSError:
            return False
        self.job = number
        return True

    def kill(self, reason: str) -> None:
        """End it at once."""
        self.killed_because = reason
        self.process.kill()

    def close(self) -> None:
        """End it, and wait for that."""
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()


def why_ended(code: int | None, killed_for_memory: int) -> str:
    """Why a worker is gone.

    Args:
        code: The exit code; negative for a signal.
        killed_for_memory: How many processes the system ended for want of memory meanwhile.
    """
    if code == OUT_OF_MEMORY_CODE:
        return "the worker process had no memory left"
    if code is None or code >= 0:
        return f"the worker process left with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    reason = f"the worker process was ended by signal {-code} ({name})"
    if -code != signal.SIGKILL:
        return reason
    if killed_for_memory > 0:
        return f"{reason}: out of memory, as the system says that it ended a process for want of it"
    return f"{reason}: by hand, or by the system"


def oom_kills() -> int:
    """How many processes this machine has ended for want of memory since it was started; 0 where it does not say.

    Source: ``oom_kill`` of ``/proc/vmstat``, Linux 4.13 or later.
    """
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def serve(pipe: Connection, sign: Sign, environment: dict[str, str]) -> None:
    """What a worker does: job after job, until its driver closes the pipe or ends."""
    os.environ.update(environment)
    signals.obey_the_driver()
    end_with_the_driver()
    is_seen_by(sign)
    try:
        pipe.send(owner())
        while True:
            function, arguments = pipe.recv()
            sign.take()
            try:
                answer: Done | Raised = Done(function(*arguments))
            except (KeyboardInterrupt, SystemExit) as error:
                answer = Raised(
                    getattr(error, "reason", "") or "interrupted", by_signal=isinstance(error, signals.Leave)
                )
            except MemoryError:
                raise
            except BaseException as error:
                answer = Raised(f"{type(error).__name__}: {error}")
            pipe.send(answer)
    except MemoryError:  # there is none left to say so with, and the next job is to have some
        os._exit(OUT_OF_MEMORY_CODE)
    except (EOFError, OSError, KeyboardInterrupt, SystemExit):
        return


def end_with_the_driver() -> None:
    """End this process when the one that started it ends, however that ends.

    The system does it on Linux; elsewhere, and where the starting thread alone has ended, a thread waits for it.
    """
    driver = multiprocessing.parent_process()
    assert driver is not None

    def wait_for_its_end() -> None:
        driver.join()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=wait_for_its_end, daemon=True, name="end with the driver").start()
    die_with_parent()
    if os.getppid() != driver.pid:  # it ended before that
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
