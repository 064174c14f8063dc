"""Layers with initial values from a given generator, as torch or as Keras draws them."""

import math

import torch
from torch import nn

from gru_bench.cells.base import Init


@torch.no_grad()
def linear(in_features: int, out_features: int, generator: torch.Generator, init: Init = "uniform") -> nn.Linear:
    """``nn.Linear``: U(-1/sqrt(in), 1/sqrt(in)) as torch draws it, or Glorot's uniform weights and zero biases."""
    layer = nn.utils.skip_init(nn.Linear, in_features, out_features, device=torch.get_default_device())
    if not layer.weight.is_meta:
        if init == "keras":
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            layer.bias.zero_()
        else:
            bound = 1 / math.sqrt(in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


@torch.no_grad()
def redraw(module: nn.Module, bound: float, generator: torch.Generator) -> None:
    """Draw every parameter of a module, biases too, anew from U(-bound, bound)."""
    for parameter in module.parameters():
        if not parameter.is_meta:
            parameter.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def embedding(num_embeddings: int, embedding_size: int, generator: torch.Generator) -> nn.Embedding:
    """``nn.Embedding`` with values from N(0, 1), as torch draws them."""
    layer = nn.utils.skip_init(nn.Embedding, num_embeddings, embedding_size, device=torch.get_default_device())
    if not layer.weight.is_meta:
        layer.weight.normal_(generator=generator)
    return layer
