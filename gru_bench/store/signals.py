"""SIGTERM and Ctrl-C: both unwind the stack like exceptions, and neither interrupts the writing of a run's end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM

LEAVING = tuple(number for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", None)) if number)
"""Signals that ask this process to end; a scheduler of a cluster sends SIGUSR1 some time before it ends a job."""


class Preempted(SystemExit):
    """The process is asked to end, and its run can go on from a checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(SIGTERM_EXIT_CODE)
        self.step = step


received: int | None = None
"""The signal that asked this process to end.

Raising from the handler is not enough: Python drops an exception that is raised inside a destructor or a weak
reference's callback, and SQLAlchemy runs many of those.
"""


_outside: list[dict[int, Any]] = []
"""The handlers that :func:`at_next_step` has put aside."""


def raise_on_signals() -> None:
    """Turn SIGTERM into ``SystemExit(143)`` and SIGINT into ``KeyboardInterrupt``, so that open runs are closed.

    Does nothing outside the main thread.
    """
    global received
    if threading.current_thread() is not threading.main_thread():
        return
    received = None
    for number in LEAVING:
        signal.signal(number, _leave)


def check_signals() -> None:
    """Raise again what a handler raised and Python dropped; a long loop calls this now and then."""
    if received is not None:
        _leave(received, None)


def _leave(number: int, _frame: FrameType | None) -> None:
    global received
    received = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(SIGTERM_EXIT_CODE)


@contextmanager
def at_next_step() -> Iterator[None]:
    """Inside, the first signal waits for :func:`check_signals`, so that no step is cut in two; a second acts now."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        global received
        if received is not None:
            _leave(number, frame)
        received = number

    before = {number: signal.signal(number, note) for number in LEAVING}
    _outside.append(before)
    try:
        yield
    finally:
        _outside.pop()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def at_once() -> Iterator[None]:
    """Inside :func:`at_next_step`, around what no step is cut by: signals act as outside, and one that waits acts now.

    Elsewhere it only looks for a signal that was dropped.
    """
    check_signals()
    if not _outside or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in _outside[-1].items() if handler is not None}
    try:
        check_signals()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is done, then deliver the first one.

    A second Ctrl-C while a run is being closed would otherwise leave it RUNNING for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in LEAVING}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python; it cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if caught:
            signal.raise_signal(caught[0])
