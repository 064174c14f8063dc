"""``hydra/launcher=workers``: the jobs of a sweep in the worker processes of :mod:`gru_bench.run.pool`."""

import contextlib
import hashlib
import io
import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from gru_bench.run.launch import Launch, current_launch
from gru_bench.run.one_job import run_one
from gru_bench.run.pool import Limits, Pool
from gru_bench.run.worker import Done, Lost, Outcome, Raised

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
VISIBLE = "CUDA_VISIBLE_DEVICES"


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
        jobs = [(str(path), first + number, list(overrides)) for number, overrides in enumerate(job_overrides)]
        ended = launched.pool.run(
            execute, jobs, Told(launched, first, planned), Limits(running.run_timeout, running.stall_timeout)
        )
    return [returned(overrides, outcome) for overrides, outcome in zip(job_overrides, ended, strict=True)]


def hydra_sweep(hydra_context: HydraContext) -> Any:
    """The sweep that the callback holds for the jobs; None without."""
    callbacks = getattr(hydra_context.callbacks, "callbacks", [])
    return next((callback.sweep for callback in callbacks if getattr(callback, "sweep", None) is not None), None)


def returned(overrides: Sequence[str], outcome: Outcome | None) -> JobReturn:
    """A job's end as Hydra has it; without the config, which nobody reads."""
    value = outcome.value[0] if isinstance(outcome, Done) else "killed" if outcome is not None else ""
    if isinstance(outcome, Raised) and not outcome.by_signal:
        return JobReturn(overrides=list(overrides), status=JobStatus.FAILED, _return_value=RuntimeError(outcome.text))
    return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=value)


@dataclass
class Told:
    """Passes on to the launch what happens in the pool.

    Attributes:
        launched: The call of the command.
        first: Number of the first job, as Hydra counts.
        planned: Of each job by that number, its number in the plan.
    """

    launched: Launch
    first: int
    planned: Mapping[int, int]

    def began(self, number: int) -> None:
        self.launched.tally.began(self.first + number)

    def ended(self, number: int, outcome: Outcome) -> None:
        """Close the row that a lost worker has left open, and say so."""
        number += self.first
        again = isinstance(outcome, Lost) and outcome.again
        if isinstance(outcome, Done):
            print(outcome.value[1], end="", flush=True)
        if isinstance(outcome, Lost):
            self.lost(number, outcome)
        self.launched.over(number, how(outcome), again=again)

    def lost(self, number: int, lost: Lost) -> None:
        reason = f"{lost.reason}; the run was tried again" if lost.again else lost.reason
        said = f"{lost.reason}; it is tried again" if lost.again else lost.reason
        self.launched.lose(number, self.planned.get(number, number), lost.owner, reason, said)

    def look(self) -> None:
        self.launched.update()


def how(outcome: Outcome) -> str:
    """In a word."""
    if isinstance(outcome, Done):
        return str(outcome.value[0])
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


def execute(path: str, number: int, overrides: list[str]) -> tuple[Any, str]:
    """In a worker: run one job as Hydra's own launchers do, with its callbacks.

    Args:
        path: The file that holds what is the same for all jobs of a launch.
        number: Of the job in its sweep.
        overrides: Of the job.

    Returns:
        What the job returned, and the lines that it printed.

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
        value = run_one(context, config, task_function, overrides, number)
    return value, printed.getvalue()
