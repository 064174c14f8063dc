"""What the scores of one task vary with: is the choice of the cell larger than the noise? Suffix M: one value a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gru_bench.errors import UserError
from gru_bench.statistics.inputs import Array, as_finite

EXAMPLES, REST = "test examples", "rest"


def split(
    values_M: ArrayLike, factors: Mapping[str, Sequence[Any]], example_variance: ArrayLike | None = None
) -> dict[str, float]:
    """Shares of the variance of runs' scores by factor, by test examples, and the rest; together 1.

    ``factors`` gives each run's level (cell, size, learning rate, seed). Runs need not be balanced: sums of squares are
    taken in the order given, so a factor that comes first takes what it shares with a later one (size with learning
    rate, where each size had its own). From each sum its degrees of freedom times the residual mean square are taken
    off, so that a factor of many levels gets no share by chance (omega squared; below 0 counts as 0).

    ``example_variance`` is the variance of a run's score over draws of its test examples (one number, or one a run).
    All runs see the same examples, so their scores do not show it: it is added to what they show.
    """
    values = as_finite(values_M, "scores")
    for name, levels in factors.items():
        if len(levels) != values.size:
            raise UserError(f"variance of {name}: {len(levels)} levels and {values.size} scores; one of each a run")
        if name in (EXAMPLES, REST):
            raise UserError(f"variance: {name!r} is no factor of a run")
    if values.size < 2:
        raise UserError("variance: at least two runs are needed")
    design, residual, rank = np.ones((values.size, 1)), values - values.mean(), 1
    total = float(residual @ residual)
    sums: dict[str, tuple[float, int]] = {}
    left = total
    for name, levels in factors.items():
        design = np.hstack([design, _dummies(levels)])
        coefficients, _, grown, _ = np.linalg.lstsq(design, values - values.mean(), rcond=1e-10)
        residual = values - values.mean() - design @ coefficients
        sums[name] = left - float(residual @ residual), int(grown) - rank
        left, rank = float(residual @ residual), int(grown)
    noise = left / (values.size - rank) if values.size > rank else 0.0
    parts = {name: max(0.0, squares - df * noise) / values.size for name, (squares, df) in sums.items()}
    parts[REST] = max(0.0, total / values.size - sum(parts.values()))
    if example_variance is not None:
        examples = float(np.mean(as_finite(np.atleast_1d(np.asarray(example_variance)), "variance of test examples")))
        parts = {**{name: part for name, part in parts.items() if name != REST}, EXAMPLES: examples, REST: parts[REST]}
    whole = sum(parts.values())
    return {name: part / whole if whole else 0.0 for name, part in parts.items()}


def _dummies(levels: Sequence[Any]) -> Array:
    """One column for each level but the first."""
    _, codes = np.unique(np.asarray([str(level) for level in levels]), return_inverse=True)
    return (codes[:, None] == np.arange(1, codes.max(initial=0) + 1)).astype(np.float64)
