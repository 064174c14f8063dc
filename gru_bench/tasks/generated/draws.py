"""Random draws that the generators of several tasks need."""

import torch
from torch import Tensor


def distinct(count: int, below: int, batch_size: int, generator: torch.Generator | None) -> Tensor:
    """So many different numbers of 0 .. below - 1 for each example, in random order: (count, B)."""
    return torch.rand(below, batch_size, generator=generator).topk(count, dim=0).indices
