"""What the peak memory of one call is made of: parameters, gradients, optimizer state, activations."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gru_bench.backends.native import workspace
from gru_bench.measure.memory import (
    Change,
    PeakMemory,
    gradients_of,
    live_bytes,
    optimizer_state,
    parameters_of,
    storages,
)


@dataclass(frozen=True)
class Split:
    """Bytes at the moment of the peak; the four parts add up to it.

    Attributes:
        peak: All of it.
        parameters: Parameters and buffers of the model.
        gradients: Gradients of parameters that exist at that moment: at the end of a forward pass those of the step
            before, if they are still there, in a backward pass those that it has made so far.
        optimizer: State of the optimizer.
        activations: The rest: the batch, all that is kept for the backward pass, and whatever is there in passing.
    """

    peak: int
    parameters: int
    gradients: int
    optimizer: int
    activations: int


def split(
    step: Callable[[], object],
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    inputs: Sequence[Tensor] = (),
) -> Split:
    """Run one call and say what its peak of tensor bytes is made of.

    On a CPU from the profiler's memory events, to the byte. On CUDA from the allocator's statistics, which know the
    height of the peak and not its moment: gradients and optimizer state are then those after the call. What else this
    process held there before the call, such as another model, is left out.

    Args:
        step: The call, as a training step or a forward pass. The first of all makes the optimizer's state, which then
            counts as the rest: call it once before.
        model: Whose parameters and gradients are told apart.
        optimizer: Whose state is; None without.
        inputs: Tensors alive before the call that it reads: the batch, a state. They may share storage.
    """
    workspace.clear()  # memory kept there would be used again without being counted
    device = next((tensor.device for tensor in (*parameters_of(model), *inputs)), torch.device("cpu"))
    of_parameters = storages(parameters_of(model))
    of_optimizer = without(storages(optimizer_state(optimizer)), of_parameters)
    live = live_bytes(model, optimizer, inputs)
    others = max(0, torch.cuda.memory_allocated(device) - live) if device.type == "cuda" else 0
    with PeakMemory(device, live, gradients_of=model) as meter:
        step()
    assert meter.peak_bytes is not None
    peak = meter.peak_bytes - others
    of_gradients = without(storages(gradients_of(model)), of_parameters)
    if device.type == "cuda":
        gradients = sum(of_gradients.values())
        of_optimizer = without(storages(optimizer_state(optimizer)), of_parameters)
    else:
        gradients = bytes_at_peak(meter.changes, meter.old_gradients, of_gradients)
    parameters, state = sum(of_parameters.values()), sum(of_optimizer.values())
    rest = peak - parameters - gradients - state
    return Split(peak, parameters, gradients, state, rest)


def without(found: dict[int, int], others: Collection[int]) -> dict[int, int]:
    """Storages that are not among the others."""
    return {address: nbytes for address, nbytes in found.items() if address not in others}


def bytes_at_peak(changes: Iterable[Change], first: Collection[int], last: Collection[int]) -> int:
    """Bytes of certain blocks when the running sum of all is largest, the first time that it is.

    Addresses are used again and again, so blocks are told apart by when they were there.

    Args:
        changes: Allocations and releases in order.
        first: Addresses whose first block of all counts.
        last: Addresses whose block counts that is never released.
    """
    blocks: list[Block] = []
    open_blocks: dict[int, Block] = {}
    seen: set[int] = set()
    alive = peak = peak_index = 0
    for index, change in enumerate(changes):
        alive += change.nbytes
        if alive > peak:
            peak, peak_index = alive, index
        if change.nbytes > 0:
            block = Block(change.nbytes, index, counts=change.address in first and change.address not in seen)
            seen.add(change.address)
            open_blocks[change.address] = block
            blocks.append(block)
        elif change.address in open_blocks:
            open_blocks.pop(change.address).end = index
    for address in last:
        if address in open_blocks:
            open_blocks[address].counts = True
    return sum(
        block.nbytes
        for block in blocks
        if block.counts and block.start <= peak_index and (block.end is None or peak_index < block.end)
    )


@dataclass
class Block:
    """One piece of memory, from the change that made it to the one that released it."""

    nbytes: int
    start: int
    counts: bool
    end: int | None = None
