"""Memory that is used again.

Every fresh page of memory is cleared by the system when it is first touched. For the tens of megabytes that a layer
keeps for its backward pass this costs a good part of the arithmetic on them, at every step anew. So large pieces go
back to a shelf when the tensor in them is released, and the next tensor of about that size is laid there.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALLEST = 2**18
"""Bytes from which a piece is kept: the allocator keeps smaller ones by itself."""
LARGEST_SHELF = 2**31
"""Bytes that lie on the shelf at most, once the next piece is taken."""

_returned: deque[Tensor] = deque()
"""Pieces on their way to the shelf. Whatever releases a tensor only appends here, which needs no lock: it may happen
inside the code below, when Python collects its garbage there."""
_shelf: list[Tensor] = []
_lock = threading.Lock()


class _Loan(np.ndarray):
    """A view of a piece that goes back to the shelf with the last tensor that lies in it."""

    piece: Tensor | None = None

    def __array_finalize__(self, _: Any) -> None:
        self.piece = None  # a view of this view is not the loan

    def __del__(self, give_back: Callable[[Tensor], None] = _returned.append) -> None:
        # bound above: at the interpreter's exit this module's names are gone before the last tensors
        if self.piece is not None:
            give_back(self.piece)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """As ``torch.empty`` on the CPU, whatever the default device is: the values are whatever lies there."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    piece = _take(size)
    loan = piece.numpy().view(_Loan)
    loan.piece = piece
    return torch.from_numpy(loan)[:size].view(dtype).view(shape)


def clear() -> None:
    """Release what lies on the shelf: before memory is measured, so that it is counted where it is taken again."""
    with _lock:
        _tidy()
        _shelf.clear()


def held_bytes() -> int:
    """Bytes on the shelf."""
    with _lock:
        _tidy()
        return sum(piece.numel() for piece in _shelf)


def _tidy() -> None:
    """Lay what came back on the shelf; the oldest pieces make room."""
    while _returned:
        _shelf.append(_returned.popleft())
    while sum(piece.numel() for piece in _shelf) > LARGEST_SHELF:
        _shelf.pop(0)


def _take(size: int) -> Tensor:
    """The smallest piece that is large enough and not half empty, or a new one; of equal ones the last given back."""
    with _lock:
        _tidy()
        fitting = [(piece.numel(), -index) for index, piece in enumerate(_shelf) if size <= piece.numel() <= 2 * size]
        if fitting:
            return _shelf.pop(-min(fitting)[1])
    # a little more than asked, in eight sizes an octave: batches of nearly equal length share their pieces
    step = 2 ** max((size - 1).bit_length() - 4, 12)
    return torch.empty(-(-size // step) * step, dtype=torch.uint8, device="cpu")
