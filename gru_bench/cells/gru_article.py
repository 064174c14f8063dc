"""The GRU as the article prints it, which is not a GRU."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Saved, State


class GRUArticle(Cell):
    r"""The article's printed GRU: no path carries the old state on.

    .. math::
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z) \\
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r) \\
        h_t &= (1 - z_t) \odot r_t \odot \tanh(W_h x_t + U_h h_{t-1} + b_h)

    A real GRU ends in :math:`(1 - z) \odot n + z \odot h_{t-1}`. Here the second term is absent and the reset gate
    scales the output instead of the old state, so whatever is remembered has to pass through U and the tanh at
    every step, as in a plain RNN.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as r, z, h. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: the article that this project examines (README.md). Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "h")
    gating: ClassVar[tuple[str, ...]] = ("r", "z")

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        H = self.hidden_size
        s_BG = gx_BG + F.linear(h_BH, self.U)
        r_BH, z_BH = torch.sigmoid(s_BG[:, : 2 * H]).chunk(2, dim=1)
        n_BH = torch.tanh(s_BG[:, 2 * H :])
        h_BH = (1 - z_BH) * r_BH * n_BH
        return (h_BH,), (r_BH, z_BH, n_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        r_TBH, z_TBH, n_TBH = saved
        of_r = (1 - z_TBH) * n_TBH * r_TBH * (1 - r_TBH)
        of_z = -r_TBH * n_TBH * z_TBH * (1 - z_TBH)
        return (torch.stack((of_r, of_z, (1 - z_TBH) * r_TBH * (1 - n_TBH**2)), dim=2),)

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        dproducts_BG = (dstate[0][:, None] * slopes[0]).flatten(1)
        return dproducts_BG, (dproducts_BG @ U_GH,)
