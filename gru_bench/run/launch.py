"""What a sweep is to the process that launches it, and to each of its jobs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from omegaconf import DictConfig

from gru_bench.run.plan import Choices, Plan
from gru_bench.run.rounds import Look
from gru_bench.run.search import Read
from gru_bench.run.tally import Tally
from gru_bench.store import signals
from gru_bench.store.reap import lose_job

if TYPE_CHECKING:
    from gru_bench.run.board import Board
    from gru_bench.run.growing import Growing
    from gru_bench.run.pool import Pool
    from gru_bench.run.sweep_board import SweepBoard
    from gru_bench.store.write import Store


@dataclass(frozen=True)
class Sweep:
    """What a job knows of the sweep that it belongs to.

    Attributes:
        sweep_id: The parent run.
        num_jobs: How many jobs are planned.
        varied: The keys that vary besides cell, task and seed.
        looks: The most looks at the results that the sweep may take; 1 for a fixed number of seeds.
        roles: What some jobs are for, by their numbers; see the fact ``role``.
        tried: Rates and seeds of the trials that chose the learning rates of its other jobs; None without.
        searched: Of a search for the longest lag, how many seeds each job's row gives a lag, by the job's number.
        share: Of them, that must solve a lag.
        search_key: The key of the config that is the lag.
        round: Which round of a sweep that adds jobs, from 1; None where all jobs are planned at once.
        deadline: When no job is started any more, in seconds of ``time.time()``; None for no limit.
        quiet: Whether a table on the terminal stands for the line that each finished job prints.
        threads: Of each run with ``threads=auto``; None where that was not asked for.
        numbers: The planned number of each job that is launched, by the one that Hydra gives it: a sweep that goes on
            launches only what is left to do, and Hydra counts that from 0. A job that is not in it keeps its number.
    """

    sweep_id: str
    num_jobs: int
    varied: frozenset[str]
    looks: int = 1
    roles: Mapping[int, str] = field(default_factory=dict)
    tried: tuple[int, int] | None = None
    searched: Mapping[int, int] = field(default_factory=dict)
    share: float | None = None
    search_key: str = ""
    round: int | None = None
    deadline: float | None = None
    quiet: bool = False
    threads: int | None = None
    numbers: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """A sweep's parent run, opened by this process and to be closed by it."""

    store: "Store"
    sweep_id: str
    experiment: str

    def lose(self, job: int, owner: str | None, reason: str) -> bool:
        """Mark the row that a job has left open whose process is gone; see :func:`lose_job`.

        Returns:
            Whether it had finished its run before.
        """
        finished = self.store.has_finished(self.sweep_id, job, owner)
        self.store.deliver()
        return finished or lose_job(self.store, self.experiment, self.sweep_id, job, owner, reason)

    def close(self, *, lost: str | None) -> dict[str, int]:
        """End the parent run; see :meth:`Store.close_sweep`."""
        return self.store.close_sweep(self.sweep_id, lost=lost)


@dataclass
class Launch:
    """One call of the command, which may launch a sweep.

    Attributes:
        look: Reads the verdicts so far; for sweeps that add seeds until it is decided.
        read: Reads how runs went; for sweeps that search.
        instead: What is done with the composed config in place of running it; gives the exit code.
        plan: What the sweep will run, once that has been checked.
        carried: Overrides that are no part of a plan, nor of a key, but of each job: how it is carried out.
        todo: The jobs of the plan that are launched: those that are not done yet, in the plan's order.
        nothing_left: Of a sweep whose jobs are all done: its store's URI, and what its report is asked for by.
        growing: The sweep, where it adds jobs.
        went_on: Whether runs of earlier calls stand for some of its jobs.
        ended: Why a sweep that adds jobs ended by itself.
        tally: How far it has come, where the launcher tells: the default one, and ``workers``.
        board: Shows that.
        pool: The workers of ``hydra/launcher=workers``.
        hand_over: Gives a sweep to the jobs that are launched next.
        opened: The sweep, once its parent run is there.
        error: Why no sweep could be opened.
        held: Keeps others on this machine from the same command, for a sweep that adds jobs.
    """

    look: Look | None = None
    read: Read | None = None
    instead: "Callable[[DictConfig, Launch], int] | None" = None
    plan: Plan | None = None
    carried: list[str] = field(default_factory=list)
    todo: list[Choices] = field(default_factory=list)
    nothing_left: tuple[str, str] | None = None
    growing: "Growing | None" = None
    went_on: bool = False
    ended: str = ""
    tally: Tally = field(default_factory=Tally)
    board: "SweepBoard | Board[Any] | None" = None
    pool: "Pool | None" = None
    hand_over: Callable[[Sweep], None] = field(default=lambda _: None)
    opened: Opened | None = None
    error: Exception | None = None
    held: FileLock | None = None

    def over(self, number: int, how: str, *, again: bool = False) -> None:
        """A job is over, as Hydra numbers it; see :meth:`Tally.over`."""
        self.tally.over(number, how, again=again)
        self.update()

    def lose(self, number: int, planned: int, owner: str | None, reason: str, *, again: bool = False) -> bool:
        """A job is lost: close the row that it has left open, since whoever wrote it cannot, and say so.

        Args:
            number: Of the job, as Hydra counts.
            planned: Of the job in the plan.
            owner: The process that is gone; None where it is not known which.
            reason: Why, for its row and for the user.
            again: Whether it is tried once more.

        Returns:
            Whether it had finished its run before, so that nothing is lost.
        """
        name = f"[{planned + 1}] {self.tally.names.get(number, '')}"
        finished, problem = False, ""
        try:
            finished = self.opened is not None and self.opened.lose(
                planned, owner, f"{reason}; the run was tried again" if again else reason
            )
        except Exception as error:  # the end of the sweep tries once more, and so does the next start
            problem = f"{name}: its row could not be closed yet: {type(error).__name__}"
        said = f"{reason}; it is tried again" if again else reason
        signals.say(f"{name}: finished, and then {reason}" if finished else f"{name}: killed: {said}")
        if problem:
            signals.say(problem)
        return finished

    def update(self) -> None:
        """Let the board write a log, if it is time for that."""
        if self.board is not None:
            self.board.update()


_launch: ContextVar[Launch] = ContextVar("launch")


@contextmanager
def launching(
    look: Look | None = None,
    read: Read | None = None,
    instead: Callable[[DictConfig, Launch], int] | None = None,
) -> Iterator[Launch]:
    """Let Hydra's callback find the launch inside the block: Hydra makes it from text and passes it nothing.

    At its end the workers are ended.
    """
    launch = Launch(look, read, instead)
    token = _launch.set(launch)
    try:
        yield launch
    finally:
        _launch.reset(token)
        if launch.pool is not None:
            launch.pool.close()
        if launch.held is not None:
            launch.held.release()


def launch_here() -> Launch | None:
    """The launch of the enclosing block; None in a process that only runs jobs."""
    return _launch.get(None)


def current_launch() -> Launch:
    """The launch of the enclosing block.

    Raises:
        LookupError: There is none.
    """
    return _launch.get()


def own_folders(hydra: Any) -> list[str]:
    """What of a command says where the user's own yaml files are, relative to the working folder if they lie in it."""
    here = Path.cwd()
    flags = []
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            path = Path(source.path)
            flags = ["--config-dir", str(path.relative_to(here) if path.is_relative_to(here) else path)]
    return flags + [text for text in hydra.overrides.hydra if text.lstrip("+").startswith("hydra.searchpath=")]
