"""Sequences of unequal length in two arrays."""

from array import array
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Sequences of ids, end to end.

    Attributes:
        values: (N,) all ids, in the smallest integer type that fits them.
        offsets: (R + 1,) where each sequence begins, and where the last one ends; likewise.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """(R,) int64, made anew at each call: kept, they would take as much room as short sequences do."""
        return np.diff(self.offsets).astype(np.int64)

    @property
    def num_bytes(self) -> int:
        """Bytes of both arrays."""
        return self.values.nbytes + self.offsets.nbytes


def pack(values: "array[int] | np.ndarray", offsets: "array[int]", num_ids: int) -> Ragged:
    """Both arrays in the smallest types that hold ids below ``num_ids``."""
    flat = np.asarray(values)
    return Ragged(flat.astype(smallest(num_ids)), np.asarray(offsets).astype(smallest(len(flat) + 1)))


def smallest(count: int) -> np.dtype:
    """The smallest unsigned type that holds 0..count-1."""
    return np.min_scalar_type(max(count - 1, 0))
