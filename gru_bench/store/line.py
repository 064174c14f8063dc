"""Calls to a store in a thread of their own, so that none holds up the run: MLflow and its drivers wait for minutes.

SQLite waits for a lock inside of C, urllib3 retries, a name is looked up: none of them ends with a signal. Whoever
waits here waits in Python, for as long as it wants, and Ctrl-C acts.
"""

import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from gru_bench.store.signals import deferred_signals

HOLD_S = 1.0
"""For so long a signal waits for a call that is on its way: as a rule it takes milliseconds."""
REFUSALS = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
    }
)
"""MLflow's codes for what it will never take. All else may be another matter in a minute."""

Result = TypeVar("Result")


class StoreAway(Exception):
    """The store does not answer, or takes nothing for now; the message says why in a line."""


def is_away(error: BaseException) -> bool:
    """Whether an error is the store's, and not that of what it was asked."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in REFUSALS
    return isinstance(error, (StoreAway, OSError, SQLAlchemyError, sqlite3.Error))


class Call:
    """One call, perhaps not yet over."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._done = threading.Event()
        self._begun = threading.Lock()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """In the thread: make the call, and keep how it went."""
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error
        self._done.set()

    def cancel(self) -> None:
        """Let it never be made, unless it is on its way already."""
        if self._begun.acquire(blocking=False):
            self._error = StoreAway("not asked any more")
            self._done.set()

    def is_over(self, within_s: float = 0.0) -> bool:
        """Whether it is over, or will be within so many seconds. Signals act after ``HOLD_S``."""
        with deferred_signals():
            over = self._done.wait(min(within_s, HOLD_S))
        return over or (within_s > HOLD_S and self._done.wait(within_s - HOLD_S))

    def result(self) -> Any:
        """What a call returned that is over.

        Raises:
            BaseException: What it raised.
        """
        if self._error is not None:
            raise self._error
        return self._result


class Line:
    """One call after the other, in a thread that begins with the first one; a process that was forked has its own.

    Args:
        idle: Called in the thread when nothing was asked for so many seconds; must not raise.
        every_s: These seconds.
    """

    def __init__(self, idle: Callable[[], None], every_s: float) -> None:
        self._idle, self._every_s = idle, every_s
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._process = 0
        self._last: Call | None = None

    @property
    def is_free(self) -> bool:
        """Whether no call is on its way."""
        return self._process != os.getpid() or self._last is None or self._last.is_over()

    def start(self, function: Callable[[], Any]) -> Call:
        """Make a call as soon as those before it are over, without waiting for it."""
        if self._process != os.getpid():
            self._process, self._calls = os.getpid(), queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self._calls,), name="store", daemon=True).start()
        self._last = Call(function)
        self._calls.put(self._last)
        return self._last

    def ask(self, function: Callable[[], Result], within_s: float) -> Result:
        """Make a call and wait for what it returns.

        Raises:
            StoreAway: It is not over within so many seconds. One that is on its way goes on, and later ones wait.
            Exception: What it raised.
        """
        call = self.start(function)
        try:
            if not call.is_over(within_s):
                raise StoreAway(f"no answer within {within_s:g} s")
        except BaseException:
            call.cancel()
            raise
        result: Result = call.result()
        return result

    def _work(self, calls: "queue.SimpleQueue[Call]") -> None:
        while True:
            try:
                calls.get(timeout=self._every_s).run()
            except queue.Empty:
                self._idle()
