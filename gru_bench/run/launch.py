"""What a sweep is to the process that launches it, and to each of its jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from gru_bench.store.write import Store


@dataclass(frozen=True)
class Sweep:
    """What a job knows of the sweep that it belongs to.

    Attributes:
        sweep_id: The parent run.
        num_jobs: How many jobs are planned.
        varied: The keys that vary besides cell, task and seed.
    """

    sweep_id: str
    num_jobs: int
    varied: frozenset[str]


@dataclass(frozen=True)
class Opened:
    """A sweep's parent run, opened by this process and to be closed by it."""

    store: Store
    sweep_id: str
    experiment: str

    def close(self, *, lost: str | None) -> dict[str, int]:
        """End the parent run; see :meth:`Store.close_sweep`."""
        return self.store.close_sweep(self.sweep_id, lost=lost)


@dataclass
class Launch:
    """One call of the command, which may launch a sweep.

    Attributes:
        opened: The sweep, once its parent run is there.
        error: Why no sweep could be opened.
    """

    opened: Opened | None = None
    error: Exception | None = None


_launch: ContextVar[Launch] = ContextVar("launch")


@contextmanager
def launching() -> Iterator[Launch]:
    """Let Hydra's callback find the launch inside the block: Hydra makes it from text and passes it nothing."""
    launch = Launch()
    token = _launch.set(launch)
    try:
        yield launch
    finally:
        _launch.reset(token)


def current_launch() -> Launch:
    """The launch of the enclosing block.

    Raises:
        LookupError: There is none.
    """
    return _launch.get()
