"""A leaky RNN: only a fixed share of the state is replaced at each step."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt, Le
from torch import Tensor

from gru_bench.cells.base import Cell, Init, State


class Leaky(Cell):
    r"""Leaky integrator units.

    .. math::
        h_t = (1 - a) h_{t-1} + a \tanh(W x_t + U h_{t-1} + b)

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.
        leak: a, the share that is replaced.

    Shapes:
        gx: (B, H). state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: H * (D + H + 1)

    Source: Jaeger et al. (2007), doi:10.1016/j.neunet.2007.04.016.
    """

    family: ClassVar[str] = "rnn"
    gates: ClassVar[tuple[str, ...]] = ("n",)
    keeps: ClassVar[str] = "1 - a"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        init: Init = "uniform",
        leak: Annotated[float, Gt(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.leak = leak

    def gate_values(self, gx_BG: Tensor, state: State) -> dict[str, Tensor]:
        return {"a": torch.full_like(state[0], self.leak)}

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        (h_BH,) = state
        h_BH = torch.lerp(h_BH, torch.tanh(gx_BG + F.linear(h_BH, self.U)), self.leak)
        return h_BH, (h_BH,)
