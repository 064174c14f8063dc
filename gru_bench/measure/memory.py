"""Peak memory of a block of code, in exact tensor bytes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.autograd.profiler import profile

from gru_bench.backends.native import workspace


@dataclass(frozen=True)
class Change:
    """One allocation on the CPU, or one release with its bytes below zero. ``ns`` is when, in nanoseconds."""

    ns: int
    address: int
    nbytes: int


class PeakMemory:
    """Measures the peak of the tensor bytes that are alive while one training step runs.

    On a CPU the profiler's memory events give every allocation and release of the block, those inside fused kernels
    too, which a dispatch mode would miss. On CUDA the allocator's own statistics are read; they cover everything of
    this process on that device.

    The profiler does not see the release of a tensor that was allocated before the block. A step releases the
    gradients of the step before it, so these are allocated anew inside.

    Args:
        device: Where the step runs.
        live_bytes: Bytes alive before the block; see :func:`live_bytes`. Not used on CUDA.
        gradients_of: The model whose old gradients the step may release, and which ``live_bytes`` counted.

    Attributes:
        peak_bytes: The peak, or None before the block has ended or when it raised.
        changes: On a CPU, all allocations and releases in order.
        old_gradients: On a CPU, addresses at which the old gradients were laid anew.
    """

    def __init__(self, device: torch.device, live_bytes: int = 0, /, *, gradients_of: nn.Module | None = None) -> None:
        self.device = device
        self.live_bytes = live_bytes
        self.gradients_of = gradients_of
        self.peak_bytes: int | None = None
        self.changes: list[Change] = []
        self.old_gradients: set[int] = set()
        self._profile: Any = None
        self._held: list[Tensor] = []

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        self._profile = profile(use_cpu=True, profile_memory=True)
        self._profile.__enter__()
        for parameter in self.gradients_of.parameters() if self.gradients_of is not None else ():
            if parameter.grad is not None:
                self._held.append(parameter.grad)  # released after the block, where nobody counts
                parameter.grad = parameter.grad.clone()
                self.old_gradients.update(storages([parameter.grad]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device) if kind is None else None
            return
        self._profile.__exit__(kind, error, trace)
        if kind is None:
            self.changes = changes_of(self._profile)
            copied = sum(grad.nbytes for grad in self._held)
            self.peak_bytes = self.live_bytes - copied + peak_of(self.changes)
        self._profile = None
        self._held.clear()


def changes_of(profiled: Any) -> list[Change]:
    """What a profiler saw come and go on the CPU, in order.

    Args:
        profiled: A ``torch.autograd.profiler.profile(profile_memory=True)`` that has ended.
    """
    found: list[Change] = []
    unread = list(profiled.kineto_results.experimental_event_tree())
    while unread:
        event = unread.pop()
        unread.extend(event.children)
        if event.tag == _EventType.Allocation:
            _, fields = event.typed
            if fields.device.type == "cpu":
                found.append(Change(event.start_time_ns, fields.ptr, fields.alloc_size))
    return sorted(found, key=lambda change: change.ns)


def peak_of(changes: Iterable[Change]) -> int:
    """Largest value of the running sum of allocations minus releases, at least 0."""
    alive = peak = 0
    for change in changes:
        alive += change.nbytes
        peak = max(peak, alive)
    return peak


def kept_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that are alive after a call, with what it returned, and were not before.

    Of a layer's forward pass: its output, and all that it keeps for the backward pass. On a CPU as the profiler saw
    them come and go, on CUDA as the allocator counts them. What our compiled code laid aside to use it again does not
    count.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        returned = call()
        found = torch.cuda.memory_allocated(device) - before
    else:
        workspace.clear()  # what is taken from there is not seen
        with profile(use_cpu=True, profile_memory=True) as profiled:
            returned = call()
            workspace.clear()  # what is laid there has not been released
        found = sum(change.nbytes for change in changes_of(profiled))
    del returned  # alive until here
    return found


def live_bytes(model: nn.Module, optimizer: torch.optim.Optimizer | None, inputs: Iterable[Tensor]) -> int:
    """Bytes that are alive before a step: parameters, buffers, gradients, optimizer state, and the batch.

    Tensors that share their storage are counted once.

    Args:
        model: The model.
        optimizer: Its optimizer, if any.
        inputs: The tensors of the batch.
    """
    tensors = [*parameters_of(model), *gradients_of(model), *optimizer_state(optimizer), *inputs]
    return sum(storages(tensors).values())


def parameters_of(model: nn.Module) -> Iterator[Tensor]:
    """Parameters, and buffers with them: what the model itself holds."""
    yield from model.parameters()
    yield from model.buffers()


def gradients_of(model: nn.Module) -> Iterator[Tensor]:
    """Gradients that are there now."""
    yield from (parameter.grad for parameter in model.parameters() if parameter.grad is not None)


def optimizer_state(optimizer: torch.optim.Optimizer | None) -> Iterator[Tensor]:
    """What an optimizer remembers, such as Adam's two averages."""
    for state in optimizer.state.values() if optimizer is not None else ():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes of each storage by its address: what shares one is there once."""
    found = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    return found
