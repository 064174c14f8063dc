"""The gated recurrent unit, in the two published placements of the reset gate."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from gru_bench.cells.base import Cell, Init, Saved, State, chrono_bias


class GRU(Cell):
    r"""Gated recurrent unit, reset gate after the recurrent product.

    .. math::
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r)                    && \text{reset gate} \\
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z)                    && \text{update gate} \\
        n_t &= \tanh(W_n x_t + b_n + r_t \odot (U_n h_{t-1} + b_{hn})) && \text{candidate} \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    The old state is kept where ``z`` is 1; some papers write the gate the other way round. This is the GRU of
    torch, cuDNN and Keras's default. :class:`GRUResetBefore` is the other published version; the two are
    different models and share no trained weights.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        chrono_steps: The longest time that the memory has to span, in steps. Given, :math:`b_z` is drawn from
            :math:`\log U(1, T - 1)` and not 0, so that units start with all time scales up to it (Tallec and
            Ollivier 2018, arXiv:1804.11188, whose gate is :math:`1 - z`, so its bias has the other sign).
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as r, z, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1) + H

    Source: Cho et al. (2014), arXiv:1406.1078v1. Checked against ``torch.nn.GRU`` in ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    gating: ClassVar[tuple[str, ...]] = ("r", "z")
    keeps: ClassVar[str] = "z"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        generator: torch.Generator,
        /,
        *,
        chrono_steps: Annotated[int, Gt(2)] | None = None,
        init: Init = "uniform",
    ) -> None:
        super().__init__(input_size, hidden_size, generator, init=init)
        self.b_hn = nn.Parameter(torch.zeros(hidden_size))
        if chrono_steps is not None and not self.b.is_meta:
            with torch.no_grad():
                self.b[hidden_size : 2 * hidden_size] = chrono_bias(hidden_size, chrono_steps, generator)

    @property
    def vendor(self) -> str | None:
        return "GRU"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        H = self.hidden_size
        gh_BG = F.linear(h_BH, self.U)
        r_BH, z_BH = torch.sigmoid(gx_BG[:, : 2 * H] + gh_BG[:, : 2 * H]).chunk(2, dim=1)
        q_BH = gh_BG[:, 2 * H :] + self.b_hn
        n_BH = torch.tanh(gx_BG[:, 2 * H :] + r_BH * q_BH)
        h_BH = torch.lerp(n_BH, h_BH, z_BH)  # (1 - z) * n + z * h in one operation
        return (h_BH,), (r_BH, z_BH, n_BH, q_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        r_TBH, z_TBH, n_TBH, q_TBH = saved
        of_n = (1 - z_TBH) * (1 - n_TBH**2)
        of_z = (old[0] - n_TBH) * z_TBH * (1 - z_TBH)
        return torch.stack((of_n * q_TBH * r_TBH * (1 - r_TBH), of_z, of_n * r_TBH), dim=2), z_TBH, of_n

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_products, z_BH, _ = slopes
        (dh_BH,) = dstate
        dproducts_BG = (dh_BH[:, None] * of_products).flatten(1)
        return dproducts_BG, (torch.addmm(dh_BH * z_BH, dproducts_BG, U_GH),)

    def input_gradient(self, slopes: tuple[Tensor, ...], dproducts_TBG: Tensor, dstates: State) -> Tensor:
        # r scales the candidate's recurrent product, but not its input
        return torch.cat((dproducts_TBG[:, :, : 2 * self.hidden_size], dstates[0] * slopes[2]), dim=2)

    def parameter_gradients(self, dproducts_TBG: Tensor, saved: Saved, old: State) -> dict[str, Tensor]:
        db_hn_H = dproducts_TBG[:, :, 2 * self.hidden_size :].sum((0, 1))
        return super().parameter_gradients(dproducts_TBG, saved, old) | {"b_hn": db_hn_H}


class GRUResetBefore(Cell):
    r"""Gated recurrent unit, reset gate before the recurrent product.

    .. math::
        r_t &= \sigma(W_r x_t + U_r h_{t-1} + b_r) \\
        z_t &= \sigma(W_z x_t + U_z h_{t-1} + b_z) \\
        n_t &= \tanh(W_n x_t + b_n + U_n (r_t \odot h_{t-1})) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    Two dependent recurrent products per step instead of one, so no vendor kernel runs it.

    Args:
        input_size: D, features of one time step.
        hidden_size: H, hidden units.
        generator: Source of the initial values.
        init: See :class:`~gru_bench.cells.base.Cell`.

    Shapes:
        gx: (B, 3 * H), gates stacked as r, z, n. state: ``h`` of shape (B, H). The output is ``h``.

    Parameters: 3 * H * (D + H + 1)

    Source: Cho et al. (2014), arXiv:1406.1078v3. Checked against the equations in ``tests/equations`` by
    ``tests/cells/test_cells.py``.
    """

    family: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    gating: ClassVar[tuple[str, ...]] = ("r", "z")
    keeps: ClassVar[str] = "z"

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, Saved]:
        (h_BH,) = state
        H = self.hidden_size
        rz_BG = torch.sigmoid(gx_BG[:, : 2 * H] + F.linear(h_BH, self.U[: 2 * H]))
        r_BH, z_BH = rz_BG.chunk(2, dim=1)
        n_BH = torch.tanh(gx_BG[:, 2 * H :] + F.linear(r_BH * h_BH, self.U[2 * H :]))
        h_BH = torch.lerp(n_BH, h_BH, z_BH)  # (1 - z) * n + z * h in one operation
        return (h_BH,), (r_BH, z_BH, n_BH)

    def slopes(self, saved: Saved, old: State, new: State) -> tuple[Tensor, ...]:
        r_TBH, z_TBH, n_TBH = saved
        of_n, of_z = (1 - z_TBH) * (1 - n_TBH**2), (old[0] - n_TBH) * z_TBH * (1 - z_TBH)
        return of_n, of_z, old[0] * r_TBH * (1 - r_TBH), r_TBH, z_TBH

    def backward_step(self, slopes: tuple[Tensor, ...], dstate: State, U_GH: Tensor) -> tuple[Tensor, State]:
        of_n, of_z, of_r, r_BH, z_BH = slopes
        (dh_BH,) = dstate
        H = self.hidden_size
        dn_BH = dh_BH * of_n
        dreset_BH = dn_BH @ U_GH[2 * H :]  # of r * h
        drz_BG = torch.cat((dreset_BH * of_r, dh_BH * of_z), dim=1)
        dold_BH = torch.addmm(dh_BH * z_BH + dreset_BH * r_BH, drz_BG, U_GH[: 2 * H])
        return torch.cat((drz_BG, dn_BH), dim=1), (dold_BH,)

    def parameter_gradients(self, dproducts_TBG: Tensor, saved: Saved, old: State) -> dict[str, Tensor]:
        H = self.hidden_size
        drz_NG, dn_NH = dproducts_TBG.flatten(0, 1).split((2 * H, H), dim=1)
        h_NH, reset_NH = old[0].flatten(0, 1), (saved[0] * old[0]).flatten(0, 1)
        return {"U": torch.cat((drz_NG.T @ h_NH, dn_NH.T @ reset_NH))}
