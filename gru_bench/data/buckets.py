"""Batches of sequences of similar length, padded and time first, without a worker process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from gru_bench.data.ragged import Ragged

POOL_BATCHES = 10
"""Batches that are sorted by length together: more means less padding, fewer means more mixing."""
LARGE_POOL_BATCHES = 50
"""The same for large data sets: at a batch size of 32, SST-2's padding falls from 0.22 of all steps to 0.05."""
CHUNK_TOKENS = 2**17
"""Padded tokens that are laid out in one go (1 MiB of ids): large enough to be quick, small enough to stay in cache."""


def by_length(
    keys_N: Tensor, batch_size: int, generator: torch.Generator | None, pool_batches: int = POOL_BATCHES
) -> list[Tensor]:
    """Rows of a shuffled pass, in batches of similar length and in random order.

    Args:
        keys_N: What to sort by, such as the length of each row: whole numbers from 0.
        batch_size: Most rows of a batch.
        generator: Draws the order, which depends on nothing else.
        pool_batches: Batches that are sorted by length together.
    """
    rows_N = torch.randperm(len(keys_N), generator=generator)
    keys_N = keys_N[rows_N].long()
    if len(keys_N):
        # one stable sort by pool and key is the same as sorting pool after pool
        pools_N = torch.arange(len(keys_N)) // (pool_batches * batch_size)
        rows_N = rows_N[(pools_N * (keys_N.max() + 1) + keys_N).argsort(stable=True)]
    groups = rows_N.split(batch_size) if len(rows_N) else ()
    return [groups[index] for index in torch.randperm(len(groups), generator=generator).tolist()]


def in_order(keys_N: Tensor, batch_size: int) -> list[Tensor]:
    """All rows from the shortest to the longest, in batches: the fixed order of an evaluation."""
    return list(keys_N.argsort(stable=True).split(batch_size)) if len(keys_N) else []


def padding_share(lengths_N: Tensor, groups: Sequence[Tensor]) -> float:
    """Share of the steps of these batches that are padding, from 0 to 1."""
    padded = sum(int(lengths_N[rows].max()) * len(rows) for rows in groups)
    real = sum(int(lengths_N[rows].sum()) for rows in groups)
    return 1 - real / padded if padded else 0.0


@dataclass(frozen=True)
class Padded:
    """One batch of sequences.

    Attributes:
        rows: (B,) which sequences.
        ids: (T, B) their ids, int64, right-padded.
        lengths: (B,) int64.
        num_tokens: Ids without padding.
    """

    rows: Tensor
    ids: Tensor
    lengths: Tensor
    num_tokens: int


def padded(sequences: Ragged, groups: Sequence[Tensor], pad: int) -> Iterator[Padded]:
    """Lay out batches, one after the other.

    Many batches are laid out at once in one buffer of :data:`CHUNK_TOKENS`, of which each batch is a view.

    Args:
        sequences: All sequences.
        groups: The rows of each batch.
        pad: What stands after the end of a sequence.
    """
    if not groups:
        return
    lengths_N = np.diff(sequences.offsets)
    rows_N = torch.cat(list(groups))
    sizes = np.array([len(rows) for rows in groups])
    heads = np.concatenate([[0], sizes.cumsum()])
    longest = np.maximum.reduceat(lengths_N[rows_N.numpy()], heads[:-1]).astype(np.int64)
    areas = longest * sizes
    chunk_of = areas.cumsum() // CHUNK_TOKENS
    edges = [0, *(np.flatnonzero(np.diff(chunk_of)) + 1).tolist(), len(groups)]
    for first, last in pairwise(edges):
        chosen = slice(first, last)
        rows = rows_N[heads[first] : heads[last]]
        yield from _lay_out(sequences, rows, sizes[chosen], longest[chosen], areas[chosen], pad)


def _lay_out(
    sequences: Ragged, rows_R: Tensor, sizes: np.ndarray, longest: np.ndarray, areas: np.ndarray, pad: int
) -> Iterator[Padded]:
    starts_R = sequences.offsets[rows_R.numpy()].astype(np.int64)
    lengths_R = sequences.offsets[rows_R.numpy() + 1].astype(np.int64) - starts_R
    heads = sizes.cumsum() - sizes
    # where in the buffer each row's first token goes; from step to step it moves by the batch's size
    first_R = np.arange(len(rows_R)) + (areas.cumsum() - areas - heads).repeat(sizes)
    ends_R = lengths_R.cumsum()
    begins_R = ends_R - lengths_R
    token_N = np.arange(ends_R[-1])
    step_N = token_N - begins_R.repeat(lengths_R)
    from_N = token_N + (starts_R - begins_R).repeat(lengths_R)
    if (sizes == sizes[0]).all():
        to_N = first_R.repeat(lengths_R) + step_N * sizes[0]
    else:
        to_N = first_R.repeat(lengths_R) + step_N * sizes.repeat(sizes).repeat(lengths_R)
    buffer = np.full(areas.sum(), pad, dtype=np.int64)
    buffer[to_N] = sequences.values[from_N]
    views = zip(
        rows_R.split(sizes.tolist()),
        torch.from_numpy(buffer).split(areas.tolist()),
        torch.from_numpy(lengths_R).split(sizes.tolist()),
        longest.tolist(),
        np.add.reduceat(lengths_R, heads).tolist(),
        strict=True,
    )
    for rows, ids, lengths, T, num_tokens in views:
        yield Padded(rows, ids.view(T, len(rows)), lengths, num_tokens)
