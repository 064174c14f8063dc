"""A short pilot of each kind of run: a few training steps and an evaluation, in a worker process of its own.

Nothing is written but caches. The worker stays for all of them, as that of a sweep does, and its resident set is what
such a worker needs. Where the system lets it (Linux), the peak is set back between two of them.
"""

import importlib
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from gru_bench.config.canonical import digest
from gru_bench.config.check import Node, Settings, construct, first_line
from gru_bench.measure import lanes
from gru_bench.measure.resident import peak_resident_bytes
from gru_bench.measure.threads import set_threads
from gru_bench.measure.timing import StepClock
from gru_bench.models.encoder import MakeCell
from gru_bench.run import build, fits, loaded, preflight
from gru_bench.run.alive import begin
from gru_bench.run.estimate import Pace, spread
from gru_bench.run.pool import Limits, Pool
from gru_bench.run.worker import Done, Lost, Outcome, Raised
from gru_bench.run.workers import THREAD_VARIABLES
from gru_bench.store.signals import TimedOut, raise_on_signals, time_limit
from gru_bench.tasks.base import Batch, Task
from gru_bench.training.trainer import Trainer

LEAST_STEPS, MOST_STEPS = 3, 60
LEAST_S = 1.0
"""Seconds of a pilot at least, however many share the time."""
COLD_S = 5.0
OF_A_RUN = ("mlflow", "gru_bench.store.read")
"""What a worker of a sweep has in memory besides."""
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Subject:
    """One kind of run, as a worker is sent it.

    Attributes:
        settings: Its plain keys.
        node: Its checked config.
        threads: That it takes.
    """

    settings: Settings
    node: Node
    threads: int


@dataclass(frozen=True)
class Problem:
    """Why there is nothing to say of a kind of run."""

    text: str


TOO_LATE = Problem("the pilot's time was over")


def pilots(subjects: Sequence[Subject], seconds: float) -> list[Pace | Problem]:
    """Try each kind of run, the first of them first, as far as the time goes.

    Args:
        subjects: One for each kind.
        seconds: For all of them, once the worker has started. The first one is tried in any case.

    Raises:
        BaseException: A signal; the worker has been ended.
    """
    if not subjects:
        return []
    jobs = [(subject, seconds, len(subjects) - number, number == 0) for number, subject in enumerate(subjects)]
    threads = max(subject.threads for subject in subjects)
    pool = Pool([dict.fromkeys(THREAD_VARIABLES, str(threads))])
    try:
        with lanes.shared("plan", lambda _: None):
            # a limit for what does not listen to its own, such as a compiler
            ended = pool.run(pilot, jobs, _Silent(), Limits(max(seconds, LEAST_S), None))
    finally:
        pool.close()
    return [_found(outcome) for outcome in ended]


class _Silent:
    """Has nothing to tell of the pool."""

    def began(self, number: int) -> None: ...
    def again(self, number: int, lost: Lost) -> bool:
        return True

    def ended(self, number: int, outcome: Outcome) -> None: ...
    def look(self) -> None: ...


def _found(outcome: Outcome | None) -> Pace | Problem:
    if isinstance(outcome, Done):
        found: Pace | Problem = outcome.value
        return found
    if isinstance(outcome, Raised):
        return Problem(outcome.text)
    return Problem(outcome.reason if isinstance(outcome, Lost) else "it was not begun")


_until: float | None = None
"""In the worker: when the time is over, as ``time.monotonic()`` counts."""


def pilot(subject: Subject, seconds: float, left: int, first: bool) -> Pace | Problem:
    """In the worker: try one kind of run for its share of the time.

    Args:
        subject: The kind.
        seconds: For all of them.
        left: How many are still to be tried, this one among them.
        first: Whether it is tried however late it is.
    """
    global _until
    raise_on_signals()
    if _until is None:
        for module in OF_A_RUN:  # what starting takes is no part of any run
            importlib.import_module(module)
        _until = time.monotonic() + seconds
    begin()
    rest = _until - time.monotonic()
    if not first and rest < LEAST_S:
        return TOO_LATE
    share = max(LEAST_S, rest / left)
    try:
        return tried(subject, share, cold=first)
    except TimedOut as error:
        return Problem(error.reason)
    except Exception as error:
        return Problem(first_line(error))


@dataclass(frozen=True)
class Begun:
    """A run that is ready to train."""

    place: build.Place
    task: Task
    trainer: Trainer
    model: torch.nn.Module


def tried(subject: Subject, seconds: float, *, cold: bool) -> Pace:
    """Do what a run does, but for its length.

    It begins twice where there is time for that: what only the first run of a worker pays for is no part of the others.

    Args:
        subject: The kind of run.
        seconds: In all, about.
        cold: Whether this is the first of the worker, which begins twice even if that is over the time.

    Raises:
        TimedOut: Data and model alone took too long.
        Exception: What a run would raise.
    """
    set_peak_back()
    begin_s = math.inf
    until = time.perf_counter() + seconds / 3
    with time_limit(max(10 * LEAST_S, 2 * seconds), "data and model alone took longer than the pilot has"):
        for _ in range(2):
            started = time.perf_counter()
            begun = begin_run(subject)
            begin_s = min(begin_s, time.perf_counter() - started)
            if time.perf_counter() + begin_s > until and not (cold and begin_s < COLD_S):
                break
    task, trainer, model = begun.task, begun.trainer, begun.model
    steps = timed_steps(model, trainer, task, begun.place, seconds / 3)
    evaluate_s, at_least_s = timed_evaluation(model, trainer, task, max(LEAST_S, seconds / 2))
    epoch_steps = None if task.endless else steps_of_an_epoch(task, max(LEAST_S, seconds / 2))
    return Pace(begin_s, spread(steps), evaluate_s, at_least_s, epoch_steps, peak_resident_bytes())


def begin_run(subject: Subject) -> Begun:
    """All that a run does before it trains, but for what it writes.

    Raises:
        Exception: What a run would raise.
    """
    set_threads(subject.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    settings, node = subject.settings, subject.node
    place, task = build.make_place(settings), loaded.task_of(node)
    make_cell, backend = build.make_cell(node), construct(node["backend"])
    build.check_backend(make_cell, backend, place)
    fits.check_data(task, node, settings, place)
    loaded.load(task, node)
    fits.check_model(task, node, settings, place)
    loaded.known(task)
    trainer: Trainer = construct(node["trainer"], place.autocast)
    builder = build.ModelBuilder(node, task.sizes(), place)
    model = builder.build(make_cell, backend, sized(node, settings, make_cell, builder), settings.seed)
    batch = preflight.largest_batch(task)
    preflight.check_parity(model, task, make_cell, backend, batch, place)
    key = digest([node, subject.threads])  # of all that the answer depends on, and more
    preflight.look(f"pilot {key}", model, trainer, task, backend, batch, place)
    return Begun(place, task, trainer, model)


def sized(node: Node, settings: Settings, make_cell: MakeCell, builder: build.ModelBuilder) -> int:
    """The hidden size that the budget gives the cell."""
    size: int = construct(node["budget"]).solve(settings.hidden_size, make_cell, builder.count)
    return size


def timed_steps(
    model: torch.nn.Module, trainer: Trainer, task: Task, place: build.Place, seconds: float
) -> list[float]:
    """Train a little, and give the seconds of each step."""
    model.train()
    clock, optimizer, carry = StepClock(place.device), trainer.make_optimizer(model), None
    until, where = time.perf_counter() + seconds, task.place(model)
    generator = torch.Generator().manual_seed(0)
    for number, batch in enumerate(without_end(task, generator), 1):
        moved = batch.to(*where)
        with clock():
            _, _, carry = trainer.step(model, optimizer, task, moved, carry)
        if number >= MOST_STEPS or (number >= LEAST_STEPS and time.perf_counter() > until):
            break
    return clock.seconds()


def without_end(task: Task, generator: torch.Generator) -> Iterator[Batch]:
    """Pass after pass over the training data, no more than the steps of a pilot."""
    for _ in range(MOST_STEPS):
        yield from task.batches("train", generator)


def timed_evaluation(
    model: torch.nn.Module, trainer: Trainer, task: Task, seconds: float
) -> tuple[float | None, float]:
    """Seconds of an evaluation; or None, and for how long it was waited for."""
    started = time.perf_counter()
    with stopping_after(seconds):
        trainer.evaluate(model, task, "valid")
        return time.perf_counter() - started, 0.0
    return None, time.perf_counter() - started


def steps_of_an_epoch(task: Task, seconds: float) -> int | None:
    """Batches of a pass over the training data, counted; None where that takes too long."""
    with stopping_after(seconds):
        return sum(1 for _ in task.batches("train", torch.Generator().manual_seed(0)))
    return None


@contextmanager
def stopping_after(seconds: float) -> Iterator[None]:
    """Leave the block after so many seconds, and go on behind it."""
    try:
        with time_limit(seconds, "took longer than the pilot has"):
            yield
    except TimedOut:
        raise_on_signals()  # it was heard


def set_peak_back() -> None:
    """Let the peak of the resident set begin anew where the system lets a process do so (Linux 4.0 or later)."""
    with suppress(OSError):
        CLEAR_REFS.write_text("5")
