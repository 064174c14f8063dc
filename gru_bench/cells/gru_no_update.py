"""The gated recurrent unit without its update gate."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.cells.base import Cell, Init, Saved, State


class GRUNoUpdate(Cell):
    r"""Gated recurrent unit whose update gate is fixed at 0: every step is all new.

    .. math::
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r)                     && \text{reset gate} \\
        h_t &= \tanh(W_n x_t + b_n + r_t \odot (U_n h_{t-1} + b_{hn}))

    No path carries the old state on: a plain recurrent network that can turn its recurrent input down. All else is
    :class:`~gru_bench.cells.gru.GRU`, reset after the product.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 2 * H), gates stacked as r, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 2 * H * (D + H + 1) + H

    Source: the equations of Cho et al. (2014), arXiv:1406.1078v1, with z = 0; an ablation of this project. Checked
    against the equations in ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "n")
    gating: ClassVar[tuple[str, ...]] = ("r",)
    saves: ClassVar[tuple[str, ...]] = ("r", "q")

    def __init__(
        self, input_size: int, hidden_size: int, generator: torch.Generator, /, *, init: Init = "uniform"
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.b_hn = nn.Parameter(torch.zeros(hidden_size))

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        H = self.hidden_size
        gh_BG = F.linear(h_BH, self.U)
        r_BH = torch.sigmoid(gx_BG[:, :H] + gh_BG[:, :H])
        q_BH = gh_BG[:, H:] + self.b_hn
        h_BH = torch.tanh(gx_BG[:, H:] + r_BH * q_BH)
        return (h_BH,), (r_BH, q_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        r_TBH, q_TBH = saved
        of_n = 1 - new[0] ** 2
        return torch.stack((of_n * q_TBH * r_TBH * (1 - r_TBH), of_n * r_TBH), dim=2), of_n

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        dproducts_BG = (dstate[0][:, None] * slopes[0]).flatten(1)
        return dproducts_BG, (dproducts_BG @ U_GH,)

    def input_gradient(self, slopes: tuple[Tensor, ...], dproducts_TBG: Tensor, dstates: State) -> Tensor:
        # r scales the candidate's recurrent product, but not its input
        return torch.cat((dproducts_TBG[:, :, : self.hidden_size], dstates[0] * slopes[1]), dim=2)

    def parameter_gradients(self, dproducts_TBG: Tensor, saved: Saved, old: State) -> dict[str, Tensor]:
        db_hn_H = dproducts_TBG[:, :, self.hidden_size :].sum((0, 1))
        return super().parameter_gradients(dproducts_TBG, saved, old) | {"b_hn": db_hn_H}
