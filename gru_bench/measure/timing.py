"""A clock for training steps."""

import time
from types import TracebackType
from typing import Self

import torch


class StepClock:
    """Times training steps, one ``with`` block a step; calling the clock gives the clock, so ``with clock():`` works.

    On a CPU the times are those of ``time.perf_counter``. On CUDA each step is enclosed by a pair of events on the
    current stream, which are resolved when the times are read: measuring a step does not wait for the device.
    A step that raises is not counted.

    Args:
        device: Where the steps run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._taken: list[float] = []
        self._started = 0.0
        self._first: torch.cuda.Event | None = None
        self._unread: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            self._first = self._event()
        else:
            self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._first is None:
            self._taken.append(time.perf_counter() - self._started)
        else:
            self._unread.append((self._first, self._event()))

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def seconds(self, skip: int = 0) -> list[float]:
        """Seconds of each step so far, in order, without the first ``skip``. On CUDA this waits for the last step."""
        if self._unread:
            self._unread[-1][1].synchronize()
            self._taken.extend(first.elapsed_time(last) / 1000 for first, last in self._unread)
            self._unread.clear()
        return self._taken[skip:]
