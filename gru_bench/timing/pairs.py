"""Which pairs are timed at each shape: cells against each other, backends against the vendor, the best of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

VENDOR = "vendor"
FAMILIES = ("gru", "lstm", "rnn")
"""Who is the first of two; what is no such family comes last."""


@dataclass(frozen=True)
class Arm:
    """What is timed: a cell on a backend, by the names of their yaml files."""

    cell: str
    backend: str


Pair = tuple[Arm, Arm]
"""The first and the second; the ratio of their times says how many times as fast the first is."""


def in_order(cells: Iterable[str], families: Mapping[str, str]) -> list[str]:
    """Cells by family, GRU before LSTM before RNN; within a family the cell that has its name, then as given."""
    rank = {name: place for place, name in enumerate(FAMILIES)}
    return sorted(dict.fromkeys(cells), key=lambda cell: (rank.get(families[cell], len(rank)), cell != families[cell]))


def pairs(cells: Sequence[str], backends: Sequence[str]) -> list[Pair]:
    """All pairs of one shape that are known beforehand.

    Args:
        cells: In their order.
        backends: As given; each is held against the vendor's, or the first where that is not among them.
    """
    reference = reference_of(backends)
    others = [backend for backend in backends if backend != reference]
    return [
        *((Arm(a, backend), Arm(b, backend)) for backend in backends for a, b in combinations(cells, 2)),
        *((Arm(cell, backend), Arm(cell, reference)) for cell in cells for backend in others),
    ]


def reference_of(backends: Sequence[str]) -> str:
    """The backend that others are held against."""
    return VENDOR if VENDOR in backends else backends[0]


def best_pairs(
    cells: Sequence[str], backends: Sequence[str], measured: Mapping[Pair, Mapping[str, Any]]
) -> Iterator[Pair]:
    """The cells against each other, each on its fastest backend, where that pair was not measured yet.

    The fastest is the one that is the most times as fast as the reference, outside the noise; else the reference. A
    cell that could not be timed there is left out.

    Args:
        cells: In their order.
        backends: As for :func:`pairs`.
        measured: Of this shape: facts of each pair that was measured.
    """
    found = {cell: fastest(cell, backends, measured) for cell in cells}
    arms = [Arm(cell, backend) for cell, backend in found.items() if backend is not None]
    yield from (pair for pair in combinations(arms, 2) if pair not in measured)


def fastest(cell: str, backends: Sequence[str], measured: Mapping[Pair, Mapping[str, Any]]) -> str | None:
    """The backend on which a cell is fastest; None where it was timed on none."""
    reference = reference_of(backends)
    ran = {
        arm.backend
        for pair, facts in measured.items()
        if facts.get("status") == "finished"
        for arm in pair
        if arm.cell == cell
    }
    gains = {reference: 1.0} if reference in ran else {}
    for backend in backends:
        facts = measured.get((Arm(cell, backend), Arm(cell, reference)), {})
        if facts.get("status") == "finished" and facts.get("finding") == "first":
            gains[backend] = float(facts["ratio"])
    if not gains and len(ran) == 1:
        return next(iter(ran))
    return max(gains, key=lambda name: gains[name]) if gains else None
