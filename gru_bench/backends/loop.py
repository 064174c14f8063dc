"""The readable backend: a Python loop over the cell's own step, differentiated by autograd. The reference of all."""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.backends.base import Backend, Mark, Stack, State, check_input, marked, zero_padding
from gru_bench.cells.base import Cell

LOOP = "gru_bench::loop"


class LoopStack(Stack):
    """Each layer: one input projection for all steps, then one ``Cell.step`` per time step."""

    def __init__(self, cells: Sequence[Cell], dropout: float) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.dropout = dropout

    def forward(self, x_TBD: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        check_input(x_TBD, lengths)
        finals: list[State] = []
        for layer, module in enumerate(self.cells):
            cell = cast(Cell, module)
            if layer > 0 and self.dropout > 0:
                x_TBD = F.dropout(x_TBD, self.dropout, self.training)
            start = None if state is None else tuple(s_LBH[layer] for s_LBH in state)
            x_TBD, final = self.run_layer(cell, x_TBD, start, lengths)
            finals.append(final)
        return x_TBD, tuple(torch.stack(states) for states in zip(*finals, strict=True))

    def run_layer(self, cell: Cell, x_TBD: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        """One layer over a sequence, from zeros where no state is given."""
        with marked(LOOP):
            return run_layer(cell, x_TBD, cell.initial_state(x_TBD.shape[1]) if state is None else state, lengths)

    def cell_tensors(self, *, grad: bool = False) -> list[dict[str, Tensor]]:
        return [
            {name: cast(Tensor, p.grad) if grad else p.detach() for name, p in cell.named_parameters()}
            for cell in self.cells
        ]


def run_layer(cell: Cell, x_TBD: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """One layer over a sequence; see :class:`Stack` for the meaning of ``lengths``."""
    gx_TBG = cell.input_projection(x_TBD)
    outputs: list[Tensor] = []
    history: list[State] = []
    for gx_BG in gx_TBG.unbind(0):
        output_BH, state = cell.step(gx_BG, state)
        outputs.append(output_BH)
        if lengths is not None:
            history.append(state)
    h_TBH = torch.stack(outputs)
    if lengths is None:
        return h_TBH, state
    last_B = lengths.to(h_TBH.device) - 1
    rows_B = torch.arange(h_TBH.shape[1], device=h_TBH.device)
    final = tuple(torch.stack(states)[last_B, rows_B] for states in zip(*history, strict=True))
    return zero_padding(h_TBH, lengths), final


class Loop(Backend):
    """Runs every cell, on every device, in every floating type."""

    name: ClassVar[str] = "loop"
    marks: ClassVar[tuple[Mark, ...]] = (Mark(LOOP, "Python loop"),)
    honors_autocast: ClassVar[bool] = True

    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str | None:
        return None

    def _stack(self, cells: Sequence[Cell], dropout: float) -> Stack:
        return LoopStack(cells, dropout)
