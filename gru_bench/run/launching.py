"""Launches the jobs of a sweep that is planned, in the process of the command."""

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from typing import Any

from hydra.plugins.launcher import Launcher

from gru_bench.config.check import check_running
from gru_bench.run.engines import is_hydras_own, tells
from gru_bench.run.launch import Launch, current_launch
from gru_bench.run.plan import as_overrides, varied
from gru_bench.run.rounds import FIRST, SECOND, Looked
from gru_bench.store import signals
from gru_bench.store.signals import finish_first


def launch_jobs(launcher: Launcher) -> Sequence[Any]:
    """Launch what the callback has planned, in this process; returns what Hydra's launcher returned.

    Raises:
        Exception: What a job raised.
    """
    launch = current_launch()
    finish_first("Ctrl-C: the running jobs finish, and no further one is begun; once more to stop now")
    launch.tally.tells = tells(launcher)
    if launch.growing is not None:
        return launch.growing.run(surviving(launcher))
    if not launch.todo:  # all is done, and the parent run is to say so
        return []
    from gru_bench.run.sweep_board import SweepBoard

    assert launch.plan is not None
    launch.tally.expect(0, launch.todo, varied(launch.plan.jobs), workers=1)
    with SweepBoard(launch.tally, looking(launch)) as launch.board:
        returned = surviving(launcher)(
            [[*as_overrides(job), *launch.carried] for job in launch.todo], initial_job_idx=0
        )
    for job in returned:
        _ = job.return_value  # raises what the job raised
    return [returned]


def surviving(launcher: Launcher) -> Callable[..., Sequence[Any]]:
    """What launches jobs: the launcher, with a line where the loss of a worker ends all of it."""

    def launch(*arguments: Any, **named: Any) -> Sequence[Any]:
        try:
            returned: Sequence[Any] = launching_of(launcher)(*arguments, **named)
        except BrokenExecutor as error:
            signals.say(
                "a worker was lost, and with this launcher the whole sweep ends; with hydra/launcher=workers one "
                "run is lost, and the sweep goes on"
            )
            raise SystemExit(1) from error
        if signals.finishing:
            raise KeyboardInterrupt
        return returned

    return launch


def launching_of(launcher: Launcher) -> Callable[..., Sequence[Any]]:
    """How a launcher launches; Hydra's own, which runs jobs here, knows nothing of several at once."""
    if is_hydras_own(launcher) and launcher.config is not None:
        most = check_running(launcher.config).seeds_in_batch
        if most > 1:
            from gru_bench.run.here import launch  # torch: most sweeps here need it only in their first job

            return partial(launch, launcher, most)
    return launcher.launch


def looking(launch: Launch) -> Callable[[], Looked] | None:
    """How the verdicts so far are read; None where the sweep does not have both cells."""
    assert launch.plan is not None
    cells = {job.get("cell", launch.plan.shared["cell"]) for job in launch.plan.jobs}
    if launch.look is None or launch.opened is None or not {FIRST, SECOND} <= cells:
        return None
    return partial(launch.look, launch.opened.store.uri, launch.plan.experiment, 1)
