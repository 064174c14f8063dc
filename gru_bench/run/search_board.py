"""The table of a sweep that searches."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from gru_bench.run.board import Board
from gru_bench.run.search import Design, Found, Visit, Wanted
from gru_bench.store.schema import TRIAL


@dataclass(frozen=True)
class Standing:
    """How far the search for one row has come.

    Attributes:
        name: The row's.
        design: What is tried.
        found: By now.
        num_known: Runs that the search rests on.
        seconds: Mean of them; not a number where there is none.
        refused: Why the row cannot be run; nothing where it can.
    """

    name: str
    design: Design
    found: Found
    num_known: int
    seconds: float
    refused: str = ""

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """The runs that are to come next."""
        return () if self.refused else self.found.wanted


def horizon_text(standing: Standing) -> str:
    """``40``, ``not 10``, ``320 or more``; ``40 to 160`` where it is still open between the two."""
    if standing.refused:
        return "cannot be run"
    low, high, lags = standing.found.solved, standing.found.unsolved, standing.design.lags
    if not standing.wanted:
        return f"not {lags[0]}" if low is None else f"{low} or more" if high is None else str(low)
    if low is None:
        return "open" if high is None else f"not {high}"
    return f"{low} or more" if high is None else f"{low} to {high}"


def visit_text(visit: Visit) -> str:
    """``40: 10/10 at 0.008``, or ``40: none`` where no trial will do; ``0.008`` without lags."""
    if visit.lag is None:
        return f"{visit.rate:g}" if visit.rate is not None else "none" if visit.passed is False else "?"
    at = f"{visit.lag}: "
    if visit.rate is None:
        return f"{at}none" if visit.passed is False else f"{at}?"
    if not visit.tried:
        return f"{at}? at {visit.rate:g}"
    return f"{at}{visit.solved}/{visit.tried} at {visit.rate:g}"


def next_text(standing: Standing) -> str:
    """What a row waits for."""
    if standing.refused:
        return standing.refused
    if not standing.wanted:
        return "done"
    trials = sum(run.role == TRIAL for run in standing.wanted)
    if trials:
        return "1 trial" if trials == 1 else f"{trials} trials"
    return "1 seed" if len(standing.wanted) == 1 else f"{len(standing.wanted)} seeds"


class SearchBoard(Board[Sequence[Standing]]):
    """How each row stands.

    Args:
        with_lags: Whether it is the longest lag that is looked for.
    """

    def __init__(self, with_lags: bool) -> None:
        self.columns = ["row", *(["longest solved", "solved"] if with_lags else ["learning rate"]), "runs", "next"]
        super().__init__()

    def table(self, seen: Sequence[Standing]) -> Table:
        """One line for each row."""
        table = self.headed(self.columns)
        for standing in seen:
            lags = [horizon_text(standing)] if standing.design.lags else []
            visits = ", ".join(map(visit_text, standing.found.visits))
            texts = [standing.name, *lags, visits, str(standing.num_known), next_text(standing)]
            table.add_row(*map(Text, texts))
        return table
