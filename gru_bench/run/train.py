"""The story of one run, from what was asked for to its row in the store."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from gru_bench.config.check import check_running, construct
from gru_bench.measure import lanes
from gru_bench.measure.timing import StepClock
from gru_bench.models.encoder import num_parameters, state_size
from gru_bench.run import alive, build, preflight, probing
from gru_bench.run.alive import beat
from gru_bench.run.checkpoints import Checkpoints
from gru_bench.run.job import Job, Request, prepare
from gru_bench.run.keep import Weights
from gru_bench.run.progress import show_progress
from gru_bench.run.record import Recorder, write_facts
from gru_bench.store.signals import raise_on_signals, time_limit
from gru_bench.training.fit import Fit
from gru_bench.training.together import Part
from gru_bench.training.trainer import Trainer

Result = TypeVar("Result")


def train(asked: Request, print_line: Callable[[str], None]) -> str:
    """Check the config and load the data, open the row, then train and score.

    An error in a job of a sweep becomes the reason in its row, and the sweep goes on. An error in a single run leaves
    no row: the user reads the message.

    Args:
        asked: What Hydra handed over.
        print_line: Shows a line to the user.

    Returns:
        One line: the score, what a trivial guess scores, seconds, and the run's id.

    Raises:
        Exception: Whatever ended the run; its row, if it has one, says so.
    """
    if asked.sweep is None and not asked.alone:
        raise RuntimeError("this job belongs to a sweep whose parent run could not be opened")
    limit = check_running(asked.config).run_timeout
    with lanes.shared(f"train {asked.name}", print_line, beat):  # no second of the run passes while it waits
        alive.begin()
        with time_limit(limit, f"run_timeout={limit}: the run took longer"):
            return trained(asked, print_line)


def trained(asked: Request, print_line: Callable[[str], None]) -> str:
    """The rest of :func:`train`, once no timing has the machine for itself."""
    with opened(asked, print_line) as (job, record, title, checkpoints):
        fit_and_score(job, record, title, checkpoints, quiet=not asked.alone)
    return record.summary()


def waiting(asked: Request, print_line: Callable[[str], None]) -> "Story[str]":
    """As :func:`trained`, but it stops where training begins, and goes on once that is over."""
    with opened(asked, print_line) as (job, record, title, checkpoints):
        yield from story(job, record, title, checkpoints, quiet=not asked.alone)
    return record.summary()


@contextmanager
def opened(
    asked: Request, print_line: Callable[[str], None]
) -> Iterator[tuple[Job, Recorder, str, Checkpoints | None]]:
    """Load the data and open the row, which ends as the block does; gives what :func:`fit_and_score` takes."""
    store = asked.store()
    started = time.perf_counter()
    prepared = prepare(asked)
    if asked.alone:
        job = prepared.ready()
        if job.remark:
            print_line(job.remark)
    prepared_s = time.perf_counter() - started
    if asked.alone:  # before there is a row; what probes do is no part of the run's cost
        probing.refuse(job.node, job.settings, job.task, job.place)
        raise_on_signals()  # until here nothing was open that would have to be closed
    store.open(later=asked.sweep is not None)
    if asked.alone:
        store.recover()
    started = time.perf_counter() - prepared_s  # opening a store is no part of the run's cost; the first is slow
    sweep_id = asked.sweep.sweep_id if asked.sweep else None
    # a checkpoint is there until the run's end is on record
    with ExitStack() as around, store.run(asked.experiment, asked.name, sweep_id=sweep_id, tags=asked.tags) as run:
        if prepared.job is not None:
            write_facts(run, prepared.job)
        job = prepared.ready()
        record = Recorder(run, job.task, started, shared=bool(job.facts.get("shared")))
        # a sweep's would be the same for each run: its first says what is odd, its report the rest
        for note in record.notes() if asked.alone else record.remarks() if asked.number == 0 else ():
            print_line(note)
        every_s = check_running(asked.config).checkpoint_every
        checkpoints = None if every_s is None else Checkpoints(store.uri, job, every_s, print_line)
        if checkpoints is not None:
            around.enter_context(checkpoints)
        title = f"{asked.choices['cell']} {asked.choices['task']}"
        yield job, record, title, checkpoints


@dataclass(frozen=True)
class Waiting:
    """A run that is about to train.

    Attributes:
        part: What :meth:`Trainer.fit` takes.
        job: The run's, loaded.
        record: Of the run.
        has_probes: Whether something is measured on the way that other runs would disturb.
    """

    part: Part
    job: Job
    record: Recorder
    has_probes: bool


Story = Generator[Waiting, None, Result]
"""A run that stops once, where its model is to be trained. It goes on when that is done, or ends with what is thrown
into it."""


def fit_and_score(
    job: Job, record: Recorder, title: str, checkpoints: Checkpoints | None = None, *, quiet: bool
) -> None:
    """From data to score: data, model, a look before training, training, and one look at the test split."""
    run = story(job, record, title, checkpoints, quiet=quiet)
    part = next(run).part
    try:
        part.fit()
    except BaseException as error:
        run.throw(error)
    next(run, None)


def story(
    job: Job, record: Recorder, title: str, checkpoints: Checkpoints | None = None, *, quiet: bool
) -> Story[None]:
    """As :func:`fit_and_score`, but whoever drives it trains the model."""
    settings, node, task, place = job.settings, job.node, job.task, job.place
    record.data()
    beat()

    make_cell, backend = build.make_cell(node), construct(node["backend"])
    trainer: Trainer = construct(node["trainer"], place.autocast)
    builder = build.ModelBuilder(node, task.sizes(), place)
    hidden_size: int = construct(node["budget"]).solve(settings.hidden_size, make_cell, builder.count)
    torch.manual_seed(build.dropout_seed(settings.seed))
    model = builder.build(make_cell, backend, hidden_size, settings.seed)
    record.model(hidden_size, num_parameters(model), state_size(model))
    subject = probing.make_subject(model, task, builder, make_cell, hidden_size, settings.seed)
    probes = probing.Probing(probing.make_probes(node), subject, record.findings, record.probe_clock)
    if quiet:  # a job of a sweep, whose row says so; a lone run was asked before it had one
        with record.clock_stopped():
            probing.require_answers(probes.probes, subject)

    batch = preflight.largest_batch(task)
    with record.clock_stopped():
        parity = preflight.check_parity(model, task, make_cell, backend, batch, place)
    record.parity(parity)
    beat()
    parity.require(str(job.facts["backend"]), str(job.facts["cell"]))  # red: nothing of it is timed
    audit, memory = preflight.look(job.keys[1], model, trainer, task, backend, batch, place)
    record.kernel(audit)
    record.memory(memory)
    record.arithmetic(builder.flops_a_token(make_cell, hidden_size))
    beat()
    record.run.flush()  # on record even if the process is killed in the hours that training may take

    result, weights = Fit(), Weights(settings.save)
    generator, clock = torch.Generator().manual_seed(build.data_seed(settings.seed)), StepClock(place.device)
    record.training(result)
    if checkpoints is not None:
        checkpoints.begin(record, audit.kernel)
    try:
        with show_progress(title, trainer, quiet=quiet) as progress:
            hooks = (record.curves, probes.hook, weights.hook)
            part = Part(trainer, model, task, generator, clock, hooks, progress, result, checkpoints)
            yield Waiting(part, job, record, has_probes=bool(probes.probes))
        weights.keep(job, record, model, result, hidden_size)
        probes.at("end")
        record.test(trainer.evaluate(model, task, "test"))
    finally:
        record.company()
        record.end(result)
