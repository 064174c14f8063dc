"""The GRU as the article prints it, which is not a GRU."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, State


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

    Source: the article that this project examines (README.md). Checked against the equations written out in
    ``tests/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "h")

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        (h_BH,) = state
        H = self.hidden_size
        s_BG = gx_BG + F.linear(h_BH, self.U)
        r_BH, z_BH = torch.sigmoid(s_BG[:, : 2 * H]).chunk(2, dim=1)
        h_BH = (1 - z_BH) * r_BH * torch.tanh(s_BG[:, 2 * H :])
        return h_BH, (h_BH,)
