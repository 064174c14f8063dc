"""One layer step by step in plain torch: for what neither compiled code nor torch's own kernels can be put through.

``torch.func.vmap`` and forward-mode derivatives transform single operations, and so does a second derivative. This is
the slow way, and it is exact.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

State = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor, State], State]
"""``step(gx, gh, state)``: the products of input and old state with their weights, biases added, to the new state."""


def gru(gx_BG: Tensor, gh_BG: Tensor, state: State) -> State:
    """Reset gate after the product."""
    (h_BH,) = state
    xr_BH, xz_BH, xn_BH = gx_BG.chunk(3, dim=-1)
    hr_BH, hz_BH, hn_BH = gh_BG.chunk(3, dim=-1)
    r_BH, z_BH = torch.sigmoid(xr_BH + hr_BH), torch.sigmoid(xz_BH + hz_BH)
    n_BH = torch.tanh(xn_BH + r_BH * hn_BH)
    return (n_BH + z_BH * (h_BH - n_BH),)


def lstm(gx_BG: Tensor, gh_BG: Tensor, state: State) -> State:
    """Input, forget, candidate and output gate."""
    i_BH, f_BH, g_BH, o_BH = (gx_BG + gh_BG).chunk(4, dim=-1)
    c_BH = torch.sigmoid(f_BH) * state[1] + torch.sigmoid(i_BH) * torch.tanh(g_BH)
    return torch.sigmoid(o_BH) * torch.tanh(c_BH), c_BH


STEPS: dict[str, Step] = {
    "GRU": gru,
    "LSTM": lstm,
    "RNN_TANH": lambda gx_BG, gh_BG, _: (torch.tanh(gx_BG + gh_BG),),
    "RNN_RELU": lambda gx_BG, gh_BG, _: (torch.relu(gx_BG + gh_BG),),
}
"""By torch's names of its modes."""


def run_steps(
    mode: str, inputs: Sequence[Tensor], weights: Sequence[Tensor | None], state: State, *, backwards: bool = False
) -> tuple[list[Tensor], State]:
    """One layer over the steps of a batch whose sequences stand in falling order of their lengths.

    Args:
        mode: A key of ``STEPS``.
        inputs: Of each step (n, D), the n sequences that are as long; n falls.
        weights: ``weight_ih`` (G, D), ``weight_hh`` (G, H), ``bias_ih`` and ``bias_hh`` (G) or None, and with a
            projection ``weight_hr`` (P, H).
        state: Before the first step, (B, H) each; the first (B, P) with a projection.
        backwards: From the last step to the first.

    Returns:
        The outputs of each step (n, H), in the order of the inputs, and each sequence's last state.
    """
    W, U, b_ih, b_hh, projection = (*weights, None)[:5]
    assert W is not None
    assert U is not None
    step = STEPS[mode]
    outputs: list[Tensor] = []
    for x_nD in reversed(inputs) if backwards else inputs:
        n = x_nD.shape[0]
        alive = tuple(s_BH[:n] for s_BH in state)
        new = step(F.linear(x_nD, W, b_ih), F.linear(alive[0], U, b_hh), alive)
        if projection is not None:
            new = (F.linear(new[0], projection), *new[1:])
        outputs.append(new[0])
        state = tuple(
            s_nH if n == s_BH.shape[0] else torch.cat((s_nH, s_BH[n:])) for s_nH, s_BH in zip(new, state, strict=True)
        )
    return outputs[::-1] if backwards else outputs, state
