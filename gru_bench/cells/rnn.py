"""The plain recurrent network, with tanh (as used) or with the logistic sigmoid (as the article prints it)."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Init, Saved, State


class RNN(Cell):
    r"""Plain (Elman) recurrent network.

    .. math::
        h_t = \phi(W x_t + U h_{t-1} + b), \quad \phi = \tanh \text{ or } \sigma

    The article prints the logistic sigmoid, and an output :math:`y_t = W_{hy} h_t + b_y` that is a head here,
    not a part of the cell. The sigmoid's derivative is at most 1/4, so gradients vanish faster than with tanh.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        activation: ``tanh``, or ``sigmoid`` for the printed equation.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, H). state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: H * (D + H + 1)

    Source: Elman (1990), doi:10.1207/s15516709cog1402_1.
    Checked against ``torch.nn.RNN`` in ``tests/cells/test_cells.py``; the sigmoid against its equation there.
    """

    family: ClassVar[str] = "rnn"
    gates: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        activation: Literal["tanh", "sigmoid"] = "tanh",
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        if activation not in ("tanh", "sigmoid"):
            raise ValueError(f"activation must be 'tanh' or 'sigmoid', got {activation!r}")
        self.activation = activation

    @property
    def vendor(self) -> str | None:
        return "RNN_TANH" if self.activation == "tanh" else None

    @property
    def name(self) -> str:
        return f"{type(self).__name__}_{self.activation}"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        s_BH = gx_BG + F.linear(h_BH, self.U)
        h_BH = torch.tanh(s_BH) if self.activation == "tanh" else torch.sigmoid(s_BH)
        return (h_BH,), ()

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        (h_TBH,) = new
        return (1 - h_TBH * h_TBH if self.activation == "tanh" else h_TBH * (1 - h_TBH),)

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        ds_BH = dstate[0] * slopes[0]
        return ds_BH, (ds_BH @ U_GH,)
