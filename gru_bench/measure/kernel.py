"""Which kernel ran, as the profiler saw it: not what was asked for."""

from typing import cast

import torch
from torch import nn
from torch.autograd.profiler import profile

FUSED = {
    "aten::_cudnn_rnn": "cuDNN",
    "aten::miopen_rnn": "MIOpen",
    "aten::mkldnn_rnn_layer": "oneDNN",
}
"""Whole layers in one call."""
ATEN = ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")
"""The operators behind ``torch.nn``. Where no fused kernel ran inside, ATen looped over the steps itself."""


def kernel_name(encoder_or_stack: nn.Module, input_size: int, device: torch.device, dtype: torch.dtype) -> str:
    """Run forward and backward on a tiny input and name what the profiler saw.

    The module's gradients, its mode and the random state are left as they were.

    Args:
        encoder_or_stack: An ``Encoder`` or a ``Stack``, already on ``device`` and in ``dtype``.
        input_size: D.
        device: Where it runs.
        dtype: In which floating type it runs.

    Returns:
        ``cuDNN``, ``MIOpen``, ``oneDNN``, ``ATen loop`` or ``Python loop``; several, joined by `` + ``, where layers
        ran on different ones.
    """
    x_TBD = torch.zeros(2, 2, input_size, device=device, dtype=dtype)
    parameters = [p for p in encoder_or_stack.parameters() if p.requires_grad]
    devices = [device] if device.type == "cuda" else []
    # dropout between layers draws numbers, which must not shift those of the training that follows
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), profile(use_cpu=True) as profiled:
        h_TBH, _ = encoder_or_stack(x_TBD)
        torch.autograd.grad(cast(torch.Tensor, h_TBH).sum(), parameters, allow_unused=True)
    seen = {event.name() for event in profiled.kineto_results.events()}
    fused = [name for operator, name in FUSED.items() if operator in seen]
    if fused:
        return " + ".join(fused)
    return "ATen loop" if seen.intersection(ATEN) else "Python loop"
