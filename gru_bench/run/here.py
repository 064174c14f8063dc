"""Hydra's own launcher with several seeds at once: the jobs of a sweep, batch after batch, in this process."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals

from gru_bench.run.batch import batches
from gru_bench.run.one_job import run_together


def launch(
    launcher: BasicLauncher, most: int, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> list[JobReturn]:
    """Run jobs in batches of those that differ in the seed alone.

    Args:
        launcher: Of the sweep.
        most: Jobs in one batch.
        job_overrides: Of each job.
        initial_job_idx: Number of the first one.

    Returns:
        What each job returned; nothing for one that was not begun.
    """
    context, config = launcher.hydra_context, launcher.config
    assert context is not None
    assert config is not None
    assert launcher.task_function is not None
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    ended: dict[int, str] = {}
    for batch in batches(job_overrides, most, workers=1):
        jobs = [(initial_job_idx + number, job_overrides[number]) for number in batch]
        ended |= zip(batch, run_together(context, config, launcher.task_function, jobs), strict=True)
    return [
        JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=ended[number])
        for number, overrides in enumerate(job_overrides)
    ]
