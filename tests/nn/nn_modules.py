"""What the tests of gru_bench.nn share: both packages' modules with the same weights, inputs in every form, results."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import gru_bench.nn as ours
from gru_bench.nn import native_layer

D, H, T, B = 3, 5, 4, 3
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "rnn": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
}
needs_native = pytest.mark.skipif(native_layer.missing() is not None, reason="no native code on this machine")


def pair(kind: str, **options: Any) -> tuple[nn.RNNBase, Any]:
    """torch.nn's module and ours, with the same weights."""
    name, more = KINDS[kind]
    sizes = {"input_size": D, "hidden_size": H, "dtype": torch.float64} | more | options
    torch.manual_seed(0)
    theirs = getattr(nn, name)(**sizes)
    module = getattr(ours, name)(**sizes)
    module.load_state_dict(theirs.state_dict())
    return theirs, module


def made_input(form: str, batch_first: bool = False, dtype: torch.dtype = torch.float64) -> Any:
    """``batch``, ``alone``, ``packed`` (unequal lengths, not sorted) or ``equal`` (packed, of equal lengths)."""
    draw = torch.Generator().manual_seed(1)
    if form == "batch":
        return torch.randn(*((B, T) if batch_first else (T, B)), D, dtype=dtype, generator=draw)
    if form == "alone":
        return torch.randn(T, D, dtype=dtype, generator=draw)
    lengths = (2, T, 1) if form == "packed" else (T,) * B
    return pack_sequence([torch.randn(n, D, dtype=dtype, generator=draw) for n in lengths], enforce_sorted=False)


def made_state(module: nn.RNNBase, form: str, dtype: torch.dtype = torch.float64) -> Any:
    """Initial states that fit."""
    draw = torch.Generator().manual_seed(2)
    rows = module.num_layers * (2 if module.bidirectional else 1)
    shape = (rows, module.hidden_size) if form == "alone" else (rows, B, module.hidden_size)
    h, c = (torch.randn(shape, dtype=dtype, generator=draw) for _ in range(2))
    return (h, c) if module.mode == "LSTM" else h


def leaf(given: Any) -> Any:
    """The same as a leaf that wants a gradient."""
    if given is None:
        return None
    if isinstance(given, PackedSequence):
        return PackedSequence(given.data.clone().requires_grad_(), *given[1:])
    return tuple(map(leaf, given)) if isinstance(given, tuple) else given.clone().requires_grad_()


def flat(result: Any) -> list[Tensor]:
    """All tensors of an output and its states; of a packed one its data."""
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, Tensor) else [tensor for part in result for tensor in flat(part)]


def gradients(module: nn.Module, given: Any, hx: Any = None) -> tuple[list[Tensor], list[Tensor]]:
    """Results, and the gradients of a weighted sum of them: of input, states and parameters."""
    given, hx = leaf(given), leaf(hx)
    torch.manual_seed(3)  # of dropout
    out = flat(module(given, hx))
    draw = torch.Generator().manual_seed(4)
    loss = sum((tensor * torch.randn(tensor.shape, dtype=tensor.dtype, generator=draw)).sum() for tensor in out)
    leaves = [*flat(given), *([] if hx is None else flat(hx)), *(p for p in module.parameters() if p.requires_grad)]
    assert isinstance(loss, Tensor)
    return out, list(torch.autograd.grad(loss, leaves))


def assert_same(found: list[Tensor], expected: list[Tensor], *, within: float = 1e-12) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=within, atol=within)
