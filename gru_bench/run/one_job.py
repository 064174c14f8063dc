"""Jobs of a sweep in a process that Hydra did not start: composed and run as Hydra's own launchers do."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@runtime_checkable
class TakesSeveral(Protocol):
    """A task function that also takes several jobs at once."""

    def together(self, jobs: Sequence[Callable[[], DictConfig]]) -> list[str]:
        """Run them; each is composed when it is asked for. Returns how each ended."""


def run_one(
    context: HydraContext, config: DictConfig, task_function: TaskFunction, overrides: Sequence[str], number: int
) -> Any:
    """Run it, with its callbacks; returns what it returned.

    Args:
        context: What composes its config, and the callbacks.
        config: Of the sweep.
        task_function: What Hydra calls for each job.
        overrides: Of the job.
        number: Of the job, as Hydra counts.

    Raises:
        Exception: What it raised.
    """
    ran = run_job(
        hydra_context=context,
        config=composed(context, config, overrides, number),
        task_function=task_function,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    return ran.return_value


def run_together(
    context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
    jobs: Sequence[tuple[int, Sequence[str]]],
) -> list[str]:
    """Run several jobs at once, each with its callbacks; returns what each returned.

    Hydra's own way to run a job knows one at a time. It also makes and enters folders and sets environment variables,
    as ``hydra.job`` asks: one process cannot do that for several.

    Args:
        context: What composes their configs, and the callbacks.
        config: Of the sweep.
        task_function: A :class:`TakesSeveral`.
        jobs: The number and the overrides of each.

    Raises:
        Exception: What one of them raised.
    """
    begun: dict[int, DictConfig] = {}

    def begin(number: int, overrides: Sequence[str]) -> DictConfig:
        own = begun[number] = composed(context, config, overrides, number)
        context.callbacks.on_job_start(config=own, task_function=task_function)
        given = own.copy()
        with open_dict(given):
            del given["hydra"]
        return given

    def starting(number: int, overrides: Sequence[str]) -> Callable[[], DictConfig]:
        return lambda: begin(number, overrides)

    assert isinstance(task_function, TakesSeveral)
    ended = task_function.together([starting(number, overrides) for number, overrides in jobs])
    for (number, _), how in zip(jobs, ended, strict=True):
        if number in begun:
            returned = JobReturn(status=JobStatus.COMPLETED, _return_value=how)
            context.callbacks.on_job_end(config=begun[number], job_return=returned)
    return ended


def composed(context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """A job's config, which is Hydra's current one from then on."""
    own: DictConfig = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(own):
        own.hydra.job.id = f"{own.hydra.job.name}_{number}"
        own.hydra.job.num = number
    HydraConfig.instance().set_config(own)
    return own
