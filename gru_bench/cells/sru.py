"""The simple recurrent unit: no matrix between one state and the next."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from gru_bench.cells.base import Cell, Init, State


class SRU(Cell):
    r"""Simple recurrent unit: gates see the old state unit by unit, and the input takes a highway past them.

    .. math::
        f_t &= \sigma(W_f x_t + v_f \odot c_{t-1} + b_f)  && \text{forget gate} \\
        r_t &= \sigma(W_r x_t + v_r \odot c_{t-1} + b_r)  && \text{highway gate} \\
        c_t &= f_t \odot c_{t-1} + (1 - f_t) \odot (W_n x_t + b_n) \\
        h_t &= r_t \odot c_t + (1 - r_t) \odot (W_p x_t + b_p)

    The state is ``c`` alone; the output ``h`` is not fed back. Because of :math:`v_f \odot c_{t-1}` in the gate a step
    is not linear in the old state, so ``backend=scan`` does not run it: that was possible in the first version of the
    paper (2017), which had no v.

    Added here: :math:`W_p`, before the x of the highway. The paper's highway is the bare x where D = H, and a
    projection elsewhere; here it is always a projection, so that the number of parameters is one formula. Added too:
    the biases :math:`b_n` and :math:`b_p`; in the paper only the gates have one. Left out: the factor before the
    highway (1.7 with gates that start unbiased) by which the paper keeps the size of layers equal at the start.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`. There is no U to draw; v is drawn as ``uniform`` draws W.

    Shapes:
        gx: (B, 4 * H), gates stacked as f, r, n, p. v: (2 * H), stacked as f, r. state: ``c`` of shape (B, H).
        The output is ``h`` (B, H).

    Parameters: 4 * H * (D + 1) + 2 * H

    Source: Lei et al. (2018), arXiv:1709.02755v5. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("f", "r", "n", "p")
    gating: ClassVar[tuple[str, ...]] = ("f", "r")
    keeps: ClassVar[str] = "f"
    states: ClassVar[tuple[str, ...]] = ("c",)
    recurrent: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self, input_size: int, hidden_size: int, generator: torch.Generator, /, *, init: Init = "uniform"
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.v = nn.Parameter(torch.empty(2 * hidden_size))
        if not self.v.is_meta:
            bound = 1 / math.sqrt(hidden_size)
            with torch.no_grad():
                self.v.uniform_(-bound, bound, generator=generator)

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        (c_BH,) = state
        f_BH, r_BH = self.gate_values(gx_BG, state).values()
        n_BH, p_BH = gx_BG.chunk(4, dim=1)[2:]
        c_BH = torch.lerp(n_BH, c_BH, f_BH)
        return torch.lerp(p_BH, c_BH, r_BH), (c_BH,)

    def gate_values(self, gx_BG: Tensor, state: State) -> dict[str, Tensor]:
        f_BH, r_BH = gx_BG.chunk(4, dim=1)[:2]
        v_f, v_r = self.v.chunk(2)
        return {"f": torch.sigmoid(f_BH + v_f * state[0]), "r": torch.sigmoid(r_BH + v_r * state[0])}
