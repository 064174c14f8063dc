"""The table of a sweep that adds jobs: in place on a terminal, as plain lines in a log."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gru_bench.run.rounds import FIRST, SECOND, Looked, Pair, minutes
from gru_bench.run.tally import Tally

LOG_EVERY_S = 60.0
"""Least time between two lines of a log about what runs, besides those that each finished run prints."""
LOG_WIDTH = 140
"""Columns of a log, which has no width of its own."""

Seen = TypeVar("Seen")
"""What a look at the results gives."""


class Board(ABC, Generic[Seen]):
    """Shows how each row of its table stands, after every look.

    Attributes:
        live: Whether the table is drawn in place, on a terminal.
        tally: Of the jobs of all rounds, where the launcher tells how they go.
    """

    def __init__(self) -> None:
        self.console = Console(file=sys.stdout)
        self.live = self.console.is_terminal
        if not self.live:
            self.console = Console(file=sys.stdout, width=LOG_WIDTH, color_system=None)
        self._rounds, self._doing, self._ends = 0, "", (0.0, 0.0)
        self._seen: Seen | None = None
        self.tally: Tally | None = None
        self._printed = time.monotonic()
        self._live = Live(console=self.console, get_renderable=self._drawn, refresh_per_second=1) if self.live else None

    @abstractmethod
    def table(self, seen: Seen) -> Table:
        """The table after a look."""

    def about(self) -> str:
        """What a log says beside the number of a round."""
        return ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._doing = ""
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def round(self, seen: Seen, num_jobs: int, seconds: float | None, seconds_left: float | None) -> None:
        """A round begins: how many runs, and how long it may take."""
        self._rounds += 1
        self._seen = seen
        self._doing = f"round {self._rounds}: {num_jobs} runs"
        now = time.time()
        self._ends = (now + (seconds or 0.0), now + (seconds_left or 0.0))
        if not self.live:
            about = "" if seconds is None else f", about {minutes(seconds)}"
            left = "" if seconds_left is None else f" of the {minutes(seconds_left)} left"
            self.console.print(f"{self._doing}{about}{left}", highlight=False)

    def look(self, seen: Seen, seconds_left: float | None) -> None:
        """The results after a round."""
        self._seen, self._doing = seen, ""
        if not self.live:
            left = "" if seconds_left is None else f"; {minutes(seconds_left)} left"
            self.console.print(f"after round {self._rounds}{self.about()}{left}", highlight=False)
            self.console.print(self.table(seen))

    def update(self) -> None:
        """Between two jobs, or where others run them: a line in a log, if the last one was long ago."""
        now = time.monotonic()
        if not self.live and self.tally is not None and self.tally.tells and now >= self._printed + LOG_EVERY_S:
            self._printed = now
            self.console.print("; ".join([self.tally.line(), *self.tally.doing(3)]), highlight=False)

    def headed(self, columns: Sequence[str]) -> Table:
        """A table without rows."""
        table = Table(box=None, pad_edge=False, header_style="bold" if self.live else "")
        for column in columns:
            table.add_column(column, overflow="fold")
        return table

    def _drawn(self) -> Group:
        parts: list[Table | Text] = [] if self._seen is None else [self.table(self._seen)]
        if self._doing:
            round_ends, ends = (end - time.time() for end in self._ends)
            left = f", about {minutes(round_ends)} left" if round_ends > 0 else ""
            whole = f"; max_hours ends in {minutes(ends)}" if ends > 0 else ""
            parts.append(Text(f"{self._doing}{left}{whole}"))
            if self.tally is not None and self.tally.names and self.tally.tells:
                parts += [Text(self.tally.line()), *(Text(text) for text in self.tally.doing(3))]
        return Group(*parts)


class PairBoard(Board[Looked]):
    """How each pair stands in a sweep that adds seeds.

    Args:
        pairs: In the order of their rows.
        schedule: Numbers of seeds at which the sweep looks.
        workers: Runs at once.
    """

    COLUMNS = ("task", "pair", "n", "interval of the difference", "verdict so far", "seeds needed", "time left")

    def __init__(self, pairs: Sequence[Pair], schedule: Sequence[int], workers: int) -> None:
        self.pairs, self.schedule, self.workers = pairs, schedule, workers
        super().__init__()

    def about(self) -> str:
        return f" (looks are at {', '.join(map(str, self.schedule))} seeds)"

    def table(self, seen: Looked) -> Table:
        """One row for each pair."""
        table = self.headed(self.COLUMNS)
        for pair in self.pairs:
            have, standing = len(seen.of(pair)), seen.standings.get(pair)
            if standing is None:
                table.add_row("", f"{FIRST}, {SECOND}", str(have), "", "undecided", "", "")
                continue
            needed = left = ""
            if not standing.decided and standing.needed is not None:
                needed = f"{standing.needed[0]} in all"
                seconds = (standing.needed[0] - have) * seen.seconds_of(pair) / self.workers
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
