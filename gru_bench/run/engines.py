"""What a launcher can do, and whether a cluster's engine is there: asked before a sweep is opened."""

import importlib.util
import shutil
from typing import TYPE_CHECKING, TypeGuard

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from gru_bench.config.check import check_running
from gru_bench.errors import UserError

if TYPE_CHECKING:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

BATCHING = ("basic", "workers")
"""Launchers that can train several seeds in one process."""
PLUGINS = "hydra_plugins.gru_bench_clusters."
NAMES = {"SlurmLauncher": "slurm", "LocalClusterLauncher": "local_cluster", "RayLauncher": "ray_cluster"}
"""Class of each plugin, and the choice of ``hydra/launcher`` that stands for it."""
EXTRAS = {"slurm": ("submitit", "slurm"), "local_cluster": ("submitit", "slurm"), "ray_cluster": ("ray", "ray")}
"""What each needs: a package, and the extra of this one that brings it."""
NUMBERS = {"slurm": "parallel_jobs", "local_cluster": "n_jobs"}
"""Which key is the number of jobs at once."""


def cluster_of(launcher: DictConfig) -> str | None:
    """The choice of ``hydra/launcher``, where it is one for clusters; None otherwise."""
    target = str(launcher.get("_target_", ""))
    return NAMES.get(target.removeprefix(PLUGINS)) if target.startswith(PLUGINS) else None


def is_elsewhere(launcher: DictConfig) -> bool:
    """Whether jobs run on other machines than the driver, whose cores say nothing of theirs."""
    return cluster_of(launcher) in ("slurm", "ray_cluster")


def refuse_missing(launcher: DictConfig) -> None:
    """Check a cluster's launcher; does nothing for others.

    Raises:
        UserError: Its package or Slurm is not there, or it would run no job.
    """
    name = cluster_of(launcher)
    if name is None:
        return
    package, extra = EXTRAS[name]
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"hydra/launcher={name}: needs the package {package}; install it with: pip install 'gru-bench[{extra}]'"
        )
    if name == "slurm" and shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=slurm: there is no sbatch on this machine; valid: on a login node of the cluster, or "
            "hydra/launcher=local_cluster"
        )
    if name in NUMBERS:
        key, least = NUMBERS[name], 1
        number = launcher.get(key)
        every_core = name == "local_cluster" and number == -1
        if not isinstance(number, int) or (number < least and not every_core):
            wish = "1, 2 ..., or -1 for a core each" if name == "local_cluster" else "1, 2 ..."
            raise UserError(f"hydra.launcher.{key}={number}: must be a number of jobs; valid: {wish}")


def refuse_batches(config: DictConfig) -> None:
    """Let runs be trained together only where one process can do what Hydra is asked to do for each of them.

    Raises:
        UserError: It cannot.
    """
    seeds, chosen = check_running(config).seeds_in_batch, str(config.hydra.runtime.choices.get("hydra/launcher"))
    if seeds == 1:
        return
    if chosen not in BATCHING:
        raise UserError(f"seeds_in_batch={seeds}: not with hydra/launcher={chosen}; valid: {', '.join(BATCHING)}")
    if config.hydra.job.chdir or config.hydra.job.env_set or config.hydra.output_subdir is not None:
        raise UserError(
            f"seeds_in_batch={seeds}: not where Hydra gives each run a folder or variables of its own; valid: "
            "hydra.job.chdir=false hydra.output_subdir=null without hydra.job.env_set"
        )


def is_hydras_own(launcher: Launcher) -> "TypeGuard[BasicLauncher]":
    """Whether it is the launcher that runs jobs in this process.

    By name: Hydra loads the modules of its plugins anew whenever it looks for them, and with them the class.
    """
    return any(kind.__qualname__ == "BasicLauncher" for kind in type(launcher).__mro__)


def tells(launcher: Launcher) -> bool:
    """Whether a launcher tells this process when a job begins and ends: Hydra's own, which runs them here, and ours."""
    return is_hydras_own(launcher) or type(launcher).__module__.startswith("hydra_plugins.gru_bench_")
