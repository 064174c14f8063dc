"""The LSTM and the GRU with layer normalization, in the form of the paper that introduced it."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.cells.base import Cell, Init, Saved, State

EPSILON = 1e-5
"""Added to a variance before its root is taken."""
LEAST_UNITS = 3
"""One number minus its mean is 0, and two are always 1 and -1: what is left of them is rounding."""


def normalize(s_BG: Tensor, gain_G: Tensor, bias_G: Tensor | None = None) -> Tensor:
    """Mean 0 and variance 1 over the last dimension, then a gain for each of its places, and a bias where given."""
    return F.layer_norm(s_BG, gain_G.shape, gain_G, bias_G, EPSILON)


class LSTMLayerNorm(Cell):
    r"""Long short-term memory with layer normalization.

    .. math::
        (i_t, f_t, g_t, o_t) &= \mathrm{LN}(W x_t; \alpha_x) + \mathrm{LN}(U h_{t-1}; \alpha_h) + b \\
        c_t &= \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \tanh(g_t) \\
        h_t &= \sigma(o_t) \odot \tanh(\mathrm{LN}(c_t; \alpha_c) + \beta_c) \\
        \mathrm{LN}(s; \alpha) &= \alpha \odot \frac{s - \mathrm{mean}(s)}{\sqrt{\mathrm{var}(s) + 10^{-5}}}

    Mean and variance are taken over all four gates at once, 4 H numbers, as the paper has it; other code takes each
    gate by itself, which is another model. The paper adds a bias after each of the first two LN besides b; the three
    are one sum, so only b is kept. What is carried on is ``c`` as it is, not its normalized value.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: Initial value of b for the forget gate, as in :class:`~gru_bench.cells.lstm.LSTM`.
        recurrent_gain: Initial value of :math:`\alpha_h`. The paper starts all gains at 1. Then this network is chaotic
            before it has learnt anything: a rounding of 1e-7 in float32 grew to 4e-4 over 200 steps (10 inputs, 32
            units), and no two ways to compute it agree. With 0.1, which Cooijmans et al. (2017), arXiv:1603.09025,
            found to be needed in a recurrent network with batch normalization, it stayed at 4e-7.
        init: See :class:`~gru_bench.cells.base.Cell`. The other gains start at 1, biases at 0.

    Shapes:
        gx: (B, 4 * H), gates stacked as i, f, g, o. gain_x, gain_h: (4 * H). gain_c, b_c: (H). state: ``h`` and ``c``,
        each (B, H). The output is ``h``.

    Parameters: 4 * H * (D + H + 1) + 10 * H

    Source: Ba et al. (2016), arXiv:1607.06450, its supplement. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    gating: ClassVar[tuple[str, ...]] = ("i", "f", "o")
    keeps: ClassVar[str] = "f"
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    least_units: ClassVar[int] = LEAST_UNITS

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        forget_bias: float = 1.0,
        recurrent_gain: float = 0.1,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        with torch.no_grad():
            self.b[hidden_size : 2 * hidden_size] = forget_bias
        self.gain_x = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_h = nn.Parameter(torch.full((4 * hidden_size,), recurrent_gain))
        self.gain_c = nn.Parameter(torch.ones(hidden_size))
        self.b_c = nn.Parameter(torch.zeros(hidden_size))

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        return normalize(F.linear(x_TBD, self.W).to(self.W.dtype), self.gain_x, self.b)

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        h_BH, c_BH = state
        gh_BG = normalize(F.linear(h_BH, self.U).to(gx_BG.dtype), self.gain_h)
        i_BH, f_BH, g_BH, o_BH = (gx_BG + gh_BG).chunk(4, dim=1)
        i_BH, f_BH, g_BH, o_BH = torch.sigmoid(i_BH), torch.sigmoid(f_BH), torch.tanh(g_BH), torch.sigmoid(o_BH)
        c_BH = f_BH * c_BH + i_BH * g_BH
        h_BH = o_BH * torch.tanh(normalize(c_BH, self.gain_c, self.b_c))
        return (h_BH, c_BH), (i_BH, f_BH, g_BH, o_BH)


class GRULayerNorm(Cell):
    r"""Gated recurrent unit with layer normalization, reset gate after the recurrent product.

    .. math::
        (r_t, z_t) &= \mathrm{LN}(W_{rz} x_t; \alpha_x) + \mathrm{LN}(U_{rz} h_{t-1}; \alpha_h) + b_{rz} \\
        n_t &= \tanh(\mathrm{LN}(W_n x_t; \alpha_{xn}) + b_n
               + \sigma(r_t) \odot (\mathrm{LN}(U_n h_{t-1}; \alpha_{hn}) + b_{hn})) \\
        h_t &= (1 - \sigma(z_t)) \odot h_{t-1} + \sigma(z_t) \odot n_t

    LN is that of :class:`LSTMLayerNorm`, over the two gates at once (2 H numbers) and over the candidate (H) apart, as
    in the paper. Of the paper's two biases of the gates, which are one sum, one is kept. The new value is written where
    ``z`` is 1: the other way round than in :class:`~gru_bench.cells.gru.GRU`.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        recurrent_gain: Initial value of :math:`\alpha_h` and :math:`\alpha_{hn}`; see :class:`LSTMLayerNorm`. The
            paper's 1 is less harmful here than there.
        init: See :class:`~gru_bench.cells.base.Cell`. The other gains start at 1, biases at 0.

    Shapes:
        gx: (B, 3 * H), gates stacked as r, z, n. gain_x, gain_h: (3 * H). b_hn: (H). state: ``h`` of shape (B, H). The
        output is ``h``.

    Parameters: 3 * H * (D + H + 1) + 7 * H

    Source: Ba et al. (2016), arXiv:1607.06450, its supplement. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    gating: ClassVar[tuple[str, ...]] = ("r", "z")
    keeps: ClassVar[str] = "1 - z"
    least_units: ClassVar[int] = LEAST_UNITS

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        recurrent_gain: float = 0.1,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.gain_x = nn.Parameter(torch.ones(3 * hidden_size))
        self.gain_h = nn.Parameter(torch.full((3 * hidden_size,), recurrent_gain))
        self.b_hn = nn.Parameter(torch.zeros(hidden_size))

    def _normalize(self, s: Tensor, gain_G: Tensor) -> tuple[Tensor, Tensor]:
        """Gates and candidate, each by itself, of any number of leading dimensions."""
        sizes = (2 * self.hidden_size, self.hidden_size)
        s_gates, s_n = s.split(sizes, dim=-1)
        of_gates, of_n = gain_G.split(sizes)
        return normalize(s_gates, of_gates), normalize(s_n, of_n)

    def input_projection(self, x_TBD: Tensor) -> Tensor:
        s_TBG = F.linear(x_TBD, self.W).to(self.W.dtype)
        return torch.cat(self._normalize(s_TBG, self.gain_x), dim=2) + self.b

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        H = self.hidden_size
        rz_BG, n_BH = self._normalize(F.linear(h_BH, self.U).to(gx_BG.dtype), self.gain_h)
        r_BH, z_BH = torch.sigmoid(gx_BG[:, : 2 * H] + rz_BG).chunk(2, dim=1)
        n_BH = torch.tanh(gx_BG[:, 2 * H :] + r_BH * (n_BH + self.b_hn))
        return (torch.lerp(h_BH, n_BH, z_BH),), (r_BH, z_BH, n_BH)
