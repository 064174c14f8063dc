"""Peak memory of one training step, in exact tensor bytes."""

import dataclasses
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.profiler import profile


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
    """

    def __init__(self, device: torch.device, live_bytes: int = 0, /, *, gradients_of: nn.Module | None = None) -> None:
        self.device = device
        self.live_bytes = live_bytes
        self.gradients_of = gradients_of
        self.peak_bytes: int | None = None
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
            copied = sum(grad.nbytes for grad in self._held)
            self.peak_bytes = self.live_bytes - copied + peak_of(self._profile)
        self._profile = None
        self._held.clear()


def peak_of(profiled: Any) -> int:
    """Largest value of the running sum of allocations minus releases on the CPU, at least 0.

    Args:
        profiled: A ``torch.autograd.profiler.profile`` that has ended.
    """
    events = [
        (event.start_ns(), event.nbytes())
        for event in profiled.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    ]
    alive = peak = 0
    for _, nbytes in sorted(events, key=lambda event: event[0]):
        alive += nbytes
        peak = max(peak, alive)
    return peak


def live_bytes(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> int:
    """Bytes that are alive before a step: parameters, buffers, gradients, optimizer state, and the batch.

    Tensors that share their storage are counted once.

    Args:
        model: The model.
        optimizer: Its optimizer.
        batch: A dataclass whose fields hold tensors.
    """
    sizes = {}
    for tensor in _tensors(model, optimizer, batch):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> Iterator[Tensor]:
    for parameter in model.parameters():
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad
    yield from model.buffers()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            yield value
