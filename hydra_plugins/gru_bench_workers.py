"""Hydra's plugin for ``hydra/launcher=workers``: warm worker processes, of which each may die alone.

Hydra imports all plugins whenever it starts: so this file holds no more than Hydra needs; the rest is in
``gru_bench/run/workers.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class WorkersLauncherConf:
    """``hydra/launcher=workers``.

    Attributes:
        n_jobs: How many runs at once; negative numbers count backwards from the usable cores, so that -1 is all of
            them. Never more than there are cores.
    """

    _target_: str = "hydra_plugins.gru_bench_workers.WorkersLauncher"
    n_jobs: int = -1


ConfigStore.instance().store(group="hydra/launcher", name="workers", node=WorkersLauncherConf, provider="gru_bench")


class WorkersLauncher(Launcher):
    """Runs jobs in worker processes."""

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what :meth:`launch` needs; Hydra calls it first."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Run the jobs and return how each of them ended."""
        from gru_bench.run.workers import launch

        returned: Sequence[JobReturn] = launch(
            self.config, self.hydra_context, self.task_function, job_overrides, initial_job_idx
        )
        return returned
