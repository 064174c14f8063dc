"""One layer of several models over a sequence of each, as one differentiable function.

Each model's part is computed as :mod:`gru_bench.backends.native.layer` computes it alone, to the last bit. What is
saved is the way through Python and autograd, which for a small layer takes longer than the arithmetic.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from gru_bench.backends.base import State, check_input, refuse_second_derivative
from gru_bench.backends.native import layer
from gru_bench.cells.base import Cell


class SeveralLayers:
    """The cells of several models, all of one kind and size, one layer each.

    Args:
        cells: Of each model; in ``float32`` or ``float64`` on the CPU. Their parameters keep their memory.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        first = self.cells[0]
        self.num_states, self.input_size = len(first.states), first.input_size
        self.dtype = first.W.dtype
        self.compiled = layer.kernel(first.name, self.dtype)
        self.parameters: list[Tensor | None] = []
        for cell in self.cells:
            apart = [parameter for name, parameter in cell.named_parameters() if name not in ("W", "b", "U")]
            self.parameters += [cell.W, cell.b, cell.U, apart[0] if apart else None]

    def run(
        self, inputs: Sequence[Tensor], states: Sequence[State | None], lengths: Sequence[Tensor | None]
    ) -> tuple[tuple[Tensor, ...], list[State]]:
        """Run each model's layer.

        Args:
            inputs: (T, B, D) of each; T and B may differ.
            states: Of each, one (B, H) tensor for each of the cell's states, or None for zeros. They get no gradient.
            lengths: (B,) of each, or None for T.

        Returns:
            Outputs (T, B, H) of each, and the states at each sequence's last step, which are not differentiated.
        """
        lengths = [None if one is None else one.to("cpu", torch.int64).contiguous() for one in lengths]
        for cell, x_TBD, state, one in zip(self.cells, inputs, states, lengths, strict=True):
            check_input(x_TBD, one)
            if one is not None or state is not None or not self.is_fitting(x_TBD):
                layer.check_fit(cell, x_TBD, state, one)
        starts = [(*(state or ()), None, None)[:2] for state in states]
        finals: list[State] = []
        inputs = [cast(Tensor, layer.as_it_lies(x_TBD)) for x_TBD in inputs]
        outputs = _Several.apply(self.compiled, self.num_states, lengths, starts, finals, *inputs, *self.parameters)
        return outputs, finals

    def is_fitting(self, x_TBD: Tensor) -> bool:
        """What :func:`~gru_bench.backends.native.layer.check_fit` asks of an input; the parameters stay as they are."""
        return x_TBD.shape[2] == self.input_size and x_TBD.dtype is self.dtype and x_TBD.device.type == "cpu"


class _Several(torch.autograd.Function):
    """The compiled forward pass of each with its compiled backward pass. Once: its gradient has no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        compiled: layer.Kernel,
        num_states: int,
        lengths: Sequence[Tensor | None],
        starts: Sequence[tuple[Tensor | None, ...]],
        finals: list[State],
        *tensors: Tensor | None,
    ) -> Any:
        number = len(lengths)
        outputs: list[Tensor] = []
        kept: list[Tensor | None] = []
        for at in range(number):
            four = tensors[number + 4 * at : number + 4 * at + 4]
            start = tuple(layer.as_it_lies(one) for one in starts[at])
            operands = (tensors[at], *four, *start)
            h_TBH, *final, saved, c_NH = layer.forward_pass(compiled, num_states, lengths[at], operands, keep=True)
            outputs.append(h_TBH)
            finals.append(tuple(final))
            kept += [lengths[at], saved, c_NH, h_TBH, *operands]
        ctx.compiled, ctx.num_states, ctx.number = compiled, num_states, number
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*kept)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        refuse_second_derivative("bptt")
        every = cast(tuple[Tensor | None, ...], ctx.saved_tensors)
        size, wanted = len(every) // ctx.number, ctx.needs_input_grad[5:]
        dinputs: list[Tensor | None] = []
        dparameters: list[Tensor | None] = []
        for at, grad in enumerate(grads):
            if grad is None:  # its loss was not computed
                dinputs.append(None)
                dparameters += [None] * 4
                continue
            kept = every[size * at : size * at + size]
            dx, *found = layer.backward_pass(ctx.compiled, ctx.num_states, kept, (grad,), wants_dx=wanted[at])
            dinputs.append(dx)
            dparameters += found[:4]
        return *(None,) * 5, *dinputs, *dparameters
