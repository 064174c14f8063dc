"""Which kernel ran, as the profiler saw it: not what was asked for."""

import bisect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile, record_function

from gru_bench.backends.base import Backend, Stack
from gru_bench.measure.trace import Audit, Event, operators, readable

STACK = "gru_bench::stack"
"""How the audit marks the forward call of each stack of layers."""


def kernel_name(
    encoder_or_stack: nn.Module,
    backend: Backend,
    input_size: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    num_steps: int = 2,
    batch_size: int = 2,
    autocast: torch.dtype | None = None,
) -> str:
    """Run forward and backward and name what the profiler saw: the short form of :func:`audit`.

    Args:
        encoder_or_stack: An ``Encoder`` or a ``Stack``, already on ``device`` and in ``dtype``.
        backend: Made its stacks, and knows its kernels by their marks.
        input_size: D.
        device: Where it runs.
        dtype: In which floating type it runs.
        num_steps: T. Kernels may be chosen by shape.
        batch_size: B.
        autocast: Floating type of mixed precision, or None; ``dtype`` is then that of the parameters.

    Returns:
        A name that the backend gives to one of its kernels, or ``not known (backend NAME)``; several, joined by
        `` + ``, where parts ran on different ones.
    """
    shape = (num_steps, batch_size, input_size)
    return name_of(recorded(encoder_or_stack, shape, device, dtype, None, autocast), backend)


def audit(
    encoder_or_stack: nn.Module,
    backend: Backend,
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    *,
    lengths: Tensor | None = None,
    autocast: torch.dtype | None = None,
) -> Audit:
    """Run forward and backward on random input and name the kernel that ran, and which operators took the time.

    The module's gradients, its mode and the random state are left as they were.

    Args:
        encoder_or_stack: As for :func:`kernel_name`.
        backend: Likewise.
        shape: (T, B, D).
        device: Where it runs.
        dtype: In which floating type it runs.
        lengths: (B,) where the sequences differ in length.
        autocast: As for :func:`kernel_name`.
    """
    events = recorded(encoder_or_stack, shape, device, dtype, lengths, autocast)
    name = str(dtype).removeprefix("torch.")
    if autocast is not None:
        name = f"{str(autocast).removeprefix('torch.')} products by autocast, parameters in {name}"
    return Audit(name_of(events, backend), shape, name, device.type, lengths is not None, operators(events))


def kernel_of_call(call: Callable[[], object], module: nn.Module, backend: Backend, device: torch.device) -> str:
    """The name, as :func:`kernel_name` gives it, of what runs when something is called that uses a module's layers.

    Args:
        call: Called twice.
        module: Whose stacks it uses.
        backend: Made them.
        device: Where they run.
    """
    with stacks_marked(module):
        return name_of(events_of(call, device), backend)


def recorded(
    module: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    lengths: Tensor | None,
    autocast: torch.dtype | None,
) -> list[Event]:
    """What the profiler saw of one forward and backward pass."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    x_TBD = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)

    def run() -> None:
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            h_TBH, _ = module(x_TBD, None, lengths)
        torch.autograd.grad(cast(Tensor, h_TBH).sum(), parameters, allow_unused=True)

    on_cuda = device.type == "cuda"
    # dropout between layers draws numbers, which must not shift those of the training that follows
    with torch.random.fork_rng(devices=[device] if on_cuda else []), torch.enable_grad(), stacks_marked(module):
        return events_of(run, device)


def events_of(call: Callable[[], object], device: torch.device) -> list[Event]:
    """What the profiler sees of a call when it is made for the second time."""
    on_cuda = device.type == "cuda"
    call()  # the first call of all compiles, plans and allocates
    # without Kineto torch times a GPU's work with events of its own and never learns the names of its kernels
    with profile(use_cpu=True, use_device="cuda" if on_cuda else None, use_kineto=on_cuda) as profiled:
        call()
        if on_cuda:
            torch.cuda.synchronize(device)
    return list(readable(profiled.kineto_results.events()))


@contextmanager
def stacks_marked(module: nn.Module) -> Iterator[None]:
    """Let the forward call of each stack inside appear in the profile as :data:`STACK`."""
    marks: list[Any] = []

    def enter(*_: object) -> None:
        marks.append(record_function(STACK))
        marks[-1].__enter__()

    def leave(*_: object) -> None:
        marks.pop().__exit__(None, None, None)

    handles = []
    for part in module.modules():
        if isinstance(part, Stack):
            handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def name_of(events: Iterable[Event], backend: Backend) -> str:
    """The short name of what ran, in the order of the backend's marks. A pure function of the events.

    Where marked events lie within each other, the innermost name the kernel: a library's call lies inside the
    operator of torch.nn that asked for it.
    """
    seen = list(events)
    host = [event for event in seen if not event.on_device]
    on_device = [event.name for event in seen if event.on_device]
    known = [event for event in host if any(mark.fits(event.name) for mark in backend.marks)]
    names: list[str] = []
    for mark in backend.marks:
        others = [event for event in known if not mark.fits(event.name)]
        found = [event.name for event in known if mark.fits(event.name) and not any_inside(event, others)]
        names += sorted({mark.kernel_of(name, on_device) for name in found})
    if not names or any(event.name == STACK and not any_inside(event, known) for event in host):
        names.append(f"not known (backend {backend.name})")
    return " + ".join(dict.fromkeys(names))


def any_inside(outer: Event, events: list[Event]) -> bool:
    """Whether one of the events ran within ``outer``, on the same thread."""
    starts = sorted(event.start for event in events if event.thread == outer.thread)
    index = bisect.bisect_left(starts, outer.start)
    return index < len(starts) and starts[index] <= outer.end
