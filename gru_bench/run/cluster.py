"""Runs on other machines: jobs of Slurm or of its stand-in through submitit, tasks of a Ray cluster.

What the engines do by themselves would cost results, and is closed here:

- The launchers that Hydra's makers ship stop waiting at the first job that is lost, and the sweep would be closed while
  others still run. Here all are waited for.
- Ray starts a lost task again, three times, and none of the lost runs is ever closed. Here the row of a lost run is
  closed and says so; the same command runs it again.
- submitit's stand-in starts all jobs at once and hides the GPUs. Here ``n_jobs`` run at once, each on its own GPU.
- A job that is to be ended gets a signal in the middle of a step. Here it ends at the next one, with a checkpoint, its
  row is closed, and only then the engine is asked to queue it again.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gru_bench.measure.threads import CORES
from gru_bench.run.launch import Launch, current_launch
from gru_bench.run.one_job import run_one
from gru_bench.run.workers import hydra_sweep
from gru_bench.store import signals

LOOK_EVERY_S = 0.5
"""Seconds between looks at the jobs; an engine may look at its own queue less often."""
CANCELLED_WITHIN_S = 5.0
"""How long jobs that are ended are given to close their rows; later ones are closed by the next start."""


class Launched(Protocol):
    """What the plugin of a launcher keeps."""

    engine: str
    settings: dict[str, Any]
    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig


class Handle(Protocol):
    """One job on an engine."""

    def over(self) -> bool:
        """Whether it has ended."""

    def returned(self) -> str:
        """What the job returned: how its run ended, nothing where none was begun. Called once it is over.

        Raises:
            Exception: The job was lost, or raised something.
        """

    def cancel(self) -> None:
        """End it."""


class ClusterJob:
    """One job, to be pickled: composes its config and runs it, wherever it lands.

    Args:
        launcher: Of the sweep.
        overrides: Of the job.
        number: Of the job.
    """

    def __init__(self, launcher: Launched, overrides: Sequence[str], number: int) -> None:
        self.hydra_context, self.task_function, self.config = (
            launcher.hydra_context,
            launcher.task_function,
            launcher.config,
        )
        self.overrides, self.number, self.singletons = list(overrides), number, Singleton.get_state()
        settings, self.engine = launcher.settings, launcher.engine
        self.cores = settings.get("cpus_per_task") or settings.get("num_cpus")
        self.folder = os.getcwd()

    def __call__(self) -> str:
        """Run it; returns how it ended, and nothing where it was not begun."""
        with suppress(OSError):  # where both see one disk, relative paths mean the same in both places
            os.chdir(self.folder)
        if self.engine == "local":  # a terminal sends it to the whole group; the first one lets this job finish
            signals.leave_ctrl_c()
        if self.cores is not None:  # the engine counts them, and need not confine a job to them
            os.environ[CORES] = str(max(1, int(self.cores)))
        Singleton.set_state(self.singletons)
        setup_globals()
        with requeued():
            value = run_one(self.hydra_context, self.config, self.task_function, self.overrides, self.number)
        return str(value or "")

    def checkpoint(self) -> Any:
        """What submitit queues again: the job as it is, which goes on from its own checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


Submit = Callable[[ClusterJob, int], Handle]
"""Starts a job in a slot, a number that no other job has at that time."""


@contextmanager
def requeued() -> Iterator[None]:
    """Ask submitit to queue the job again that it told to end, once the run inside has ended.

    submitit's own handler would do so in the middle of a step. Does nothing in a job that submitit does not watch.
    """
    theirs = {
        number: handler
        for number in (signal.SIGUSR1, signal.SIGUSR2)
        if callable(handler := signal.getsignal(number)) and "submitit" in str(getattr(handler, "__module__", ""))
    }
    if not theirs:
        yield
        return
    for number in theirs:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGUSR1))
    try:
        yield
    except SystemExit:
        if signals.received != signal.SIGUSR1:
            raise
        number, handler = next(iter(theirs.items()))
        handler(number, None)  # leaves with the exit code that its controller knows
        raise


def launch(launcher: Launched, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """Run all jobs of a batch on the launcher's engine.

    Returns:
        One for each job, in their order: how it ended, ``"killed"`` for a lost one, nothing for one that was not begun.

    Raises:
        UserError: The engine is not there.
        KeyboardInterrupt: The second Ctrl-C. After the first one, what runs is waited for.
    """
    setup_globals()
    jobs = [ClusterJob(launcher, overrides, number) for number, overrides in enumerate(job_overrides, first)]
    if launcher.engine == "ray":
        from gru_bench.run.on_ray import submitter
    elif launcher.engine == "slurm":
        from gru_bench.run.on_submitit import to_slurm as submitter
    else:
        from gru_bench.run.on_submitit import to_this_machine as submitter
    submit, at_once = submitter(launcher.settings)
    ended = run_all(jobs, submit, at_once, current_launch(), planned_numbers(launcher))
    return [
        JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=how)
        for job, how in zip(jobs, ended, strict=True)
    ]


def planned_numbers(launcher: Launched) -> Mapping[int, int]:
    """Of each job by the number that Hydra gives it, its number in the plan."""
    sweep = hydra_sweep(launcher.hydra_context)
    return {} if sweep is None else dict(sweep.numbers)


def run_all(
    jobs: Sequence[ClusterJob], submit: Submit, at_once: int, launched: Launch, planned: Mapping[int, int]
) -> list[str]:
    """Submit jobs, so many at once, and wait until all are over.

    Args:
        jobs: In their order.
        submit: Starts one.
        at_once: How many slots there are.
        launched: Is told what happens.
        planned: Of :func:`planned_numbers`.
    """
    waiting, ended = deque(range(len(jobs))), [""] * len(jobs)
    slots: dict[int, tuple[int, Handle]] = {}
    try:
        while slots or (waiting and not signals.finishing):
            while waiting and len(slots) < at_once and not signals.finishing:
                slot = next(number for number in range(at_once) if number not in slots)
                index = waiting.popleft()
                slots[slot] = index, submit(jobs[index], slot)
                launched.tally.began(jobs[index].number)
            for slot, (index, handle) in list(slots.items()):
                if handle.over():
                    ended[index] = outcome(handle, jobs[index].number, launched, planned)
                    launched.over(jobs[index].number, ended[index])
                    del slots[slot]
            launched.update()
            time.sleep(LOOK_EVERY_S)
    except BaseException:
        for _, handle in slots.values():
            handle.cancel()
        until = time.monotonic() + CANCELLED_WITHIN_S
        while time.monotonic() < until and not all(handle.over() for _, handle in slots.values()):
            time.sleep(LOOK_EVERY_S)
        raise
    return ended


def outcome(handle: Handle, number: int, launched: Launch, planned: Mapping[int, int]) -> str:
    """How a job ended that is over. The row of one that was lost is closed: whoever wrote it cannot."""
    try:
        return handle.returned()
    except Exception as error:
        reason = f"its job was lost: {last_line(error)}"
    launched.lose(number, planned.get(number, number), None, reason)
    return "killed"


def last_line(error: Exception) -> str:
    """The last line that is not empty: engines put the whole output of a job into their errors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__
