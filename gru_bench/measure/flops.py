"""Arithmetic of a layer and of a whole model: the products, two operations for each multiply-add.

What is left out: everything elementwise (gates, biases, norms, the update of the weights), which is of order H a token
where the products are of order H squared; and an embedding, which looks up and multiplies nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from gru_bench.backends.base import Stack
from gru_bench.backends.loop import LoopStack
from gru_bench.cells.base import Cell
from gru_bench.errors import UserError


def layer_gflop(cells: Sequence[Cell], T: int, B: int, *, backward: bool, input_gradient: bool) -> float:
    """Billions of operations of one call of stacked layers in one direction, by formula.

    Forward, each token meets each entry of W and U once. Backward, twice: for the gradient of what the entry was
    multiplied with, and for its own. The gradient of the state before the first step is counted though a run that
    starts from zeros does not need it, since compiled code computes it anyway: it is at most one part in 3 T.

    Args:
        cells: One cell a layer, the first at the input.
        T: Steps.
        B: Sequences. T * B tokens are computed, padding among them.
        backward: Count the backward pass too.
        input_gradient: Whether the backward pass goes on to what the first layer reads: not where this is the data.
    """
    return T * B * sum(token_flops(cells, backward=backward, input_gradient=input_gradient)) / 1e9


def token_flops(cells: Sequence[Cell], *, backward: bool, input_gradient: bool) -> list[int]:
    """Operations a token of each layer; the arguments are those of :func:`layer_gflop`."""
    found = []
    for layer, cell in enumerate(cells):
        flops = 2 * cell.num_products * (3 if backward else 1)
        if backward and layer == 0 and not input_gradient:
            flops -= 2 * cell.W.numel()
        found.append(flops)
    return found


def counted_gflop(call: Callable[[], object]) -> float:
    """Billions of operations that torch's own counter sees while ``call`` runs, a backward pass among them.

    The counter knows torch's operators one by one, so layers must run on ``backend=loop``: what happens inside
    compiled code or a vendor's fused operator it takes for nothing. Of a model of a run,
    ``run.build.ModelBuilder.twin`` makes such a copy.

    Raises:
        UserError: A stack of another backend ran.
    """
    with FlopCounterMode(display=False) as counter, _only_loops():
        call()
    return counter.get_total_flops() / 1e9


@contextmanager
def _only_loops() -> Iterator[None]:
    def refuse(module: nn.Module, _: object) -> None:
        if isinstance(module, Stack) and type(module) is not LoopStack:
            raise UserError(
                f"counted_gflop: torch's counter does not see into {type(module).__name__}; "
                "valid: a model whose layers run on backend=loop"
            )

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()
