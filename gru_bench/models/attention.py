"""Attention of a decoder over an encoder's outputs."""

import math

import torch
from torch import Tensor, nn

from gru_bench.cells.base import Init
from gru_bench.models.init import linear
from gru_bench.models.streams import Streams


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
        streams: Sources of the initial values, one per part.
        init: Of :math:`W_c` and :math:`b_c`; see ``models/init.py``.

    Shapes:
        h: (S, B, H). memory: (T, B, M). Output: (S, B, H), and the weights (B, S, T), zero on source padding.

    Source: Luong et al. (2015), arXiv:1508.04025, section 3.1.
    """

    def __init__(self, query_size: int, memory_size: int, streams: Streams, /, *, init: Init) -> None:
        super().__init__()
        # without a bias, which would add the same to all scores of a step that are then normalized
        self.W_a = nn.Parameter(torch.empty(query_size, memory_size))
        if not self.W_a.is_meta:
            bound = 1 / math.sqrt(query_size)
            nn.init.uniform_(self.W_a, -bound, bound, generator=streams("W_a"))
        self.combine = linear(memory_size + query_size, query_size, streams("combine"), init)

    def forward(self, h_SBH: Tensor, memory_TBM: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend from every target step; ``lengths`` (B,) of the source, or None where nothing is padded."""
        scores_BST = torch.einsum("sbm,tbm->bst", h_SBH @ self.W_a, memory_TBM)
        if lengths is not None:
            scores_BST = scores_BST.masked_fill(padding(memory_TBM, lengths).T[:, None, :], -math.inf)
        weights_BST = scores_BST.softmax(dim=2)
        context_SBM = torch.einsum("bst,tbm->sbm", weights_BST, memory_TBM)
        return torch.tanh(self.combine(torch.cat([context_SBM, h_SBH], dim=2))), weights_BST


class BahdanauAttention(nn.Module):
    r"""Additive attention from the state before a step, whose context the step then reads.

    .. math::
        e_{st} &= v_a^\top \tanh(W_a^\top h_{s-1} + U_a m_t + b_a)     && \text{score of a source step} \\
        a_{st} &= \mathrm{softmax}_t(e_{st})                      && \text{weights over source steps} \\
        c_s &= \sum_t a_{st} m_t                                  && \text{context} \\
        h_s &= \mathrm{cell}([E y_{s-1}; c_s], h_{s-1})           && \text{the decoder's step} \\
        \tilde h_s &= \tanh(W_c [c_s; h_s; E y_{s-1}] + b_c)      && \text{what the output layer reads}

    The context is an input of the cell, so every target step is a call of the decoder by itself, in training too.
    :math:`U_a m_t + b_a` does not depend on the step and is computed once: :meth:`keys`. A decoder of several layers
    asks with the state of its last one. The paper's output reads :math:`h_{s-1}` and takes the larger of each two
    units; here it reads :math:`h_s` and is a tanh, as after :class:`LuongAttention`.

    Args:
        query_size: H, units of the decoder's output, and of the score's hidden layer.
        memory_size: M, units of the encoder's output.
        embedding_size: D of target words.
        streams: Sources of the initial values, one per part.
        init: Of :math:`U_a, b_a, W_c` and :math:`b_c`; see ``models/init.py``.

    Shapes:
        h: (B, H). memory: (T, B, M). keys: (T, B, H). Context: (B, M). Weights: (T, B), zero on source padding.

    Source: Bahdanau et al. (2015), arXiv:1409.0473, section 3.1 and appendix A.
    """

    def __init__(
        self, query_size: int, memory_size: int, embedding_size: int, streams: Streams, /, *, init: Init
    ) -> None:
        super().__init__()
        # without biases: one would only add to the key's, the other the same to all scores that are then normalized
        self.W_a = nn.Parameter(torch.empty(query_size, query_size))
        self.v_a = nn.Parameter(torch.empty(query_size))
        if not self.W_a.is_meta:
            bound = 1 / math.sqrt(query_size)
            nn.init.uniform_(self.W_a, -bound, bound, generator=streams("W_a"))
            nn.init.uniform_(self.v_a, -bound, bound, generator=streams("v_a"))
        self.key = linear(memory_size, query_size, streams("key"), init)
        self.combine = linear(memory_size + query_size + embedding_size, query_size, streams("combine"), init)

    def keys(self, memory_TBM: Tensor) -> Tensor:
        """The part of all scores that does not depend on the decoder: (T, B, M) -> (T, B, H)."""
        return self.key(memory_TBM)

    def forward(
        self, h_BH: Tensor, keys_TBH: Tensor, memory_TBM: Tensor, padding_TB: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Context and weights of one step; ``padding`` marks where a source has ended; None where none has."""
        scores_TB = torch.tanh(keys_TBH + h_BH @ self.W_a) @ self.v_a
        if padding_TB is not None:
            scores_TB = scores_TB.masked_fill(padding_TB, -math.inf)
        weights_TB = scores_TB.softmax(dim=0)
        return torch.einsum("tb,tbm->bm", weights_TB, memory_TBM), weights_TB

    def readout(self, context_SBM: Tensor, h_SBH: Tensor, words_SBD: Tensor) -> Tensor:
        """What the output layer reads, of all steps at once: (S, B, H)."""
        return torch.tanh(self.combine(torch.cat([context_SBM, h_SBH, words_SBD], dim=2)))


def padding(memory_TBM: Tensor, lengths: Tensor) -> Tensor:
    """Where a source has ended: (T, B) of bool, on the memory's device."""
    steps_T = torch.arange(memory_TBM.shape[0], device=memory_TBM.device)
    return steps_T[:, None] >= lengths.to(memory_TBM.device)[None, :]
