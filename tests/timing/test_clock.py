"""The clocks: what they wait for, what they read, and what they take off."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from made_cells import CPU

from gru_bench.timing.clock import CpuClock, CudaClock, clock_of, single_calls

CUDA = torch.device("cuda")


class Device:
    """Stands in for a card: calls queue work, which is done when somebody waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        self.queued_s = self.time = 0.0
        device = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing
                self.at = 0.0

            def record(self, stream: str) -> None:
                device.happened.append(f"record on {stream}")
                self.at = device.time + device.queued_s

            def elapsed_time(self, end: Any) -> float:
                assert device.queued_s == 0, "the end was not waited for"
                return 1000 * (end.at - self.at)

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronize)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: "stream")

    def synchronize(self, _: object) -> None:
        self.happened.append("wait")
        self.time += self.queued_s
        self.queued_s = 0.0

    def call(self) -> None:
        self.happened.append("call")
        self.queued_s += 0.25


def test_a_block_on_a_card_lies_between_two_events_with_nothing_queued_before(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    device.queued_s = 5.0  # somebody else's work
    assert CudaClock(CUDA).block(device.call, 3) == 0.75
    assert device.happened == ["wait", "record on stream", "call", "call", "call", "record on stream", "wait"]
    assert isinstance(clock_of(CUDA), CudaClock)
    assert isinstance(clock_of(CPU), CpuClock)


def ticking(device: Device | None = None) -> tuple[Callable[[], float], Callable[[float], None]]:
    """A clock of which each reading takes a quarter of a second, and work that makes time pass."""
    time = [0.0]

    def now() -> float:
        time[0] += 0.25
        return time[0] + (device.time if device else 0.0)

    def work(seconds: float) -> None:
        time[0] += seconds

    return now, work


def test_single_calls_have_the_clocks_own_time_taken_off() -> None:
    now, work = ticking()
    lengths: Iterator[float] = iter([1.0, 8.0, 2.0])
    assert single_calls(lambda: work(next(lengths)), 3, CPU, now=now) == [1.0, 8.0, 2.0]


def test_single_calls_on_a_card_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    now, _ = ticking(device)
    assert single_calls(device.call, 2, CUDA, now=now) == [0.25, 0.25]
    assert device.happened == ["call", "wait"] * 2
