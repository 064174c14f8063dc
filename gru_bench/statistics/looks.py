"""Looking at the results again as seeds are added: the level of each look, so that all looks together keep theirs.

A test at 5 % that is repeated after each round of seeds finds a winner far too often. Here every look uses one lower
level (Pocock's constant level, for Student's t instead of the normal distribution, since the first looks have few
degrees of freedom). It comes from ``looks.json``, which ``bench/looks.py`` simulates on the schedule below.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np

from gru_bench.errors import UserError

POINTS = (5, 8, 12, 18, 27, 40, 60, 90)
"""Numbers of seeds at which a sweep that decides by itself looks: half as many again each time."""

MIN_SEEDS = 5
"""Below, no verdict is given."""

TABLE = Path(__file__).with_name("looks.json")


def schedule(start: int, most: int) -> list[int]:
    """Numbers of seeds at which to look, from ``start`` to ``most``; its length is the number of looks to correct for."""
    if start < 1 or most < start:
        raise UserError(f"from {start} to {most} seeds: at least 1, and no fewer at the end than at the start")
    first = min(max(start, MIN_SEEDS), most)
    between = [point for point in POINTS if first < point < most]
    return [first, *between, most] if most > first else [first]


def nominal_level(alpha: float, looks: int) -> float:
    """Level of each of so many looks, for ``alpha`` over all of them; two-sided."""
    if looks == 1:
        return alpha
    alphas, nominal = _row(looks)
    return float(min(alpha, np.exp(_through(np.log(alpha), alphas, nominal))))


def overall_level(p: float, looks: int) -> float:
    """The reverse: for the p of one look, the ``alpha`` over all looks at which it is just small enough."""
    if looks == 1 or p <= 0 or p >= 1:
        return p
    alphas, nominal = _row(looks)
    return float(min(1.0, max(p, np.exp(_through(np.log(p), nominal, alphas)))))


def _through(x: float, xs: np.ndarray, ys: np.ndarray) -> float:
    """Linear between the points, and parallel to the diagonal beyond them: there the ratio is kept."""
    if x < xs[0]:
        return float(ys[0] + x - xs[0])
    return float(np.interp(x, xs, ys))


def _row(looks: int) -> tuple[np.ndarray, np.ndarray]:
    alphas, rows = _table()
    if looks not in rows:
        raise UserError(f"{looks} looks at the results: bounds are known for 1 to {max(rows)}")
    return alphas, rows[looks]


@cache
def _table() -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Logarithms of the levels over all looks, ascending, and by number of looks those of each look."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    # a level of 1 stays 1
    alphas = np.log([*table["alphas"], 1.0])
    return alphas, {int(looks): np.log([*levels, 1.0]) for looks, levels in table["nominal"].items()}
