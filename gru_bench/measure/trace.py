"""What torch's profiler recorded, as plain values: which operators ran, how often, and for how long by themselves."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.autograd import DeviceType

LISTED = 15
"""Operators that an audit lists; the rest is one line."""


@dataclass(frozen=True)
class Event:
    """One call. Times in nanoseconds."""

    name: str
    start: int
    end: int
    thread: int = 0
    on_device: bool = False


@dataclass(frozen=True)
class Operator:
    """All calls of one name. ``share`` is its part of the time, without that of the calls inside it: 0 .. 1."""

    name: str
    calls: int
    share: float


@dataclass(frozen=True)
class Audit:
    """Which kernel ran for a module, shape and floating type.

    Attributes:
        kernel: The short name.
        shape: (T, B, D).
        dtype: Such as ``float32``.
        device: Such as ``cpu``.
        ragged: Whether the sequences differed in length.
        operators: All that ran, the costliest first: CUDA kernels on a GPU, otherwise operators of the CPU.
    """

    kernel: str
    shape: tuple[int, int, int]
    dtype: str
    device: str
    ragged: bool
    operators: tuple[Operator, ...]

    def text(self) -> str:
        """A few readable lines."""
        T, B, D = self.shape
        lengths = ", sequences of unequal length" if self.ragged else ""
        lines = [
            f"kernel: {self.kernel}",
            f"seen in one forward and backward pass of T={T} B={B} D={D}{lengths}, {self.dtype} on {self.device}",
            "",
            "share of time  calls  operator",
        ]
        listed, rest = self.operators[:LISTED], self.operators[LISTED:]
        if rest:
            others = f"{len(rest)} others"
            listed += (Operator(others, sum(op.calls for op in rest), sum(op.share for op in rest)),)
        lines += [f"{100 * op.share:11.1f} %  {op.calls:5}  {op.name}" for op in listed]
        return "\n".join(lines) + "\n"


def readable(kineto_events: Iterable[Any]) -> Iterator[Event]:
    """The profiler's own events, without what it only copies to the device's time line."""
    for event in kineto_events:
        on_device = event.device_type() != DeviceType.CPU
        if not (on_device and event.is_user_annotation()):
            yield Event(event.name(), event.start_ns(), event.end_ns(), event.start_thread_id(), on_device)


def operators(events: Iterable[Event]) -> tuple[Operator, ...]:
    """Calls and share of time by name, the costliest first. On a GPU its own kernels count, not the waiting CPU."""
    seen = list(events)
    on_device = any(event.on_device for event in seen)
    chosen = [event for event in seen if event.on_device == on_device]
    calls: dict[str, int] = defaultdict(int)
    spent: dict[str, int] = defaultdict(int)
    for event, own in own_times(chosen):
        name = short(event.name)
        calls[name] += 1
        spent[name] += own
    total = sum(spent.values()) or 1
    ordered = sorted(calls, key=lambda name: (-spent[name], name))
    return tuple(Operator(name, calls[name], spent[name] / total) for name in ordered)


def own_times(events: Iterable[Event]) -> Iterator[tuple[Event, int]]:
    """Each event with its duration less that of the events directly inside it, on the same thread."""
    open_events: list[tuple[Event, int]] = []  # with the time inside so far
    for event in sorted(events, key=lambda event: (event.on_device, event.thread, event.start, -event.end)):
        while open_events and not encloses(open_events[-1][0], event):
            yield close(open_events)
        open_events.append((event, 0))
    while open_events:
        yield close(open_events)


def encloses(outer: Event, inner: Event) -> bool:
    """Whether ``inner``, which starts no earlier, ran within ``outer``. Kernels of a GPU lie beside each other."""
    return not inner.on_device and outer.thread == inner.thread and inner.end <= outer.end


def close(open_events: list[tuple[Event, int]]) -> tuple[Event, int]:
    """Take the innermost event away and count its time in the one around it."""
    event, inside = open_events.pop()
    duration = event.end - event.start
    if open_events:
        around, so_far = open_events[-1]
        open_events[-1] = (around, so_far + duration)
    return event, duration - inside


def short(name: str) -> str:
    """A name without what differs from one compilation to the next; autograd's own calls as one."""
    if name.startswith("## Call CompiledFxGraph"):
        return "CompiledFxGraph"
    return "autograd engine" if name.startswith("autograd::engine::evaluate_function") else name
