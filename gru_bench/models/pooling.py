"""One vector for a sequence, as a learned mean over its steps."""

import torch
from torch import Tensor, nn

from gru_bench.cells.base import Init
from gru_bench.models.init import linear
from gru_bench.models.streams import Streams


class AttentionPooling(nn.Module):
    r"""A weighted mean of the outputs, whose weights depend on them.

    .. math::
        u_t &= \tanh(W h_t + b) \\
        a_t &= \mathrm{softmax}_t(v^\top u_t) && \text{over the steps within the length} \\
        s &= \sum_t a_t h_t

    Args:
        size: H, units of the outputs.
        streams: Sources of the initial values, one per part.
        init: Of all three parameters; see ``models/init.py``. :math:`v` has no bias, which would add the same to all
            scores.

    Shapes:
        h: (T, B, H). lengths: (B,), or None where nothing is padded. Output: (B, H), and the weights (T, B), zero on
        padding.

    Source: Yang et al. (2016), doi:10.18653/v1/N16-1174, equations 5 to 7.
    """

    def __init__(self, size: int, streams: Streams, /, *, init: Init) -> None:
        super().__init__()
        self.hidden = linear(size, size, streams("hidden"), init)
        self.v_1H = linear(size, 1, streams("v"), init).weight

    def forward(self, h_TBH: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pool every sequence of a batch."""
        scores_TB = (torch.tanh(self.hidden(h_TBH)) @ self.v_1H.T).squeeze(2)
        if lengths is not None:
            steps_T = torch.arange(h_TBH.shape[0], device=h_TBH.device)
            padded_TB = steps_T[:, None] >= lengths.to(h_TBH.device)[None, :]
            scores_TB = scores_TB.masked_fill(padded_TB, -torch.inf)
        weights_TB = scores_TB.softmax(dim=0)
        return torch.einsum("tb,tbh->bh", weights_TB, h_TBH), weights_TB
