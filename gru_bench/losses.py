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
CACHED_BYTES = 2**21
"""Bytes of logits that stay in a core's own cache, about, until their gradients have been used. Only on the CPU."""
LEAST_ROWS = 256
"""Positions of a chunk, where :data:`CHUNK_BYTES` allow them: with fewer the matrix products themselves are slower."""


def token_nats(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Negative log-probability of each target, (T, B), in 32 bits or more; 0 where the target is ignored."""
    wide_TBV = logits_TBV.to(torch.promote_types(logits_TBV.dtype, torch.float32))
    return F.cross_entropy(wide_TBV.flatten(0, 1), targets_TB.flatten(), reduction="none").view_as(targets_TB)


def mean_nats(h_TBE: Tensor, layer: nn.Linear, targets_TB: Tensor) -> Tensor:
    """Mean negative log-probability of the targets that are not ignored, given what the output layer is fed.

    Where the logits are few (half of :data:`CACHED_BYTES`; off the CPU :data:`CHUNK_BYTES`), in half precision, under
    autocast, or from a layer without bias, this is the layer and ``F.cross_entropy``. Else they are made chunk by
    chunk, and each chunk gives its part of the gradients, if any are asked for, while it is in the cache, so that
    neither logits nor their gradients ever lie in memory as a whole, and what is left are the three matrix products.
    On the CPU, for 640 positions over 1,000 words of 64 units it takes 0.6 of the plain one's time, for
    1,024 over 4,000 of 128 units 0.65; over 33,278 words it holds chunks of 17 MB instead of four times 149 MB.
    """
    targets_N = targets_TB.flatten()
    scored_N = targets_N != IGNORED
    # the chunks' gradients are made by hand, in one type: not under autocast
    mixed = torch.is_autocast_enabled(h_TBE.device.type)
    few = targets_N.numel() * row_bytes(layer) <= (CACHED_BYTES // 2 if on_cpu(layer) else CHUNK_BYTES)
    if mixed or few or layer.bias is None or h_TBE.dtype not in (torch.float32, torch.float64):
        return token_nats(layer(h_TBE), targets_TB).sum() / scored_N.sum()
    shares_N = scored_N / scored_N.sum().to(h_TBE.dtype)
    rows = chunk_rows(layer, targets_N.numel())
    h_NE, W_VE, b_V = h_TBE.flatten(0, 1), layer.weight, layer.bias
    # asked here: within the function no gradients are recorded, and its needs_input_grad is true of any parameter
    wanted = torch.is_grad_enabled() and any(values.requires_grad for values in (h_NE, W_VE, b_V))
    return _ChunkedNats.apply(h_NE, W_VE, b_V, targets_N.clamp(min=0), shares_N, rows, wanted)


def on_cpu(layer: nn.Linear) -> bool:
    """Whether the layer's products go through a core's cache."""
    return layer.weight.device.type == "cpu"


def row_bytes(layer: nn.Linear) -> int:
    """Bytes of the logits of one position."""
    return layer.out_features * layer.weight.element_size()


def chunk_rows(layer: nn.Linear, num_rows: int | None = None) -> int:
    """Positions whose logits make one chunk; given how many there are, such that all chunks are of nearly one size.

    Off the CPU a chunk is as large as :data:`CHUNK_BYTES` allow.
    """
    cached, most = CACHED_BYTES // row_bytes(layer), CHUNK_BYTES // row_bytes(layer)
    rows = max(1, min(max(cached, LEAST_ROWS), most) if on_cpu(layer) else most)
    if num_rows is None:
        return rows
    num_rows = max(num_rows, 1)
    return -(-num_rows // -(-num_rows // rows))


def nats_and_guesses(h_TBE: Tensor, layer: nn.Linear, targets_TB: Tensor) -> tuple[Tensor, Tensor]:
    """The :func:`token_nats` of what the output layer is fed, and the likeliest tokens, both (T, B); no gradients.

    The logits are made chunk by chunk.
    """
    h_NE, targets_N = h_TBE.flatten(0, 1), targets_TB.flatten()
    rows = chunk_rows(layer, len(targets_N))
    nats: list[Tensor] = []
    guesses: list[Tensor] = []
    with torch.no_grad():
        for h_nE, targets_n in zip(h_NE.split(rows), targets_N.split(rows), strict=True):
            logits_n1V = layer(h_nE)[:, None]
            nats.append(token_nats(logits_n1V, targets_n[:, None]))
            guesses.append(logits_n1V.argmax(dim=2))
    return torch.cat(nats).view_as(targets_TB), torch.cat(guesses).view_as(targets_TB)


class _ChunkedNats(torch.autograd.Function):
    """Sum of the nats, each times its share. The gradients are made in the forward pass, while a chunk is there.

    ``targets_N`` are valid everywhere; where one is ignored, its share is 0. Shares are multiplied into the small
    factors of the products, never into the logits. Unless ``wanted``, no gradient is made.
    """

    @staticmethod
    def forward(
        ctx: Any, h_NE: Tensor, W_VE: Tensor, b_V: Tensor, targets_N: Tensor, shares_N: Tensor, rows: int, wanted: bool
    ) -> Tensor:
        total = h_NE.new_zeros(())
        buffer_NV = h_NE.new_empty(min(rows, len(h_NE)), len(W_VE))
        if wanted:
            dh_NE, dW_VE, db_V = torch.empty_like(h_NE), torch.zeros_like(W_VE), torch.zeros_like(b_V)
            minus_N1 = h_NE.new_full((len(buffer_NV), 1), -1)
        for start in range(0, len(h_NE), rows):
            chunk = slice(start, start + rows)
            h_nE, targets_n1, shares_n = h_NE[chunk], targets_N[chunk, None], shares_N[chunk]
            z_nV = torch.addmm(b_V, h_nE, W_VE.T, out=buffer_NV[: len(h_nE)])
            target_n, largest_n = z_nV.gather(1, targets_n1)[:, 0], z_nV.amax(dim=1)
            p_nV = torch.softmax(z_nV, dim=1, out=z_nV)
            # the largest probability is 1 over the sum of exp(z - largest), and never too small for a logarithm
            nats_n = largest_n - target_n - p_nV.amax(dim=1).log()
            total += nats_n @ shares_n
            if wanted:
                dz_nV = p_nV.scatter_add_(1, targets_n1, minus_N1[: len(h_nE)])
                dh_nE = torch.mm(dz_nV, W_VE, out=dh_NE[chunk])
                dh_nE *= shares_n[:, None]
                dW_VE.addmm_(dz_nV.T, h_nE * shares_n[:, None])
                db_V.addmv_(dz_nV.T, shares_n)
        if wanted:
            ctx.save_for_backward(dh_NE, dW_VE, db_V)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dh_NE, dW_VE, db_V = ctx.saved_tensors
        return grad * dh_NE, grad * dW_VE, grad * db_V, None, None, None, None
