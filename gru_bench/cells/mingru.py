"""The gated recurrent unit with nothing left that looks at the old state: a recurrence that is linear in it."""

from typing import ClassVar

import torch
from torch import Tensor

from gru_bench.cells.base import Cell, Saved, State


class MinGRU(Cell):
    r"""minGRU: gate and candidate from the input alone.

    .. math::
        z_t &= \sigma(W_z x_t + b_z) && \text{update gate} \\
        n_t &= W_n x_t + b_n         && \text{candidate} \\
        h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot n_t

    The new value is written where ``z`` is 1: the other way round than in :class:`~gru_bench.cells.gru.GRU`. There is
    no reset gate, no tanh and no recurrent weight, so all steps can be computed at once (``backend=scan``).

    This is the paper's linear form (its section 3.1): the candidate is any real number. Its other form puts the
    candidate through a function whose values are positive, because its parallel algorithm works on logarithms. Ours
    does not, and step by step and in parallel the same numbers come out.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`. There is no U to draw.

    Shapes:
        gx: (B, 2 * H), gates stacked as z, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 2 * H * (D + 1)

    Source: Feng et al. (2024), arXiv:2410.01201. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("z", "n")
    gating: ClassVar[tuple[str, ...]] = ("z",)
    keeps: ClassVar[str] = "1 - z"
    recurrent: ClassVar[tuple[str, ...] | None] = ()

    def coefficients(self, gx_TBG: Tensor) -> tuple[Tensor, Tensor]:
        s_TBH, n_TBH = gx_TBG.chunk(2, dim=2)
        z_TBH = torch.sigmoid(s_TBH)
        return 1 - z_TBH, z_TBH * n_TBH

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        s_BH, n_BH = gx_BG.chunk(2, dim=1)
        z_BH = torch.sigmoid(s_BH)
        return (torch.lerp(state[0], n_BH, z_BH),), (z_BH, n_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        z_TBH, n_TBH = saved
        keep_TBH = 1 - z_TBH
        return torch.stack(((n_TBH - old[0]) * z_TBH * keep_TBH, z_TBH), dim=2), keep_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        return dstate[0][:, :0], (dstate[0] * slopes[1],)  # there are no recurrent products

    def input_gradient(self, slopes: tuple[Tensor, ...], dproducts_TBG: Tensor, dstates: State) -> Tensor:
        return (dstates[0][:, :, None] * slopes[0]).flatten(2)
