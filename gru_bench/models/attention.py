"""Attention of a decoder over an encoder's outputs."""

import math

import torch
from torch import Tensor, nn

from gru_bench.cells.base import Init
from gru_bench.models.init import linear


class LuongAttention(nn.Module):
    r"""Global attention with the general score, after the decoder and without input feeding.

    .. math::
        a_{st} &= \mathrm{softmax}_t(h_s^\top W_a m_t)   && \text{weights over source steps} \\
        c_s &= \sum_t a_{st} m_t                         && \text{context} \\
        \tilde h_s &= \tanh(W_c [c_s; h_s] + b_c)        && \text{attended output}

    No step depends on the attention of the one before, so a whole target sequence is three products and the decoder
    stays one call of its backend.

    Args:
        query_size: H, units of the decoder's output.
        memory_size: M, units of the encoder's output.
        generator: Source of the initial values.
        init: Of :math:`W_c` and :math:`b_c`; see ``models/init.py``.

    Shapes:
        h: (S, B, H). memory: (T, B, M). Output: (S, B, H), and the weights (B, S, T), zero on source padding.

    Source: Luong et al. (2015), arXiv:1508.04025, section 3.1.
    """

    def __init__(self, query_size: int, memory_size: int, generator: torch.Generator, /, *, init: Init) -> None:
        super().__init__()
        # without a bias, which would add the same to all scores of a step that are then normalized
        self.W_a = nn.Parameter(torch.empty(query_size, memory_size))
        if not self.W_a.is_meta:
            bound = 1 / math.sqrt(query_size)
            nn.init.uniform_(self.W_a, -bound, bound, generator=generator)
        self.combine = linear(memory_size + query_size, query_size, generator, init)

    def forward(self, h_SBH: Tensor, memory_TBM: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend from every target step; ``lengths`` (B,) of the source, or None where nothing is padded."""
        scores_BST = torch.einsum("sbm,tbm->bst", h_SBH @ self.W_a, memory_TBM)
        if lengths is not None:
            steps_T = torch.arange(memory_TBM.shape[0], device=memory_TBM.device)
            padded_BT = steps_T[None, :] >= lengths.to(memory_TBM.device)[:, None]
            scores_BST = scores_BST.masked_fill(padded_BT[:, None, :], -math.inf)
        weights_BST = scores_BST.softmax(dim=2)
        context_SBM = torch.einsum("bst,tbm->sbm", weights_BST, memory_TBM)
        return torch.tanh(self.combine(torch.cat([context_SBM, h_SBH], dim=2))), weights_BST
