"""Where the faster of two cells changes: along a line of measured points, and on a map of them.

Nothing is interpolated: an order changes between two neighbours that were measured, and what lies between them is not
known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOISE = "noise"
Line = Sequence[tuple[float, str]]
"""Points in their order: where, and the finding there (``first``, ``second`` or ``noise``)."""


@dataclass(frozen=True)
class Crossing:
    """A change of the faster one.

    Attributes:
        low: The last point where ``before`` was faster.
        high: The first one where ``after`` was.
        noise: Points between the two, all of them inside the noise.
    """

    low: float
    high: float
    before: str
    after: str
    noise: tuple[float, ...] = ()


def crossings(line: Line) -> list[Crossing]:
    """The changes along a line, in its order."""
    found = []
    last: tuple[float, str] | None = None
    between: list[float] = []
    for at, finding in line:
        if finding == NOISE:
            between.append(at)
            continue
        if last is not None and last[1] != finding:
            found.append(Crossing(last[0], at, last[1], finding, tuple(between)))
        last, between = (at, finding), []
    return found


def in_words(line: Line, names: Mapping[str, str], letter: str) -> str:
    """``GRU at T 1 to 20, inside noise at T 50, LSTM at T 100 to 1,000``: measured points alone.

    Args:
        line: At least one point.
        names: What ``first`` and ``second`` are called.
        letter: What the points count.
    """
    runs: list[tuple[str, list[float]]] = []
    for at, finding in line:
        if runs and runs[-1][0] == finding:
            runs[-1][1].append(at)
        else:
            runs.append((finding, [at]))
    texts = []
    for finding, places in runs:
        ends = " to ".join(dict.fromkeys(f"{place:,g}" for place in (places[0], places[-1])))
        texts.append(f"{names.get(finding, 'inside noise')} at {letter} {ends}")
    return ", ".join(texts)


Edge = tuple[tuple[float, float], tuple[float, float]]
"""Two ends, in units of cells: the cell of column x and row y reaches from x - 0.5 to x + 0.5, and so on."""


def edges(findings: Mapping[tuple[int, int], str]) -> list[Edge]:
    """The crossing line of a map: the edges between two neighbours of which one is ``first`` and one ``second``.

    A cell inside the noise has none: it is itself where the order is open.

    Args:
        findings: By column and row.
    """
    found: list[Edge] = []
    for (x, y), finding in sorted(findings.items()):
        if opposite(finding, findings.get((x + 1, y))):
            found.append(((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)))
        if opposite(finding, findings.get((x, y + 1))):
            found.append(((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)))
    return found


def opposite(one: str, other: Any) -> bool:
    """Whether one is faster here and the other there."""
    return {one, other} == {"first", "second"}
