"""Batches of sequences of similar length."""

from collections.abc import Iterator

import torch
from torch import Tensor

POOL_BATCHES = 10
"""Batches that are sorted by length together: more means less padding, fewer means more mixing."""


def by_length(keys_N: Tensor, batch_size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Rows of a shuffled pass, in batches of similar length and in random order.

    Args:
        keys_N: What to sort by, such as the length of each row.
        batch_size: Most rows of a batch.
        generator: Draws the order.
    """
    groups: list[Tensor] = []
    for pool in torch.randperm(len(keys_N), generator=generator).split(POOL_BATCHES * batch_size):
        groups.extend(pool[keys_N[pool].argsort(stable=True)].split(batch_size))
    for index in torch.randperm(len(groups), generator=generator).tolist():
        yield groups[index]
