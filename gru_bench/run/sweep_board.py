"""The table of a sweep whose jobs are all planned: in place on a terminal, as a line now and then in a log."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gru_bench.run.rounds import Looked, minutes
from gru_bench.run.tally import Tally

LOG_EVERY_S = 60.0
"""Least time between two lines of a log, besides those that each finished run prints."""
LOOK_EVERY_S = 30.0
LOOK_SHARE = 50
"""A look at the verdicts waits for so many times what the one before it took, and at least :data:`LOOK_EVERY_S`."""
MOST_ROWS = 12
"""Comparisons that the table names."""


class SweepBoard:
    """Shows how far a sweep has come.

    Args:
        tally: Of its jobs.
        look: Compares what has finished so far; None where there is nothing to compare.

    Attributes:
        live: Whether the table is drawn in place, on a terminal, by what the launcher tells.
    """

    def __init__(self, tally: Tally, look: Callable[[], Looked] | None) -> None:
        self.tally, self.look_now = tally, look
        self.console = Console(file=sys.stdout, soft_wrap=True)  # no line break is put into a run's line
        self.live = self.console.is_terminal and tally.tells  # else its workers print into the table
        self._seen: Looked | None = None
        self._counted, self._printed, self._next_look = 0, time.monotonic(), time.monotonic() + LOOK_EVERY_S
        self._live = Live(console=self.console, get_renderable=self.drawn, refresh_per_second=1) if self.live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        if not self.tally.tells:
            print(f"{len(self.tally.names)} runs; this launcher does not tell how they go", flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with suppress(OSError):  # the terminal may be closed by now
                self._live.__exit__(kind, error, trace)

    def update(self) -> None:
        """Between two jobs, or where others run them: look at the verdicts if it is time for that, and write a log."""
        now = time.monotonic()
        if self.look_now is not None and now >= self._next_look and len(self.tally.took) > self._counted:
            self._counted = len(self.tally.took)
            with suppress(Exception):  # a store that is away or locked is no reason to end a sweep
                self._seen = self.look_now()
            took = time.monotonic() - now
            self._next_look = time.monotonic() + max(LOOK_EVERY_S, LOOK_SHARE * took)
        if not self.live and now >= self._printed + LOG_EVERY_S:
            self._printed = now
            with suppress(OSError):
                print("; ".join([self.tally.line(), *self.tally.doing(3), *self.verdicts()]), flush=True)

    def verdicts(self) -> list[str]:
        """Each comparison in a phrase."""
        if self._seen is None:
            return []
        found = [
            f"{standing.task}: {standing.answer} ({counted(len(self._seen.of(pair)))})"
            for pair, standing in self._seen.standings.items()
        ]
        return found[:MOST_ROWS] + ([f"{len(found) - MOST_ROWS} more"] if len(found) > MOST_ROWS else [])

    def drawn(self) -> Group:
        """The table, cut to the width of the terminal."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        counts = {name: str(number) for name, number in self.tally.counts().items()}
        seconds = self.tally.seconds_left()
        counts["time left"] = "" if seconds is None else f"about {minutes(seconds)}"
        for name in counts:
            table.add_column(name, overflow="fold")
        table.add_row(*counts.values())
        running = [Text(f"runs: {text}", overflow="ellipsis", no_wrap=True) for text in self.tally.now(8)]
        verdicts = [Text(f"so far: {text}", overflow="ellipsis", no_wrap=True) for text in self.verdicts()]
        return Group(table, *running, *verdicts)


def counted(seeds: int) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
