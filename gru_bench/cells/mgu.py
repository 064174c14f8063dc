"""The minimal gated unit: one gate that resets and updates."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Saved, State


class MGU(Cell):
    r"""Minimal gated unit, reset before the recurrent product.

    .. math::
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f)          && \text{the only gate} \\
        n_t &= \tanh(W_n x_t + U_n (f_t \odot h_{t-1}) + b_n) && \text{candidate} \\
        h_t &= (1 - f_t) \odot h_{t-1} + f_t \odot n_t

    The published form, whose name for the gate is the forget gate although the old state is kept where it is 0. It is
    :class:`~gru_bench.cells.gru.GRUResetBefore` with r = f and z = 1 - f: a unit that keeps its state cannot read it
    for a candidate, and none is needed then. Flax's cell of this name resets after the product instead.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 2 * H), gates stacked as f, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 2 * H * (D + H + 1)

    Source: Zhou et al. (2016), arXiv:1603.09420. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("f", "n")
    gating: ClassVar[tuple[str, ...]] = ("f",)
    keeps: ClassVar[str] = "1 - f"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        H = self.hidden_size
        f_BH = torch.sigmoid(gx_BG[:, :H] + F.linear(h_BH, self.U[:H]))
        n_BH = torch.tanh(gx_BG[:, H:] + F.linear(f_BH * h_BH, self.U[H:]))
        h_BH = torch.lerp(h_BH, n_BH, f_BH)  # (1 - f) * h + f * n in one operation
        return (h_BH,), (f_BH, n_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        f_TBH, n_TBH = saved
        (h_TBH,) = old
        of_f = f_TBH * (1 - f_TBH)
        return f_TBH * (1 - n_TBH**2), (n_TBH - h_TBH) * of_f, h_TBH * of_f, f_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_n, of_update, of_reset, f_BH = slopes
        (dh_BH,) = dstate
        H = self.hidden_size
        dn_BH = dh_BH * of_n
        dreset_BH = dn_BH @ U_GH[H:]  # of f * h
        df_BH = dh_BH * of_update + dreset_BH * of_reset
        dold_BH = torch.addmm(dh_BH * (1 - f_BH) + dreset_BH * f_BH, df_BH, U_GH[:H])
        return torch.cat((df_BH, dn_BH), dim=1), (dold_BH,)

    def parameter_gradients(self, dproducts_TBG: Tensor, saved: Saved, old: State) -> dict[str, Tensor]:
        df_NH, dn_NH = dproducts_TBG.flatten(0, 1).chunk(2, dim=1)
        h_NH, reset_NH = old[0].flatten(0, 1), (saved[0] * old[0]).flatten(0, 1)
        return {"U": torch.cat((df_NH.T @ h_NH, dn_NH.T @ reset_NH))}
