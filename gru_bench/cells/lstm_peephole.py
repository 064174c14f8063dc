"""The LSTM with peepholes."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.cells.base import Cell, Init, Saved, State


class LSTMPeephole(Cell):
    r"""Long short-term memory whose gates see the memory, each unit its own.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + p_i \odot c_{t-1} + b_i) \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + p_f \odot c_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + p_o \odot c_t + b_o) \\
        h_t &= o_t \odot \tanh(c_t)

    The output gate sees the new memory, the other two the old one. Without p this is
    :class:`~gru_bench.cells.lstm.LSTM`.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: Initial :math:`b_f`.
        init: See :class:`~gru_bench.cells.base.Cell`; p is drawn from U(-1/sqrt(H), 1/sqrt(H)) in both.

    Shapes:
        gx: (B, 4 * H), gates stacked as i, f, g, o. p: (3 * H), stacked as i, f, o. state: ``h`` and ``c``, each
        (B, H). The output is ``h``.

    Parameters: 4 * H * (D + H + 1) + 3 * H

    Source: Gers and Schmidhuber (2000), doi:10.1109/IJCNN.2000.861302; this form in Greff et al. (2017),
    arXiv:1503.04069. Checked against the equations in ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    gating: ClassVar[tuple[str, ...]] = ("i", "f", "o")
    keeps: ClassVar[str] = "f"
    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        forget_bias: float = 1.0,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.p = nn.Parameter(torch.empty(3 * hidden_size))
        with torch.no_grad():
            self.b[hidden_size : 2 * hidden_size] = forget_bias
            if not self.p.is_meta:
                bound = 1 / math.sqrt(hidden_size)
                self.p.uniform_(-bound, bound, generator=generator)

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        h_BH, c_BH = state
        p_i, p_f, p_o = self.p.chunk(3)
        i_BH, f_BH, g_BH, o_BH = (gx_BG + F.linear(h_BH, self.U)).chunk(4, dim=1)
        i_BH, f_BH = torch.sigmoid(i_BH + p_i * c_BH), torch.sigmoid(f_BH + p_f * c_BH)
        g_BH = torch.tanh(g_BH)
        c_BH = f_BH * c_BH + i_BH * g_BH
        o_BH = torch.sigmoid(o_BH + p_o * c_BH)
        return (o_BH * torch.tanh(c_BH), c_BH), (i_BH, f_BH, g_BH, o_BH)
