"""The table of a sweep that adds seeds: in place on a terminal, as plain lines in a log."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gru_bench.run.rounds import FIRST, SECOND, Looked, Pair, minutes

COLUMNS = ("task", "pair", "n", "interval of the difference", "verdict so far", "seeds needed", "time left")
LOG_WIDTH = 140
"""Columns of a log, which has no width of its own."""


class Board:
    """Shows how each pair stands, after every look.

    Args:
        pairs: In the order of their rows.
        schedule: Numbers of seeds at which the sweep looks.
        workers: Runs at once.

    Attributes:
        live: Whether the table is drawn in place, on a terminal.
    """

    def __init__(self, pairs: Sequence[Pair], schedule: Sequence[int], workers: int) -> None:
        self.pairs, self.schedule, self.workers = pairs, schedule, workers
        self.console = Console(file=sys.stdout)
        self.live = self.console.is_terminal
        if not self.live:
            self.console = Console(file=sys.stdout, width=LOG_WIDTH, color_system=None)
        self._rounds, self._looked, self._doing, self._ends = 0, Looked(), "", (0.0, 0.0)
        self._live = Live(console=self.console, get_renderable=self._drawn, refresh_per_second=1) if self.live else None

    def __enter__(self) -> "Board":
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._doing = ""
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def round(self, looked: Looked, num_jobs: int, seconds: float | None, seconds_left: float | None) -> None:
        """A round begins: how many runs, and how long it may take."""
        self._rounds += 1
        self._looked = looked
        self._doing = f"round {self._rounds}: {num_jobs} runs"
        now = time.time()
        self._ends = (now + (seconds or 0.0), now + (seconds_left or 0.0))
        if not self.live:
            about = "" if seconds is None else f", about {minutes(seconds)}"
            left = "" if seconds_left is None else f" of the {minutes(seconds_left)} left"
            self.console.print(f"{self._doing}{about}{left}", highlight=False)

    def look(self, looked: Looked, seconds_left: float | None) -> None:
        """The results after a round."""
        self._looked, self._doing = looked, ""
        if not self.live:
            left = "" if seconds_left is None else f"; {minutes(seconds_left)} left"
            self.console.print(
                f"after round {self._rounds} (looks are at {self._points()} seeds){left}", highlight=False
            )
            self.console.print(self.table(looked))

    def _points(self) -> str:
        return ", ".join(map(str, self.schedule))

    def _drawn(self) -> Group:
        parts: list[Table | Text] = [self.table(self._looked)]
        if self._doing:
            round_ends, ends = (end - time.time() for end in self._ends)
            left = f", about {minutes(round_ends)} left" if round_ends > 0 else ""
            whole = f"; max_hours ends in {minutes(ends)}" if ends > 0 else ""
            parts.append(Text(f"{self._doing}{left}{whole}"))
        return Group(*parts)

    def table(self, looked: Looked) -> Table:
        """One row for each pair."""
        table = Table(box=None, pad_edge=False, header_style="bold" if self.live else "")
        for column in COLUMNS:
            table.add_column(column, overflow="fold")
        for pair in self.pairs:
            have, standing = len(looked.of(pair)), looked.standings.get(pair)
            if standing is None:
                table.add_row("", f"{FIRST}, {SECOND}", str(have), "", "undecided", "", "")
                continue
            needed = left = ""
            if not standing.decided and standing.needed is not None:
                needed = f"{standing.needed[0]} in all"
                seconds = (standing.needed[0] - have) * looked.seconds_of(pair) / self.workers
                left = minutes(seconds) if seconds >= 0 else ""
            table.add_row(
                Text(standing.task),
                f"{FIRST}, {SECOND}",
                str(have),
                Text(standing.interval),
                Text(standing.answer),
                needed,
                left,
            )
        return table
