"""What the functions of this room accept: numbers in the shape that they name, else one clear line."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from gru_bench.errors import UserError

Array = np.ndarray


def as_vector(values: ArrayLike, what: str) -> Array:
    """A vector of float64 with at least one entry; a :class:`UserError` for any other shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise UserError(f"{what}: shape {array.shape}; a vector with one value for each seed is needed")
    return array


def as_finite(values: ArrayLike, what: str) -> Array:
    """As :func:`as_vector`, and every entry a finite number."""
    array = as_vector(values, what)
    if not np.isfinite(array).all():
        raise UserError(f"{what}: {int((~np.isfinite(array)).sum())} of {array.size} values are not finite numbers")
    return array


def paired(first: Sequence[float] | Array, second: Sequence[float] | Array) -> Array:
    """``first - second``, seed by seed: two vectors of one length, in the same order of seeds."""
    a, b = as_vector(first, "first"), as_vector(second, "second")
    if a.shape != b.shape:
        raise UserError(f"unpaired seeds: {a.size} values of the first and {b.size} of the second; one of each a seed")
    return a - b


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1), such as 95."""
    if not 0 < level < 1:
        raise UserError(f"level={level}: a share between 0 and 1 is needed, such as 0.95")


def no_spread(values: Array) -> bool:
    """Whether the values are one number up to the rounding of float64."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0.0))
