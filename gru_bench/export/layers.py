"""One recurrent layer in a graph: by ONNX's own operator where that is exactly the cell, else by the cell's equations.

The operators are RNN, GRU and LSTM. Which place a gate has in them differs from ours, and so do the placement of the
reset gate (``linear_before_reset``) and the peepholes, so each cell's correspondence is written out in
:func:`operator_of`; the proof that follows every export would find a wrong one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU, GRUResetBefore
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.lstm_peephole import LSTMPeephole
from gru_bench.cells.rnn import RNN
from gru_bench.export.equations import Translated
from gru_bench.export.graph import Graph

PLACES = {
    GRU: (1, 0, 2),  # z, r, n of our r, z, n
    GRUResetBefore: (1, 0, 2),
    LSTM: (0, 3, 1, 2),  # i, o, f, g of our i, f, g, o
    LSTMPeephole: (0, 3, 1, 2),
    RNN: (0,),
}
"""For each gate of the operator, in its order: which of ours it is."""
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid"}


@dataclass(frozen=True)
class Operator:
    """A cell as an operator's constants: W (1, G, D), R (1, G, H), B (1, 2 G), P (1, 3 H) or None."""

    name: str
    tensors: tuple[Tensor, Tensor, Tensor]
    peepholes: Tensor | None
    attributes: dict[str, Any]


def operator_of(cell: Cell) -> Operator | None:
    """The operator that computes this cell, or None where there is none.

    ``lstm_cifg`` is none, although the LSTM has ``input_forget=1``: the standard does not say which of the two gates is
    then computed from the other.
    """
    places = PLACES.get(type(cell))
    if places is None:
        return None
    H = cell.hidden_size

    def ordered(stacked: Tensor) -> Tensor:
        gates = stacked.split(H)
        return torch.cat([gates[place] for place in places])

    recurrent_bias = torch.zeros_like(cell.b)
    attributes: dict[str, Any] = {"hidden_size": H}
    peepholes = None
    if isinstance(cell, GRU):
        recurrent_bias[2 * H :] = cell.b_hn
        attributes["linear_before_reset"] = 1
    elif isinstance(cell, RNN):
        attributes["activations"] = [ACTIVATIONS[cell.activation]]
    elif isinstance(cell, LSTMPeephole):
        p_i, p_f, p_o = cell.p.split(H)
        peepholes = torch.cat([p_i, p_o, p_f])[None]
    tensors = (
        ordered(cell.W)[None],
        ordered(cell.U)[None],
        torch.cat([ordered(cell.b), ordered(recurrent_bias)])[None],
    )
    name = "RNN" if isinstance(cell, RNN) else "LSTM" if len(cell.states) == 2 else "GRU"
    return Operator(name, tensors, peepholes, attributes)


class Layer:
    """One cell in a graph.

    Args:
        graph: The outermost one.
        cell: In evaluation, float32, on the CPU.
        hint: What the names of its constants begin with.
        operators: Whether an operator of ONNX may compute it.
    """

    def __init__(self, graph: Graph, cell: Cell, hint: str, *, operators: bool) -> None:
        self.graph, self.cell, self.hint = graph, cell, hint
        self.operator = operator_of(cell) if operators else None
        self.translated = None if self.operator is not None else Translated(cell, hint)

    @property
    def kind(self) -> str:
        """``GRU``, or ``Scan of GRUResetBefore``."""
        return self.operator.name if self.operator is not None else f"Scan of {type(self.cell).__name__}"

    def sequence(
        self, x_TBD: str, lengths: str, state: Sequence[str] | None, *, backward: bool
    ) -> tuple[str, list[str]]:
        """Outputs (T, B, H), zero past each length, and the states (B, H) after each sequence's last step.

        ``state``: (B, H) each, before the first step; None for zeros.
        """
        graph = self.graph
        if self.operator is not None:
            start = [""] * len(self.cell.states) if state is None else [graph.unsqueeze(s_BH, 0) for s_BH in state]
            y_T1BH, *finals = self._operate(x_TBD, lengths, start, backward=backward)
            return graph.squeeze(y_T1BH, 1), [graph.squeeze(final, 0) for final in finals]
        if state is None:
            state = [graph.zeros(graph.size(x_TBD, 1), self.cell.hidden_size)] * len(self.cell.states)
        if not backward:
            return self._scan(x_TBD, lengths, state)
        turned_TBD = self._turned(x_TBD, lengths)
        h_TBH, finals = self._scan(turned_TBD, lengths, state)
        return self._turned(h_TBH, lengths), finals

    def _turned(self, x: str, lengths: str) -> str:
        """Each sequence backwards within its length; padding stays where it is."""
        return self.graph.add("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)

    def step(self, x_BD: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """The output (B, H) and the new states, each (B, H)."""
        graph = self.graph
        if self.operator is not None:
            start = [graph.unsqueeze(s_BH, 0) for s_BH in state]
            _, *finals = self._operate(graph.unsqueeze(x_BD, 0), "", start, backward=False)
            new = [graph.squeeze(final, 0) for final in finals]
            return new[0], new
        assert self.translated is not None
        gx_BG = graph.squeeze(self.translated.project(graph, graph.unsqueeze(x_BD, 0)), 0)
        output_BH, *new = self.translated.step(graph, gx_BG, state)
        return output_BH, new

    def _operate(self, x_TBD: str, lengths: str, state: Sequence[str], *, backward: bool) -> list[str]:
        assert self.operator is not None
        graph, one = self.graph, self.operator
        constants = [graph.constant(t, f"{self.hint}_{name}") for name, t in zip("WRB", one.tensors, strict=True)]
        inputs = [x_TBD, *constants, graph.cast(lengths, "int32") if lengths else "", *state]
        if one.peepholes is not None:
            inputs.append(graph.constant(one.peepholes, f"{self.hint}_P"))
        while not inputs[-1]:
            inputs.pop()
        direction = "reverse" if backward else "forward"
        return graph.add(
            one.name, *inputs, outputs=1 + len(state), hint=self.hint, direction=direction, **one.attributes
        )

    def _scan(self, x_TBD: str, lengths: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """A step freezes the states of the sequences that have ended, and gives them zeros as outputs."""
        assert self.translated is not None
        graph = self.graph
        gx_TBG = self.translated.project(graph, x_TBD)
        body = graph.body()
        old = [body.input(f"{self.hint}_old_{name}", "float", None) for name in self.cell.states]
        gx_BG = body.input(f"{self.hint}_gx", "float", None)
        alive_B1 = body.input(f"{self.hint}_alive", "bool", None)
        output_BH, *new = self.translated.step(body, gx_BG, old)
        for name, before, after in zip(self.cell.states, old, new, strict=True):
            body.output(f"{self.hint}_new_{name}", body.add("Where", alive_B1, after, before), "float", None)
        body.output(f"{self.hint}_output", body.add("Where", alive_B1, output_BH, body.constant(0.0)), "float", None)
        *finals, h_TBH = graph.add(
            "Scan",
            *state,
            gx_TBG,
            graph.alive(x_TBD, lengths),
            outputs=len(old) + 1,
            hint=self.hint,
            body=body.proto(self.hint),
            num_scan_inputs=2,
        )
        return h_TBH, finals
