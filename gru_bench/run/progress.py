"""A progress bar with loss, score, tokens/s and time left; silent when nobody is watching."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gru_bench.run.alive import beat
from gru_bench.store.signals import check_signals
from gru_bench.training.fit import Progress
from gru_bench.training.trainer import Trainer


@contextmanager
def show_progress(title: str, trainer: Trainer, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Give a callback for ``Trainer.fit``. It draws nothing without a terminal, or where several runs would share it.

    It is called every few steps, so it also looks for a signal to end, and is the run's sign of life.
    """
    console = Console(file=sys.stderr)
    if quiet or not console.is_terminal:

        def look(_: Progress) -> None:
            beat()
            check_signals()

        yield look
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        shown = bar.add_task(title, total=trainer.max_steps, numbers="")

        def update(progress: Progress) -> None:
            check_signals()
            score = "" if progress.score is None else f"  best {progress.score:.4g}"
            numbers = f"loss {progress.loss:.4g}{score}  {progress.tokens_per_s:,.0f} tokens/s"
            bar.update(shown, completed=progress.step, total=progress.total_steps, numbers=numbers)

        yield update
