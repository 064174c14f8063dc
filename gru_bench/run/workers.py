"""``hydra/launcher=workers``: the jobs of a sweep in the worker processes of :mod:`gru_bench.run.pool`."""

import contextlib
import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gru_bench.config.check import check_running
from gru_bench.measure.threads import num_workers, usable_cores
from gru_bench.run.batch import batches
from gru_bench.run.launch import Launch, current_launch
from gru_bench.run.one_job import run_one, run_together
from gru_bench.run.pool import Limits, Pool
from gru_bench.run.worker import Done, Lost, Outcome, Raised

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
VISIBLE = "CUDA_VISIBLE_DEVICES"
FINISHED = "finished"
"""What a job returns that has."""


def launch(
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[JobReturn]:
    """Run jobs in the workers, which stay for the next round.

    Args:
        config: Of the sweep.
        hydra_context: What else composes a job's config, and the callbacks.
        task_function: What Hydra calls for each job.
        job_overrides: Of each job.
        first: Number of the first one.

    Returns:
        What each job returned: nothing for one that was not begun, and ``"killed"`` for one whose worker was lost.

    Raises:
        BaseException: A signal asked this process to end.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    launched, running = current_launch(), check_running(config)
    if launched.pool is None:
        launched.pool = Pool(environments(config, len(job_overrides)))
    launched.tally.workers = len(launched.pool.environments)
    planned = getattr(hydra_sweep(hydra_context), "numbers", {})
    state = pickle.dumps((Singleton.get_state()["instances"], hydra_context, config, task_function))
    with tempfile.TemporaryDirectory(prefix="gru_bench_") as folder:
        # a file: a pipe would hold up the driver, where a worker was stopped that is to read so much
        path = Path(folder) / hashlib.sha256(state).hexdigest()
        path.write_bytes(state)
        groups = batches(job_overrides, running.seeds_in_batch, len(launched.pool.environments))
        told = Told(launched, [[first + number for number in group] for group in groups], planned)
        told.jobs = [(str(path), [(job, list(job_overrides[job - first])) for job in batch]) for batch in told.batches]
        outcomes = launched.pool.run(
            execute,
            told.jobs,
            told,
            Limits(running.run_timeout, running.stall_timeout),
            [len(group) for group in groups],
        )
    ended: dict[int, Outcome | None] = dict.fromkeys(told.finished, Done(FINISHED))
    for batch, outcome in zip(told.batches, outcomes, strict=True):
        ended |= zip(batch, of_each(outcome, len(batch)), strict=True)
    return [returned(overrides, ended[first + number]) for number, overrides in enumerate(job_overrides)]


def of_each(outcome: Outcome | None, size: int) -> list[Outcome | None]:
    """The outcome of each job of a batch."""
    if isinstance(outcome, Done):
        return [Done(value) for value in outcome.value[0]]
    return [outcome] * size


def hydra_sweep(hydra_context: HydraContext) -> Any:
    """The sweep that the callback holds for the jobs; None without."""
    callbacks = getattr(hydra_context.callbacks, "callbacks", [])
    return next((callback.sweep for callback in callbacks if getattr(callback, "sweep", None) is not None), None)


def returned(overrides: Sequence[str], outcome: Outcome | None) -> JobReturn:
    """A job's end as Hydra has it; without the config, which nobody reads."""
    value = outcome.value if isinstance(outcome, Done) else "killed" if outcome is not None else ""
    if isinstance(outcome, Raised) and not outcome.by_signal:
        return JobReturn(overrides=list(overrides), status=JobStatus.FAILED, _return_value=RuntimeError(outcome.text))
    return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=value)


@dataclass
class Told:
    """Passes on to the launch what happens in the pool.

    Attributes:
        launched: The call of the command.
        batches: Of each job of the pool, the jobs that it is, as Hydra counts, but those that have finished though
            their worker was lost.
        planned: Of each job by that number, its number in the plan.
        jobs: The arguments of each job of the pool.
        finished: The jobs that have finished though their worker was lost.
    """

    launched: Launch
    batches: list[list[int]]
    planned: Mapping[int, int]
    jobs: list[tuple[str, list[tuple[int, list[str]]]]] = field(default_factory=list)
    finished: set[int] = field(default_factory=set)

    def began(self, number: int) -> None:
        for job in self.batches[number]:
            self.launched.tally.began(job)

    def again(self, number: int, lost: Lost) -> bool:
        """Hand out again what had not finished: a worker may be lost between the end of a run and saying so."""
        self.close(number, lost)
        path, jobs = self.jobs[number]
        self.jobs[number] = (path, [one for one in jobs if one[0] not in self.finished])
        return bool(self.batches[number])

    def ended(self, number: int, outcome: Outcome) -> None:
        """Print what a worker has printed, or close the rows that a lost one has left open."""
        if isinstance(outcome, Lost):
            self.close(number, outcome)
            return
        if isinstance(outcome, Done):
            print(outcome.value[1], end="", flush=True)
        jobs = self.batches[number]
        for job, own in zip(jobs, of_each(outcome, len(jobs)), strict=True):
            assert own is not None
            self.launched.over(job, how(own))

    def close(self, number: int, lost: Lost) -> None:
        """Close the rows that a lost worker has left open, and say so."""
        for job in list(self.batches[number]):
            if self.launched.lose(job, self.planned.get(job, job), lost.owner, lost.reason, again=lost.again):
                self.batches[number].remove(job)
                self.finished.add(job)
                self.launched.over(job, FINISHED)
            else:
                self.launched.over(job, how(lost), again=lost.again)

    def look(self) -> None:
        self.launched.update()


def how(outcome: Outcome) -> str:
    """In a word."""
    if isinstance(outcome, Done):
        return str(outcome.value)
    return "killed" if isinstance(outcome, Lost) or outcome.by_signal else "failed"


def environments(config: DictConfig, num_jobs: int) -> list[dict[str, str]]:
    """The environment of each worker: its share of the cores, and its GPU where there are several.

    Args:
        config: Of the sweep.
        num_jobs: No more workers are needed.

    Raises:
        UserError: ``n_jobs`` is not a number of workers.
    """
    cores, asked = usable_cores(), num_workers(config.hydra.launcher)
    size = max(1, min(asked, cores, num_jobs))
    share = max(1, cores // min(asked, cores))
    devices = gpus(config)
    found = []
    for place in range(size):
        own = {name: str(min(share, given)) for name in THREAD_VARIABLES for given in [threads_given(name, share)]}
        if len(devices) > 1:
            own[VISIBLE] = devices[place % len(devices)]
        found.append(own)
    return found


def threads_given(name: str, otherwise: int) -> int:
    """What the user's environment says about threads."""
    text = os.environ.get(name, "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else otherwise


def gpus(config: DictConfig, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs to share out, by the names that ``CUDA_VISIBLE_DEVICES`` takes.

    None where runs are on the CPU, or name a card of their own as ``cuda:1`` does: such a number would mean another
    card, once a worker sees one alone. Of what the user lets be seen, CUDA takes no name from the first on that is no
    device, such as -1. Source: CUDA C++ programming guide, environment variables.
    """
    swept = (config.hydra.sweeper.get("params") or {}).get("device", "")
    overrides = [str(override).lstrip("+").partition("=") for override in config.hydra.overrides.task]
    named = ",".join([str(config.device), str(swept), *(value for key, _, value in overrides if key == "device")])
    if "cuda" not in named or ":" in named:
        return []
    count = torch.cuda.device_count()
    if VISIBLE not in environment:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in environment[VISIBLE].split(",")]
    if names[0].isdecimal():
        return names[:count]
    # a UUID, of which a slice of a card (MIG) is one: a process sees but one slice, however many are named
    return list(takewhile(lambda name: name.startswith(("GPU-", "MIG-")), names))


_state: tuple[str, tuple[Any, ...]] = ("", ())
"""What the last launch has sent to this worker, by its file's name."""


def execute(path: str, jobs: list[tuple[int, list[str]]]) -> tuple[list[Any], str]:
    """In a worker: run a job as Hydra's own launchers do, with its callbacks, or several at once.

    Args:
        path: The file that holds what is the same for all jobs of a launch.
        jobs: The number in its sweep and the overrides of each.

    Returns:
        What each job returned, and the lines that they printed.

    Raises:
        Exception: What it raised.
    """
    global _state
    if _state[0] != path:
        setup_globals()  # among other things the resolvers, which cannot be sent
        _state = (path, pickle.loads(Path(path).read_bytes()))
        Singleton.set_state(Singleton.get_state() | {"instances": _state[1][0]})
    _, context, config, task_function = _state[1]
    printed = io.StringIO()  # the driver prints it, so that no line cuts into its table
    with contextlib.redirect_stdout(printed):
        if len(jobs) == 1:
            number, overrides = jobs[0]
            values = [run_one(context, config, task_function, overrides, number)]
        else:
            values = run_together(context, config, task_function, jobs)
    return values, printed.getvalue()
