"""Runs of a sweep that differ in the seed alone, opened side by side in one process and trained together.

Each is a run of its own: its row, its checkpoints, its early stopping, its end. Only the training step is taken for all
at once. Where a model cannot be trained so, the runs go one after the other, as without a batch.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch

from gru_bench.config.check import check_running
from gru_bench.errors import UserError
from gru_bench.measure import lanes
from gru_bench.run import alive, fits, loaded
from gru_bench.run.job import Request
from gru_bench.run.train import Story, Waiting, waiting
from gru_bench.store import signals
from gru_bench.store.signals import Leave, TimedOut, time_limit
from gru_bench.training.together import Part, fit_together, refusal

PROBES = "probes look at one run alone"
NOT_TOGETHER = "seeds_in_batch: its seeds are trained one after the other"

Say = Callable[[Request, str], None]


def batches(job_overrides: Sequence[Sequence[str]], most: int, workers: int) -> list[list[int]]:
    """Which jobs of a launch are handed out together: those whose overrides are equal but for the seed.

    Args:
        job_overrides: Of each job.
        most: Jobs in one batch.
        workers: Batches at once; the batches are so small that each worker has one.

    Returns:
        Numbers of jobs, each in one batch, in the order of the first one of each.
    """
    most = max(1, min(most, len(job_overrides) // workers))
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, overrides in enumerate(job_overrides):
        alike[tuple(sorted(text for text in overrides if not text.startswith("seed=")))].append(number)
    parts = []
    for numbers in alike.values():
        size = -(-len(numbers) // -(-len(numbers) // most))  # of four with at most three: two and two
        parts += [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return sorted(parts)


@dataclass
class One:
    """A run of a batch.

    Attributes:
        number: Its place in the batch.
        asked: What it was asked to be.
        story: Stopped where training begins.
        waiting: What it gave there.
        random: State of torch's generator there, which the others' beginnings and ends would change.
        since: When it stopped, by ``time.perf_counter()``.
    """

    number: int
    asked: Request
    story: Story[str]
    waiting: Waiting
    random: torch.Tensor = field(default_factory=torch.get_rng_state)
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Ended:
    """How a run of a batch ended.

    Attributes:
        asked: What it was asked to be.
        how: Its line for the terminal, or what ended it.
    """

    asked: Request
    how: str | BaseException


class Batch:
    """Trains several jobs, whose rows it opens one by one.

    Args:
        say: Shows a line to the user.
    """

    def __init__(self, say: Say) -> None:
        self.say = say
        self.ended: dict[int, Ended] = {}
        self.open: list[One] = []

    def run(self, jobs: Sequence[Callable[[], Request | None]]) -> list[Ended | None]:
        """Run them all.

        Args:
            jobs: Each composes its job; None for one that is not to begin.

        Returns:
            How each ended; None for one that did not begin.

        Raises:
            BaseException: A signal asked the process to end; all rows have been closed.
        """
        first = jobs[0]()
        if first is None:
            return [None] * len(jobs)
        limit = check_running(first.config).run_timeout
        name = f"train {first.name} and {len(jobs) - 1} more seeds"
        with lanes.shared(name, lambda text: self.say(first, text), alive.beat), ExitStack() as around:
            alive.begin()
            reason = f"run_timeout={limit}: {len(jobs)} runs together took longer than {len(jobs)} times that"
            around.enter_context(time_limit(None if limit is None else limit * len(jobs), reason))
            around.enter_context(loaded.kept())
            leaving = None
            try:
                for number, asked in enumerate(self.asked(first, jobs[1:])):
                    if asked is not None:
                        self.begin(number, asked)
                self.train()
            except BaseException as error:
                leaving = error
            self.leave(leaving)
        return [self.ended.get(number) for number in range(len(jobs))]

    def asked(self, first: Request, rest: Sequence[Callable[[], Request | None]]) -> Iterator[Request | None]:
        """Each job in turn, composed right before it begins; none after the first Ctrl-C."""
        yield first
        for job in rest:
            yield None if signals.finishing else job()

    def begin(self, number: int, asked: Request) -> None:
        """Open a run's row and bring it to where it trains; and train it, if that cannot be done together."""
        story = waiting(asked, lambda text: self.say(asked, text))
        try:
            at = next(story)
        except BaseException as error:
            self.ended[number] = Ended(asked, error)
            if not isinstance(error, Exception):
                raise
            return
        one = One(number, asked, story, at)
        self.open.append(one)
        reason = PROBES if at.has_probes else own_task(at.part) or refusal([at.part])
        if reason:
            if number == 0:
                self.say(asked, f"{NOT_TOGETHER}: {reason}")
            self.alone(one)

    def train(self) -> None:
        """Train the open runs together, unless they are not to be."""
        runs, parts = list(self.open), [one.waiting.part for one in self.open]
        reason = refusal(parts) or crowded(runs) if len(parts) > 1 else None
        if reason:
            self.say(runs[0].asked, f"{NOT_TOGETHER}: {reason}")
        if reason or len(runs) < 2:
            for one in runs:
                self.alone(one)
            return
        began = time.perf_counter()
        errors: Sequence[BaseException | None]
        try:
            errors = fit_together(parts)
        except Exception as error:
            errors = [error] * len(parts)
        seconds = time.perf_counter() - began
        steps = sum(part.result.steps for part in parts) or 1
        leaving: BaseException | None = None
        for one, problem in zip(runs, errors, strict=True):
            try:
                ending = problem or (leaving and plain(leaving))
                self.finish(one, ending, seconds * one.waiting.part.result.steps / steps)
            except BaseException as error:  # a signal: each of the others says at which step it was stopped
                leaving = leaving or error
        if leaving is not None:
            raise leaving

    def alone(self, one: One) -> None:
        """Train one run by itself."""
        torch.set_rng_state(one.random)
        began, error = time.perf_counter(), None
        try:
            one.waiting.part.fit()
        except BaseException as problem:
            error = problem
        self.finish(one, error, time.perf_counter() - began, torch.get_rng_state())

    def finish(self, one: One, error: BaseException | None, seconds: float, random: torch.Tensor | None = None) -> None:
        """Let a run go on after its training, to the end of its row.

        Args:
            one: The run.
            error: What ended its training, if anything did.
            seconds: What its training took.
            random: State of torch's generator after it; None where training together drew nothing from it.

        Raises:
            BaseException: A signal asked the process to end.
        """
        self.open.remove(one)
        torch.set_rng_state(one.random if random is None else random)
        one.waiting.record.leave_out(time.perf_counter() - one.since - seconds)
        try:
            if error is None:
                next(one.story)
            else:
                one.story.throw(error)
        except StopIteration as end:
            self.ended[one.number] = Ended(one.asked, end.value)
        except BaseException as problem:
            self.ended[one.number] = Ended(one.asked, problem)
            if not isinstance(problem, Exception):
                raise

    def leave(self, error: BaseException | None) -> None:
        """End the runs that are still open, since something has ended all of them.

        Raises:
            BaseException: The same, unless it ends these runs alone.
        """
        if error is None:
            return
        for one in list(self.open):
            try:
                self.finish(one, plain(error), 0.0)
            except BaseException as again:
                error = again if isinstance(error, TimedOut) else error
        if not isinstance(error, TimedOut):
            raise error


def plain(error: BaseException) -> BaseException:
    """What ends a batch, without what it says of one of its runs."""
    return error.__cause__ if isinstance(error, Leave | KeyboardInterrupt) and error.__cause__ else error


def crowded(runs: Sequence[One]) -> str | None:
    """Why memory does not hold the steps of all, beside their models and data, which are there already."""
    job = runs[0].waiting.job
    try:
        fits.check_steps(len(runs), job.task, job.node, job.settings, job.place)
    except UserError as error:
        return str(error)
    return None


def own_task(part: Part) -> str:
    """Why a task of the user's own is trained alone: its object would be that of all. Nothing for one of ours."""
    kind = type(part.task)
    return "" if kind.__module__.startswith("gru_bench.") else f"task {kind.__name__} may remember what it gave last"
