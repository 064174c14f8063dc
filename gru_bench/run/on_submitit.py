"""Jobs through submitit: Slurm's queue, or processes of this machine in its place."""

import shutil
from typing import Any

from gru_bench.errors import UserError
from gru_bench.measure.threads import usable_cores
from gru_bench.run.cluster import ClusterJob, Handle, Submit, missing

SLURM_KEYS = ("partition", "account", "qos", "constraint", "additional_parameters", "setup")
"""Settings that submitit hands on to sbatch."""


class SubmititHandle:
    """One job of submitit."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def over(self) -> bool:
        return bool(self.job.done())

    def returned(self) -> str:
        return str(self.job.result())

    def cancel(self) -> None:
        self.job.cancel(check=False)


def to_slurm(settings: dict[str, Any]) -> tuple[Submit, int]:
    """How to submit a job to Slurm, and how many at once.

    Raises:
        UserError: submitit or Slurm is not there, or a number of jobs is none.
    """
    submitit = imported("slurm")
    if shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=slurm: there is no sbatch on this machine; valid: on a login node of the cluster, or "
            "hydra/launcher=local_cluster"
        )
    queue = submitit.AutoExecutor(
        folder=settings["folder"], cluster="slurm", slurm_max_num_timeout=settings["max_requeues"]
    )
    queue.update_parameters(
        name="gru-bench",
        timeout_min=settings["timeout_min"],
        gpus_per_node=settings["gpus_per_node"],
        cpus_per_task=settings["cpus_per_task"],
        mem_gb=settings["mem_gb"],
        slurm_signal_delay_s=settings["signal_delay_s"],
        **{f"slurm_{key}": settings[key] for key in SLURM_KEYS if settings[key]},
    )
    return lambda job, _: SubmititHandle(queue.submit(job)), slots("parallel_jobs", settings["parallel_jobs"])


def to_this_machine(settings: dict[str, Any]) -> tuple[Submit, int]:
    """How to start a job as Slurm would, in a process of its own here, and how many at once.

    Raises:
        UserError: submitit is not there, or a number of jobs is none.
    """
    submitit = imported("local_cluster")
    here = submitit.LocalExecutor(settings["folder"], max_num_timeout=settings["max_requeues"])
    here.update_parameters(
        timeout_min=settings["timeout_min"],
        gpus_per_node=settings["gpus_per_node"],
        signal_delay_s=settings["signal_delay_s"],
    )

    def submit(job: ClusterJob, slot: int) -> Handle:
        if settings["gpus_per_node"]:
            here.update_parameters(visible_gpus=(slot,))
        return SubmititHandle(here.submit(job))

    return submit, slots("n_jobs", settings["n_jobs"])


def imported(launcher: str) -> Any:
    """Submitit.

    Raises:
        UserError: It is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise missing(launcher, "slurm", error) from error
    return submitit


def slots(key: str, number: int) -> int:
    """How many jobs run at once.

    Raises:
        UserError: None, or counted backwards from the cores of a machine that is not this one.
    """
    if number == -1 and key == "n_jobs":
        return usable_cores()
    if number < 1:
        raise UserError(f"hydra.launcher.{key}={number}: must be at least 1")
    return int(number)
