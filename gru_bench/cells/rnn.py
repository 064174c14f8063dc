"""The plain recurrent network: tanh (as used), the logistic sigmoid (as the article prints it), or ReLU."""

from collections.abc import Callable
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.cells.base import Cell, Saved, State

Activation = Literal["tanh", "sigmoid", "relu"]
SQUASH = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
SLOPE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda h: 1 - h * h,
    "sigmoid": lambda h: h * (1 - h),
    "relu": lambda h: (h > 0).to(h.dtype),
}
"""The derivative of each, from its value."""


class RNN(Cell):
    r"""Plain (Elman) recurrent network.

    .. math::
        h_t = \phi(W x_t + U h_{t-1} + b), \quad \phi = \tanh,\ \sigma \text{ or } \max(0, \cdot)

    The article prints the logistic sigmoid, and an output :math:`y_t = W_{hy} h_t + b_y` that is a head here,
    not a part of the cell. The sigmoid's derivative is at most 1/4, so gradients vanish faster than with tanh. The
    derivative of ReLU is 1 where a unit is on: with ``init=identity`` (``cell=irnn``) units that are on start as
    counters that keep the old state and its gradient as they are. Nothing bounds them.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        activation: ``tanh``, ``sigmoid`` for the printed equation, or ``relu``.
        init: ``identity`` starts with U = I and draws W from a normal distribution of deviation 0.001, as Le et al.
            (2015) do; for the others see :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, H). state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: H * (D + H + 1)

    Source: Elman (1990), doi:10.1207/s15516709cog1402_1; ReLU and identity: Le, Jaitly and Hinton (2015),
    arXiv:1504.00941. Checked against the equations in ``tests/equations`` by ``tests/cells/test_cells.py``, and in
    ``tests/backends/test_backends.py`` against ``torch.nn.RNN``, which has no sigmoid.
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
        activation: Activation = "tanh",
        init: Literal["uniform", "keras", "identity"] = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init="uniform" if init == "identity" else init)
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
        self.activation = activation
        if init == "identity" and not self.W.is_meta:
            with torch.no_grad():
                self.W.normal_(0, 0.001, generator=generator)
                nn.init.eye_(self.U)

    @property
    def vendor(self) -> str | None:
        return {"tanh": "RNN_TANH", "relu": "RNN_RELU"}.get(self.activation)

    @property
    def bounded(self) -> bool:
        return self.activation != "relu"

    @property
    def name(self) -> str:
        return f"{type(self).__name__}_{self.activation}"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        s_BH = gx_BG + F.linear(h_BH, self.U)
        return (SQUASH[self.activation](s_BH),), ()

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        return (SLOPE[self.activation](new[0]),)

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        ds_BH = dstate[0] * slopes[0]
        return ds_BH, (ds_BH @ U_GH,)
