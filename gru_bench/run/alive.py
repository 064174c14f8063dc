"""A run's signs of life, which the process that started its worker sees without asking.

In any other process :func:`beat` and :func:`begin` do nothing.
"""

import ctypes
import time
from multiprocessing.sharedctypes import RawValue


class Sign:
    """Memory that a worker writes and its driver reads. Times are of ``time.monotonic()``, which all processes share.

    Attributes:
        beat: When the worker was last seen alive.
        taken: Whether it has taken the job that it was handed.
        begun: When its run began, after all that it had to wait for; 0 before.
    """

    def __init__(self) -> None:
        self._beat = RawValue(ctypes.c_double, time.monotonic())
        self._begun = RawValue(ctypes.c_double, 0.0)
        self._taken = RawValue(ctypes.c_bool, False)

    @property
    def beat(self) -> float:
        return float(self._beat.value)

    @property
    def begun(self) -> float:
        return float(self._begun.value)

    @property
    def taken(self) -> bool:
        return bool(self._taken.value)

    def reset(self) -> None:
        """By the driver, before it hands out a run."""
        self._beat.value, self._begun.value, self._taken.value = time.monotonic(), 0.0, False

    def show(self) -> None:
        """By the worker, at each sign of life."""
        self._beat.value = time.monotonic()

    def take(self) -> None:
        """By the worker, when it has a job."""
        self._taken.value = True
        self.show()

    def begin(self) -> None:
        """By the worker, when a run begins."""
        self._begun.value = self._beat.value = time.monotonic()


_own: Sign | None = None


def is_seen_by(sign: Sign) -> None:
    """Make this process a worker, whose driver sees it so."""
    global _own
    _own = sign


def beat() -> None:
    """A sign of life: to be called wherever a run may take long. Takes less than a microsecond."""
    if _own is not None:
        _own.show()


def begin() -> None:
    """The run begins, after all that it had to wait for."""
    if _own is not None:
        _own.begin()
