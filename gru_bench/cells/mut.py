"""The three units that a search over ten thousand architectures kept, beside the LSTM and the GRU."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Saved, State


class MUT1(Cell):
    r"""MUT1: an update gate that sees the input alone, and the input squashed before it enters the candidate.

    .. math::
        z_t &= \sigma(W_z x_t + b_z)                                       && \text{update gate} \\
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r)                         && \text{reset gate} \\
        n_t &= \tanh(U_n (r_t \odot h_{t-1}) + \tanh(W_n x_t) + b_n)        && \text{candidate} \\
        h_t &= z_t \odot n_t + (1 - z_t) \odot h_{t-1}

    The new value is written where ``z`` is 1: the other way round than in :class:`~gru_bench.cells.gru.GRU`.

    The paper writes :math:`\tanh(x_t)` in the candidate, which has a meaning only where D = H. Here a matrix
    :math:`W_n` stands before that x; the bias stays outside the inner tanh, as printed.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as z, r, n; U has the rows of r and n. state: ``h`` of shape (B, H). The output is
        ``h``.

    Parameters: 3 * H * (D + 1) + 2 * H * H

    Source: Jozefowicz et al. (2015), PMLR 37:2342. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py`` and against torchrecurrent in ``tests/cells/test_oracle.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("z", "r", "n")
    gating: ClassVar[tuple[str, ...]] = ("z", "r")
    keeps: ClassVar[str] = "1 - z"
    recurrent: ClassVar[tuple[str, ...] | None] = ("r", "n")

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        s_TBG = F.linear(x_TBD, self.W).to(self.W.dtype)
        gates_TBG, n_TBH = s_TBG.split((2 * self.hidden_size, self.hidden_size), dim=2)
        return torch.cat((gates_TBG, torch.tanh(n_TBH)), dim=2) + self.b

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        z_BH, r_BH, n_BH = gx_BG.chunk(3, dim=1)
        U_r, U_n = self.U.chunk(2)
        r_BH = torch.sigmoid(r_BH + F.linear(h_BH, U_r))
        n_BH = torch.tanh(n_BH + F.linear(r_BH * h_BH, U_n))
        z_BH = torch.sigmoid(z_BH)
        return (torch.lerp(h_BH, n_BH, z_BH),), (z_BH, r_BH, n_BH)


class MUT2(Cell):
    r"""MUT2: the gated recurrent unit, but for a reset gate that sees the bare input.

    .. math::
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z)                 && \text{update gate} \\
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r)                 && \text{reset gate} \\
        n_t &= \tanh(W_n x_t + U_n (r_t \odot h_{t-1}) + b_n)      && \text{candidate} \\
        h_t &= z_t \odot n_t + (1 - z_t) \odot h_{t-1}

    The new value is written where ``z`` is 1. The paper writes a bare :math:`x_t` in the reset gate, which has a
    meaning only where D = H. Here a matrix :math:`W_r` stands before it. What is left is
    :class:`~gru_bench.cells.gru.GRUResetBefore` with the update gate named the other way round: the two compute the
    same functions, so a difference between them in a table is one of chance.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as z, r, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Jozefowicz et al. (2015), PMLR 37:2342. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py`` and against torchrecurrent in ``tests/cells/test_oracle.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("z", "r", "n")
    gating: ClassVar[tuple[str, ...]] = ("z", "r")
    keeps: ClassVar[str] = "1 - z"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        return _gated(self, gx_BG, state, state[0])


class MUT3(Cell):
    r"""MUT3: the gated recurrent unit, with the old state squashed before the update gate sees it.

    .. math::
        z_t &= \sigma(W_z x_t + U_z \tanh(h_{t-1}) + b_z)          && \text{update gate} \\
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r)                 && \text{reset gate} \\
        n_t &= \tanh(W_n x_t + U_n (r_t \odot h_{t-1}) + b_n)      && \text{candidate} \\
        h_t &= z_t \odot n_t + (1 - z_t) \odot h_{t-1}

    The new value is written where ``z`` is 1. Every x has its matrix in the paper too: nothing was added.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as z, r, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Jozefowicz et al. (2015), PMLR 37:2342. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py`` and against torchrecurrent in ``tests/cells/test_oracle.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("z", "r", "n")
    gating: ClassVar[tuple[str, ...]] = ("z", "r")
    keeps: ClassVar[str] = "1 - z"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        return _gated(self, gx_BG, state, torch.tanh(state[0]))


def _gated(cell: Cell, gx_BG: Tensor, state: State, seen_by_z_BH: Tensor) -> tuple[State, Saved]:
    """One step of MUT2 and MUT3, which differ in what the update gate sees of the old state."""
    (h_BH,) = state
    z_BH, r_BH, n_BH = gx_BG.chunk(3, dim=1)
    U_z, U_r, U_n = cell.U.chunk(3)
    z_BH = torch.sigmoid(z_BH + F.linear(seen_by_z_BH, U_z))
    r_BH = torch.sigmoid(r_BH + F.linear(h_BH, U_r))
    n_BH = torch.tanh(n_BH + F.linear(r_BH * h_BH, U_n))
    return (torch.lerp(h_BH, n_BH, z_BH),), (z_BH, r_BH, n_BH)
