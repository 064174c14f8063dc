"""The gated recurrent unit without its reset gate."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Saved, State


class GRUNoReset(Cell):
    r"""Gated recurrent unit whose reset gate is fixed at 1.

    .. math::
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z) && \text{update gate} \\
        n_t &= \tanh(W_n x_t + U_n h_{t-1} + b_n)  && \text{candidate} \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    With r = 1 both published placements of the reset gate are this cell, and the candidate's second bias falls into
    its first. All else is :class:`~gru_bench.cells.gru.GRU`: comparing the two shows what the reset gate does.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 2 * H), gates stacked as z, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 2 * H * (D + H + 1)

    Source: Ravanelli et al. (2018), arXiv:1803.10225, section III, before that paper also replaces tanh and
    normalizes batches. Checked against the equations in ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("z", "n")
    gating: ClassVar[tuple[str, ...]] = ("z",)
    keeps: ClassVar[str] = "z"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        z_BH, n_BH = (gx_BG + F.linear(h_BH, self.U)).chunk(2, dim=1)
        z_BH, n_BH = torch.sigmoid(z_BH), torch.tanh(n_BH)
        h_BH = torch.lerp(n_BH, h_BH, z_BH)  # (1 - z) * n + z * h in one operation
        return (h_BH,), (z_BH, n_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        z_TBH, n_TBH = saved
        of_z = (old[0] - n_TBH) * z_TBH * (1 - z_TBH)
        return torch.stack((of_z, (1 - z_TBH) * (1 - n_TBH**2)), dim=2), z_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_products, z_BH = slopes
        (dh_BH,) = dstate
        dproducts_BG = (dh_BH[:, None] * of_products).flatten(1)
        return dproducts_BG, (torch.addmm(dh_BH * z_BH, dproducts_BG, U_GH),)
