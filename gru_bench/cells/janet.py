"""JANET: the LSTM's forget gate and nothing else."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from gru_bench.cells.base import Cell, Init, Saved, State, chrono_bias


class JANET(Cell):
    r"""Just another network: an LSTM with a forget gate alone, whose output is its memory.

    .. math::
        s_t &= W_f x_t + U_f h_{t-1} + b_f \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g)  && \text{candidate} \\
        h_t &= \sigma(s_t) \odot h_{t-1} + (1 - \sigma(s_t - \beta)) \odot g_t

    The published form, in which :math:`\beta` lets more in than is forgotten. With :math:`\beta = 0` this is
    :class:`~gru_bench.cells.gru_no_reset.GRUNoReset` with f in the place of z. The paper's memory c is its output, so
    here is one state.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        beta: :math:`\beta`; the paper takes 1.
        forget_bias: Initial :math:`b_f`.
        chrono_steps: Given, it takes the place of ``forget_bias``: :math:`b_f` is drawn from
            :math:`\log U(1, T - 1)`, as in the paper; see :class:`~gru_bench.cells.lstm.LSTM`.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 2 * H), gates stacked as f, g. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 2 * H * (D + H + 1)

    Source: van der Westhuizen and Lasenby (2018), arXiv:1804.04849. Checked against the equations in
    ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("f", "g")
    gating: ClassVar[tuple[str, ...]] = ("f", "w")
    keeps: ClassVar[str] = "f"
    saves: ClassVar[tuple[str, ...]] = ("f", "w", "g")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        beta: float = 1.0,
        forget_bias: float = 1.0,
        chrono_steps: Annotated[int, Gt(2)] | None = None,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.beta = beta
        with torch.no_grad():
            self.b[:hidden_size] = forget_bias
            if chrono_steps is not None and not self.b.is_meta:
                self.b[:hidden_size] = chrono_bias(hidden_size, chrono_steps, generator)

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        s_BH, g_BH = (gx_BG + F.linear(h_BH, self.U)).chunk(2, dim=1)
        f_BH, w_BH, g_BH = torch.sigmoid(s_BH), torch.sigmoid(self.beta - s_BH), torch.tanh(g_BH)
        return (f_BH * h_BH + w_BH * g_BH,), (f_BH, w_BH, g_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        f_TBH, w_TBH, g_TBH = saved
        of_f = old[0] * f_TBH * (1 - f_TBH) - g_TBH * w_TBH * (1 - w_TBH)
        return torch.stack((of_f, w_TBH * (1 - g_TBH**2)), dim=2), f_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_products, f_BH = slopes
        (dh_BH,) = dstate
        dproducts_BG = (dh_BH[:, None] * of_products).flatten(1)
        return dproducts_BG, (torch.addmm(dh_BH * f_BH, dproducts_BG, U_GH),)
