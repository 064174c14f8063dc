"""The long short-term memory."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Init, State


class LSTM(Cell):
    r"""Long short-term memory with a forget gate, without peepholes.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i)   && \text{input gate} \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f)   && \text{forget gate} \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g)    && \text{candidate} \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o)   && \text{output gate} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    The article prints these equations too, with one bias a gate, and says nothing of initial values:
    ``cell=lstm_article`` is this cell with ``forget_bias`` 0.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: Initial :math:`b_f`, as an effective sum: torch's second bias vector stays at zero.
            1 is what Jozefowicz et al. (2015) recommend; torch's own default amounts to about 0.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 4 * H), gates stacked as i, f, g, o. state: ``h`` and ``c``, each (B, H). The output is ``h``.

    Parameters: 4 * H * (D + H + 1)

    Source: Hochreiter and Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735; forget gate by Gers et al. (2000),
    doi:10.1162/089976600300015015. Checked against ``torch.nn.LSTM`` in ``tests/test_cells.py``.
    """

    family: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
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
        with torch.no_grad():
            self.b[hidden_size : 2 * hidden_size] = forget_bias

    @property
    def vendor(self) -> str | None:
        return "LSTM"

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, c_BH = state
        i_BH, f_BH, g_BH, o_BH = (gx_BG + F.linear(h_BH, self.U)).chunk(4, dim=1)
        c_BH = torch.sigmoid(f_BH) * c_BH + torch.sigmoid(i_BH) * torch.tanh(g_BH)
        h_BH = torch.sigmoid(o_BH) * torch.tanh(c_BH)
        return h_BH, (h_BH, c_BH)
