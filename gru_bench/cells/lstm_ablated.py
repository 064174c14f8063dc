"""The LSTM without one of its gates, which shows what each does."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gru_bench.cells.base import Cell, Init, Saved, State


class Ablated(Cell, ABC):
    """What the cells below share: an LSTM that computes fewer gates, listed in its order i, f, g, o."""

    family: ClassVar[str] = "lstm"
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    keeps: ClassVar[str] = "f"
    saves: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    @abstractmethod
    def _open(self, gates: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """i, f, g and o from those that the cell computes."""

    def _memory_slopes(self, c_TBH: Tensor, i_TBH: Tensor, f_TBH: Tensor, g_TBH: Tensor) -> dict[str, Tensor]:
        """By what the gradient of the new memory is multiplied, for each gate that takes part in it."""
        return {
            "i": g_TBH * i_TBH * (1 - i_TBH),
            "f": c_TBH * f_TBH * (1 - f_TBH),
            "g": i_TBH * (1 - g_TBH**2),
        }

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        h_BH, c_BH = state
        products = (gx_BG + F.linear(h_BH, self.U)).chunk(len(self.gates), dim=1)
        i_BH, f_BH, g_BH, o_BH = self._open(
            {
                gate: torch.tanh(s_BH) if gate == "g" else torch.sigmoid(s_BH)
                for gate, s_BH in zip(self.gates, products, strict=True)
            }
        )
        c_BH = f_BH * c_BH + i_BH * g_BH
        h_BH = o_BH * torch.tanh(c_BH)
        return (h_BH, c_BH), (i_BH, f_BH, g_BH, o_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        i_TBH, f_TBH, g_TBH, o_TBH = saved
        squashed_TBH = torch.tanh(new[1])
        of_gate = self._memory_slopes(old[1], i_TBH, f_TBH, g_TBH)
        of_c = torch.stack([of_gate[gate] for gate in self.gates if gate != "o"], dim=2)
        return of_c, squashed_TBH * o_TBH * (1 - o_TBH), o_TBH * (1 - squashed_TBH**2), f_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_c, of_h, c_of_h, f_BH = slopes
        dh_BH, dc_BH = dstate
        dc_BH = torch.addcmul(dc_BH, dh_BH, c_of_h)  # the output reaches c too
        dproducts_BG = (dc_BH[:, None] * of_c).flatten(1)
        if "o" in self.gates:
            dproducts_BG = torch.cat((dproducts_BG, dh_BH * of_h), dim=1)
        return dproducts_BG, (dproducts_BG @ U_GH, dc_BH * f_BH)


class LSTMNoInput(Ablated):
    r"""Long short-term memory whose input gate is fixed at 1.

    .. math::
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
        c_t &= f_t \odot c_{t-1} + g_t \\
        h_t &= o_t \odot \tanh(c_t)

    All else is :class:`~gru_bench.cells.lstm.LSTM`. Greff et al. take the gate from an LSTM with peepholes, Jozefowicz
    et al. from one without, as here.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: Initial :math:`b_f`.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as f, g, o. state: ``h`` and ``c``, each (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Greff et al. (2017), arXiv:1503.04069, "NIG"; Jozefowicz et al. (2015), "LSTM-i". Checked against the
    equations in ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    gates: ClassVar[tuple[str, ...]] = ("f", "g", "o")
    gating: ClassVar[tuple[str, ...]] = ("f", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        forget_bias: float = 1.0,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        with torch.no_grad():
            self.b[:hidden_size] = forget_bias

    def _open(self, gates: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return torch.ones_like(gates["g"]), gates["f"], gates["g"], gates["o"]


class LSTMNoForget(Ablated):
    r"""Long short-term memory whose forget gate is fixed at 1: the memory only adds up.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
        c_t &= c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    The memory of 1997, before there was a forget gate. All else is :class:`~gru_bench.cells.lstm.LSTM`, gradients of
    the whole past included, which were cut off in 1997.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as i, g, o. state: ``h`` and ``c``, each (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Hochreiter and Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735; as an ablation Greff et al. (2017),
    arXiv:1503.04069, "NFG", and Jozefowicz et al. (2015), "LSTM-f". Checked against the equations in
    ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    gates: ClassVar[tuple[str, ...]] = ("i", "g", "o")
    gating: ClassVar[tuple[str, ...]] = ("i", "o")

    def _open(self, gates: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return gates["i"], torch.ones_like(gates["g"]), gates["g"], gates["o"]


class LSTMNoOutput(Ablated):
    r"""Long short-term memory whose output gate is fixed at 1: the output shows all of the memory.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) \\
        f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= \tanh(c_t)

    All else is :class:`~gru_bench.cells.lstm.LSTM`.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: Initial :math:`b_f`.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as i, f, g. state: ``h`` and ``c``, each (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Greff et al. (2017), arXiv:1503.04069, "NOG"; Jozefowicz et al. (2015), "LSTM-o". Checked against the
    equations in ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g")
    gating: ClassVar[tuple[str, ...]] = ("i", "f")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        forget_bias: float = 1.0,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        with torch.no_grad():
            self.b[hidden_size : 2 * hidden_size] = forget_bias

    def _open(self, gates: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return gates["i"], gates["f"], gates["g"], torch.ones_like(gates["g"])


class LSTMCoupled(Ablated):
    r"""Long short-term memory with coupled input and forget gate (CIFG): what is forgotten is written anew.

    .. math::
        i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i), \quad f_t = 1 - i_t \\
        g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) \\
        o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) \\
        c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
        h_t &= o_t \odot \tanh(c_t)

    The memory is a weighted mean of candidates, as a GRU's state is: within -1 and 1, so it cannot count.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        forget_bias: As for the LSTM: :math:`f_t` starts at :math:`\sigma` of it, so :math:`b_i` is minus it.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as i, g, o. state: ``h`` and ``c``, each (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Greff et al. (2017), arXiv:1503.04069, "CIFG", here without peepholes. Checked against the equations in
    ``tests/equations`` by ``tests/cells/test_cells.py``.
    """

    gates: ClassVar[tuple[str, ...]] = ("i", "g", "o")
    gating: ClassVar[tuple[str, ...]] = ("i", "f", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        forget_bias: float = 1.0,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        with torch.no_grad():
            self.b[:hidden_size] = -forget_bias

    def _open(self, gates: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return gates["i"], 1 - gates["i"], gates["g"], gates["o"]

    def _memory_slopes(self, c_TBH: Tensor, i_TBH: Tensor, f_TBH: Tensor, g_TBH: Tensor) -> dict[str, Tensor]:
        return {"i": (g_TBH - c_TBH) * i_TBH * f_TBH, "g": i_TBH * (1 - g_TBH**2)}
