"""The long short-term memory."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from gru_bench.cells.base import Cell, Init, Saved, State, chrono_bias


class LSTM(Cell):
    r"""Long short-term memory with a forget gate, without peepholes.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i)   && \text{input gate} \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f)   && \text{forget gate} \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g)    && \text{candidate} \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o)   && \text{output gate} \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    The article prints these equations too, with one bias per gate, and says nothing of initial values:
    ``cell=lstm_article`` is this cell with ``forget_bias`` 0.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: Initial :math:`b_f`, as an effective sum: torch's second bias vector stays at zero.
            1 is what Jozefowicz et al. (2015) recommend; torch's own default amounts to about 0.
        chrono_steps: The longest time that the memory has to span, in steps. Given, it takes the place of
            ``forget_bias``: :math:`b_f` is drawn from :math:`\log U(1, T - 1)` and :math:`b_i = -b_f`, so that units
            start with all time scales up to it (Tallec and Ollivier 2018, arXiv:1804.11188).
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 4 * H), gates stacked as i, f, g, o. state: ``h`` and ``c``, each (B, H). The output is ``h``.

    Parameters: 4 * H * (D + H + 1)

    Source: Hochreiter and Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735; forget gate by Gers et al. (2000),
    doi:10.1162/089976600300015015. Checked against ``torch.nn.LSTM`` in ``tests/cells/test_cells.py``.
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
        chrono_steps: Annotated[int, Gt(2)] | None = None,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        with torch.no_grad():
            self.b[hidden_size : 2 * hidden_size] = forget_bias
            if chrono_steps is not None and not self.b.is_meta:
                b_f_H = chrono_bias(hidden_size, chrono_steps, generator)
                self.b[: 2 * hidden_size] = torch.cat((-b_f_H, b_f_H))

    @property
    def vendor(self) -> str | None:
        return "LSTM"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        h_BH, c_BH = state
        i_BH, f_BH, g_BH, o_BH = (gx_BG + F.linear(h_BH, self.U)).chunk(4, dim=1)
        i_BH, f_BH, g_BH, o_BH = torch.sigmoid(i_BH), torch.sigmoid(f_BH), torch.tanh(g_BH), torch.sigmoid(o_BH)
        c_BH = f_BH * c_BH + i_BH * g_BH
        h_BH = o_BH * torch.tanh(c_BH)
        return (h_BH, c_BH), (i_BH, f_BH, g_BH, o_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        i_TBH, f_TBH, g_TBH, o_TBH = saved
        squashed_TBH = torch.tanh(new[1])
        of_c = torch.stack((g_TBH * i_TBH * (1 - i_TBH), old[1] * f_TBH * (1 - f_TBH), i_TBH * (1 - g_TBH**2)), dim=2)
        return of_c, squashed_TBH * o_TBH * (1 - o_TBH), o_TBH * (1 - squashed_TBH**2), f_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_c, of_h, c_of_h, f_BH = slopes
        dh_BH, dc_BH = dstate
        dc_BH = torch.addcmul(dc_BH, dh_BH, c_of_h)  # the output reaches c too
        dproducts_BG = torch.cat(((dc_BH[:, None] * of_c).flatten(1), dh_BH * of_h), dim=1)
        return dproducts_BG, (dproducts_BG @ U_GH, dc_BH * f_BH)
