"""Hydra's plugins for launching runs on other machines: each hands over to :mod:`gru_bench.run.cluster`.

Hydra looks for plugins in the top-level package ``hydra_plugins`` alone, and imports all of them whenever it starts: so
this file holds no more than Hydra needs. Their yaml files are in ``conf/hydra/launcher``.
"""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ClusterLauncher(Launcher):
    """What the three have in common. Not a launcher by itself."""

    engine = ""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a job needs."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; returns once each is over, however it ended."""
        from gru_bench.run.cluster import launch

        return launch(self, job_overrides, initial_job_idx)


class SlurmLauncher(ClusterLauncher):
    """``hydra/launcher=slurm``."""

    engine = "slurm"


class LocalClusterLauncher(ClusterLauncher):
    """``hydra/launcher=local_cluster``."""

    engine = "local"


class RayLauncher(ClusterLauncher):
    """``hydra/launcher=ray_cluster``."""

    engine = "ray"
