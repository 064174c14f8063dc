"""Signals that ask to end: what is open is closed first, and nothing that is being written is cut in two.

A process is in one of four states. At its start (:func:`leave_at_once`) nothing is open, and it just ends. Then
(:func:`raise_on_signals`) a signal unwinds the stack like an exception. Where it launches a sweep
(:func:`finish_first`), the first Ctrl-C only lets the running jobs finish. A worker of such a sweep
(:func:`obey_the_driver`) leaves Ctrl-C to the process that started it, since a terminal sends it to both.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT

LEAVING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGALRM") if hasattr(signal, name)
)
"""Signals that ask this process to end. A scheduler of a cluster sends SIGUSR1 some time before it ends a job, a
terminal SIGHUP when it is closed, and SIGALRM is :func:`time_limit`."""

INTERRUPT = getattr(signal, "SIGUSR2", None)
"""What a driver sends to a worker that is to end as if by Ctrl-C."""

PATIENCE_S = 2.0
"""How long a signal waits for the end of what is being written; then it acts."""

received: int | None = None
"""The signal that asked this process to end.

Raising from the handler is not enough: Python drops an exception that is raised inside a destructor or a weak
reference's callback, and SQLAlchemy runs many of those.
"""

finishing = False
"""Whether no further job is to be begun."""

_otherwise = sys.unraisablehook
"""What tells of exceptions that Python drops for other reasons."""

_is_worker = False
_leaves_ctrl_c = False
_finish_line = ""
"""What the first Ctrl-C says in a process that launches a sweep; nothing in others, which it ends."""
_limit = ""
"""What :func:`time_limit` gives as the reason."""


class Leave(SystemExit):
    """A signal asked this process to end.

    Attributes:
        reason: What a run that it ends is marked with.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code)
        self.reason = reason


class Preempted(Leave):
    """The process is asked to end, and its run can go on from a checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(SIGTERM_EXIT_CODE, f"preempted, checkpoint at step {step}")
        self.step = step


class TimedOut(Leave):
    """A run took longer than it may; only that run ends."""


_outside: list[dict[int, Any]] = []
"""The handlers that :func:`at_next_step` has put aside."""


def raise_on_signals() -> None:
    """Turn Ctrl-C into ``KeyboardInterrupt`` and the other signals into ``SystemExit``, so that open runs are closed.

    Does nothing outside the main thread.
    """
    global received, _otherwise
    if not _in_main_thread():
        return
    received = None
    if sys.unraisablehook is not _dropped:
        _otherwise, sys.unraisablehook = sys.unraisablehook, _dropped
    for number in LEAVING:
        # nohup has SIGHUP ignored; and a worker leaves Ctrl-C to its driver
        kept = number == signal.SIGINT if _leaves_ctrl_c else number == getattr(signal, "SIGHUP", None)
        if not (kept and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, _leave)
    if _is_worker and INTERRUPT is not None:
        signal.signal(INTERRUPT, _leave)


def forget() -> None:
    """A command begins: what an earlier one of this process was told counts no more."""
    global received, finishing, _finish_line
    received, finishing, _finish_line = None, False, ""


def leave_at_once(what: str) -> None:
    """Until :func:`raise_on_signals`: Ctrl-C and SIGTERM end the process with a line, and unwind nothing.

    An exception in the middle of an import is taken for an error of the module, by some libraries. Nothing is open yet.

    Args:
        what: How the line begins.
    """
    if not _in_main_thread():
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        say(f"{what}: {'interrupted' if number == signal.SIGINT else 'ended by a signal'} before anything was begun")
        os._exit(exit_code(number))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


def finish_first(line: str) -> None:
    """From now on the first Ctrl-C prints a line and sets :data:`finishing`; the second one ends the process."""
    global finishing, _finish_line
    finishing, _finish_line = False, line


def obey_the_driver() -> None:
    """Make this process a worker: Ctrl-C is for its driver, and :data:`INTERRUPT` takes its place."""
    global _is_worker
    _is_worker = True
    leave_ctrl_c()


def leave_ctrl_c() -> None:
    """Ctrl-C is for another process from now on, which will say what this one is to do."""
    global _leaves_ctrl_c
    _leaves_ctrl_c = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_signals() -> None:
    """Raise again what a handler raised and Python dropped; a long loop calls this now and then."""
    if received is not None:
        _leave(received, None)


def only_finishes(number: int) -> bool:
    """Whether this is the first Ctrl-C in a process that launches a sweep: it is noted, and ends nothing."""
    global finishing
    if number != signal.SIGINT or not _finish_line or finishing:
        return False
    finishing = True
    say(_finish_line)
    return True


def say(line: str) -> None:
    """A line on the error stream, past Python's buffers: a handler may have cut into them."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def _leave(number: int, _frame: FrameType | None) -> None:
    global received
    if received is None and only_finishes(number):
        return
    received = number
    if number in (signal.SIGINT, INTERRUPT):
        raise KeyboardInterrupt
    if number == getattr(signal, "SIGALRM", None):
        raise TimedOut(1, _limit)
    raise Leave(SIGTERM_EXIT_CODE, signal.Signals(number).name)


def _dropped(unraisable: "sys.UnraisableHookArgs") -> None:
    """Tell of an exception that Python has dropped, unless a signal raised it, which :data:`received` still holds."""
    if received is None or not isinstance(unraisable.exc_value, KeyboardInterrupt | Leave):
        _otherwise(unraisable)


def exit_code(number: int) -> int:
    """Of a process that a signal has asked to end."""
    return INTERRUPTED_EXIT_CODE if number == signal.SIGINT else SIGTERM_EXIT_CODE


@contextmanager
def time_limit(seconds: float | None, reason: str) -> Iterator[None]:
    """Raise :class:`TimedOut` in the block after so many seconds; None for no limit.

    Does nothing outside the main thread, nor on Windows, which has no SIGALRM.
    """
    global _limit
    if seconds is None or not _in_main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    _limit = reason
    before = signal.signal(signal.SIGALRM, _leave)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _put_back({signal.SIGALRM: before})


@contextmanager
def at_next_step() -> Iterator[None]:
    """Inside, the first signal waits for :func:`check_signals`, so that no step is cut in two; a second acts now."""
    if not _in_main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        global received
        if received is None and only_finishes(number):
            return
        if received is not None:
            _leave(number, frame)
        received = number

    before = {number: signal.signal(number, note) for number in _heard()}
    _outside.append(before)
    try:
        yield
    finally:
        _outside.pop()
        _put_back(before)


@contextmanager
def at_once() -> Iterator[None]:
    """Inside :func:`at_next_step`, around what no step is cut by: signals act as outside, and one that waits acts now.

    Elsewhere it only looks for a signal that was dropped.
    """
    check_signals()
    if not _outside or not _in_main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in _outside[-1].items() if handler is not None}
    try:
        check_signals()
        yield
    finally:
        _put_back(before)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold signals back until the block is done, then deliver the first one.

    Without it, a second Ctrl-C while a run is being closed would leave it RUNNING for ever. But where the store does
    not answer, the block may last for minutes: :data:`PATIENCE_S` after the first signal it is ended all the same.
    """
    if not _in_main_thread():
        yield
        return
    caught: list[int] = []
    timers: list[threading.Timer] = []
    until = math.inf

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal until
        if time.monotonic() >= until:
            _leave(caught[0], frame)
        if caught or only_finishes(number):
            return
        caught.append(number)
        until = time.monotonic() + PATIENCE_S
        again = threading.Timer(PATIENCE_S, signal.pthread_kill, (threading.main_thread().ident, number))
        again.daemon = True
        again.start()
        timers.append(again)

    before = {number: signal.signal(number, hold) for number in _heard()}
    left = False
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        left = True
        raise
    finally:
        for timer in timers:
            timer.cancel()
        _put_back(before)
        if caught and not left:
            signal.raise_signal(caught[0])


@contextmanager
def closing(code: int) -> Iterator[None]:
    """While the end of a command is written after a signal: another one is heard only after :data:`PATIENCE_S`.

    It then ends the process at once, with this exit code.
    """
    if not _in_main_thread():
        yield
        return
    since = time.monotonic()

    def leave(_number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - since > PATIENCE_S:
            os._exit(code)

    before = {number: signal.signal(number, leave) for number in _heard()}
    try:
        yield
    finally:
        _put_back(before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _heard() -> list[int]:
    """The signals that this process does not ignore."""
    numbers = [*LEAVING, *([INTERRUPT] if _is_worker and INTERRUPT is not None else [])]
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        # None: a handler that was not set from Python; it cannot be put back
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
