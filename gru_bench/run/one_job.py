"""One job of a sweep in a process that Hydra did not start: composed and run as Hydra's own launchers do."""

from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


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
    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = f"{composed.hydra.job.name}_{number}"
        composed.hydra.job.num = number
    HydraConfig.instance().set_config(composed)
    ran = run_job(
        hydra_context=context,
        config=composed,
        task_function=task_function,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    return ran.return_value
