"""The long short-term memory with nothing left that looks at the old state: a recurrence that is linear in it."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Saved, State


class MinLSTM(Cell):
    r"""minLSTM: gates and candidate from the input alone, one state.

    .. math::
        f_t &= \sigma(W_f x_t + b_f) && \text{forget gate} \\
        i_t &= \sigma(W_i x_t + b_i) && \text{input gate} \\
        n_t &= W_n x_t + b_n         && \text{candidate} \\
        h_t &= \frac{f_t}{f_t + i_t} \odot h_{t-1} + \frac{i_t}{f_t + i_t} \odot n_t

    The two gates are scaled to sum to 1, so the size of h does not depend on how long a sequence is. There is no cell
    state apart from h, no output gate, no tanh and no recurrent weight: all steps can be computed at once
    (``backend=scan``).

    This is the paper's linear form (its section 3.2), as in :class:`~gru_bench.cells.mingru.MinGRU`. The share of the
    forget gate is computed as :math:`\sigma(\log f - \log i)`, which is the same number and needs no division.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`. There is no U to draw.

    Shapes:
        gx: (B, 3 * H), gates stacked as f, i, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 3 * H * (D + 1)

    Source: Feng et al. (2024), arXiv:2410.01201. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("f", "i", "n")
    gating: ClassVar[tuple[str, ...]] = ("f", "i")
    keeps: ClassVar[str] = "keep"
    saves: ClassVar[tuple[str, ...]] = ("f", "i", "keep", "n")
    recurrent: ClassVar[tuple[str, ...] | None] = ()

    def coefficients(self, gx_TBG: Tensor) -> tuple[Tensor, Tensor]:
        s_f, s_i, n_TBH = gx_TBG.chunk(3, dim=2)
        log_ratio_TBH = F.logsigmoid(s_f) - F.logsigmoid(s_i)
        keep_TBH = torch.sigmoid(log_ratio_TBH)
        return keep_TBH, (1 - keep_TBH) * n_TBH

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        s_f, s_i, n_BH = gx_BG.chunk(3, dim=1)
        keep_BH = torch.sigmoid(F.logsigmoid(s_f) - F.logsigmoid(s_i))
        return (torch.lerp(n_BH, state[0], keep_BH),), (torch.sigmoid(s_f), torch.sigmoid(s_i), keep_BH, n_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        f_TBH, i_TBH, keep_TBH, n_TBH = saved
        of_ratio = (old[0] - n_TBH) * keep_TBH * (1 - keep_TBH)
        of_gates = torch.stack((of_ratio * (1 - f_TBH), -of_ratio * (1 - i_TBH), 1 - keep_TBH), dim=2)
        return of_gates, keep_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        return dstate[0][:, :0], (dstate[0] * slopes[1],)  # there are no recurrent products

    def input_gradient(self, slopes: tuple[Tensor, ...], dproducts_TBG: Tensor, dstates: State) -> Tensor:
        return (dstates[0][:, :, None] * slopes[0]).flatten(2)
