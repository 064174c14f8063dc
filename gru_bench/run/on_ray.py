"""Jobs as tasks of a Ray cluster."""

import os
from typing import Any

from gru_bench.errors import UserError
from gru_bench.run.cluster import ClusterJob, Submit

MOST_AT_ONCE = 10_000
"""Ray itself starts no more tasks than the cluster has room for."""


class RayHandle:
    """One task of Ray."""

    def __init__(self, ray: Any, task: Any) -> None:
        self.ray, self.task = ray, task

    def over(self) -> bool:
        return bool(self.ray.wait([self.task], timeout=0)[0])

    def returned(self) -> str:
        return str(self.ray.get(self.task))

    def cancel(self) -> None:
        self.ray.cancel(self.task, force=True)


def submitter(settings: dict[str, Any]) -> tuple[Submit, int]:
    """How to submit a job, and how many at once.

    Raises:
        UserError: No cluster answers.
    """
    # else a task that asks for no GPU gets an empty list of them, even over the user's own
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if not ray.is_initialized():
        try:
            ray.init(address=settings["address"], log_to_driver=True, **settings["init"])
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(
                f"hydra.launcher.address={settings['address']}: {line}; valid: auto where `ray start --head` runs on "
                "this machine, host:port of one, or null for a cluster of this machine alone"
            ) from error
    # max_retries: a task that is lost and started again would be a second run of the same job
    run = ray.remote(num_cpus=settings["num_cpus"], num_gpus=settings["num_gpus"], max_retries=0)(call)
    return lambda job, _: RayHandle(ray, run.remote(job)), MOST_AT_ONCE


def call(job: ClusterJob) -> str:
    """The task."""
    return job()
