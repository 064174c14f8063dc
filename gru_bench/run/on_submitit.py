"""Jobs through submitit: Slurm's queue, or processes of this machine in its place."""

import signal
from typing import Any

from gru_bench.measure.threads import usable_cores
from gru_bench.run.cluster import ClusterJob, Handle, Submit

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


class LocalHandle(SubmititHandle):
    """A job of submitit on this machine, which does not hear SIGINT, submitit's own way to cancel it."""

    def cancel(self) -> None:
        if self.job._process is not None:
            self.job._process.terminate()  # hands it on to the job, which closes its row


def to_slurm(settings: dict[str, Any]) -> tuple[Submit, int]:
    """How to submit a job to Slurm, and how many at once."""
    import submitit

    queue = submitit.AutoExecutor(
        folder=settings["folder"], cluster="slurm", slurm_max_num_timeout=settings["max_requeues"]
    )
    queue.update_parameters(
        name="gru-bench",
        timeout_min=settings["timeout_min"],
        gpus_per_node=settings["gpus_per_node"] or None,  # some clusters refuse a job that asks for none
        cpus_per_task=settings["cpus_per_task"],
        mem_gb=settings["mem_gb"],
        slurm_signal_delay_s=settings["signal_delay_s"],
        **{f"slurm_{key}": settings[key] for key in SLURM_KEYS if settings[key]},
    )
    return lambda job, _: SubmititHandle(queue.submit(job)), settings["parallel_jobs"]


def to_this_machine(settings: dict[str, Any]) -> tuple[Submit, int]:
    """How to start a job as Slurm would, in a process of its own here, and how many at once."""
    import submitit

    here = submitit.LocalExecutor(settings["folder"], max_num_timeout=settings["max_requeues"])
    here.update_parameters(
        timeout_min=settings["timeout_min"],
        gpus_per_node=settings["gpus_per_node"],
        signal_delay_s=settings["signal_delay_s"],
    )

    def submit(job: ClusterJob, slot: int) -> Handle:
        if settings["gpus_per_node"]:
            here.update_parameters(visible_gpus=(slot,))
        # inherited by the process that watches the job: it would end the job at the first Ctrl-C of a terminal
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return LocalHandle(here.submit(job))
        finally:
            signal.signal(signal.SIGINT, before)

    return submit, usable_cores() if settings["n_jobs"] == -1 else settings["n_jobs"]
