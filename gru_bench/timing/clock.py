"""Clocks: seconds of a block of calls, and of single ones."""

import itertools
import time
from collections.abc import Callable
from typing import Protocol

import torch

Call = Callable[[], object]

EMPTY_CALLS, EMPTY_BLOCKS = 2000, 15


class Clock(Protocol):
    """What :mod:`gru_bench.timing.rounds` asks of a clock."""

    def now(self) -> float:
        """Seconds since some moment, for budgets."""

    def block(self, call: Call, number: int) -> float:
        """Seconds that so many calls in a row take together, all their work done."""

    def overhead_s(self) -> float:
        """Seconds a call that the clock's own loop adds."""


class CpuClock:
    """Wall time. A block reads the clock twice, however many calls it holds.

    Args:
        now: Seconds since some moment; a test may give another.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now

    def block(self, call: Call, number: int) -> float:
        turns = itertools.repeat(None, number)
        start = self.now()
        for _ in turns:
            call()
        return self.now() - start

    def overhead_s(self) -> float:
        """The loop's turn and the call of a function that does nothing: the least of several blocks.

        It is taken off every block. What an arm's own wrapper does differently (a partial in place of a function) stays
        in, some ten nanoseconds: 0.5 % of a call of 2 microseconds, and alike in both arms.
        """
        return min(self.block(_nothing, EMPTY_CALLS) for _ in range(EMPTY_BLOCKS)) / EMPTY_CALLS


class CudaClock:
    """Time on the device's current stream, between two events; nothing else is queued before or after a block."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.now = time.perf_counter

    def block(self, call: Call, number: int) -> float:
        stream = torch.cuda.current_stream(self.device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.device)
        start.record(stream)
        for _ in range(number):
            call()
        end.record(stream)
        torch.cuda.synchronize(self.device)
        return start.elapsed_time(end) / 1000

    def overhead_s(self) -> float:
        """None: the loop runs while the device works. Calls so small that it does not are bound by Python anyway."""
        return 0.0


def clock_of(device: torch.device) -> Clock:
    """The clock for what runs there."""
    return CudaClock(device) if device.type == "cuda" else CpuClock()


def single_calls(
    call: Call, number: int, device: torch.device, *, now: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each of so many calls, one after the other, as the caller waits for them: on CUDA, until done.

    The time that reading the clock takes is taken off. For quantiles; a comparison takes blocks.
    """
    on_cuda = device.type == "cuda"
    reading = min(-now() + now() for _ in range(1000))
    taken: list[float] = []
    for _ in range(number):
        start = now()
        call()
        if on_cuda:
            torch.cuda.synchronize(device)
        taken.append(max(0.0, now() - start - reading))
    return taken


def _nothing() -> None:
    pass
