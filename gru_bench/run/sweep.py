"""Opens the sweep's parent run before the first job, and gives each job, in whichever process, its sweep."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from gru_bench.config.check import check_until, construct, to_node
from gru_bench.config.shape import check_shape
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers
from gru_bench.run.cores import decide_threads
from gru_bench.run.launch import Launch, Opened, Sweep, current_launch
from gru_bench.run.plan import OWN_SWEEPER, as_overrides, make_plan, varied
from gru_bench.run.searching import Searching
from gru_bench.run.until import Deciding
from gru_bench.store.write import Store


class SweepCallback(Callback):
    """The sweep travels on this object, which Hydra pickles to each worker.

    An environment variable would not do: workers are reused, and would keep the first sweep's.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.threads: int | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value that the sweep takes, then open the parent run with the planned matrix.

        Raises:
            SystemExit: It was refused; the launch has the error. Hydra turns a callback's exception into a warning and
                goes on, but lets an exit through.
        """
        launch = current_launch()
        launch.hand_over = self.take
        try:
            self.threads = threads_of(config)
            plan_sweep(config, launch)
        except Exception as error:
            launch.error = error
            sys.exit(2)

    def take(self, sweep: Sweep) -> None:
        """Keep the sweep for the jobs that are launched next."""
        self.sweep = replace(sweep, threads=self.threads)

    def on_job_start(self, config: DictConfig, *, task_function: Any, **_: Any) -> None:
        """In the job's process: put the sweep where the job finds it, on the object that Hydra is about to call."""
        task_function.sweep = self.sweep


def threads_of(config: DictConfig) -> int | None:
    """Threads of each run of the sweep, decided once and said if other work has a part in it; None if not auto.

    Raises:
        UserError: A config without its nodes, or workers that are no number.
    """
    check_shape(config, "train")
    if config.get("threads") != "auto":
        return None
    decided = decide_threads("auto", num_workers(config.hydra.launcher))
    if decided.remark:
        print(decided.remark, file=sys.stderr, flush=True)
    return decided.number


def plan_sweep(config: DictConfig, launch: Launch) -> None:
    """Check what is planned, and open the parent run; that of a sweep that adds jobs waits for its first round.

    Raises:
        UserError: A value that does not fit, or a store that cannot be written.
    """
    until = check_until(config)
    if until.until is not None and not config.hydra.sweeper._target_.endswith(OWN_SWEEPER):
        raise UserError(f"until={until.until}: not with hydra/sweeper={config.hydra.sweeper._target_}; valid: rounds")
    plan = launch.plan = make_plan(config, adds_seeds=until.until == "decided")
    store: Store = construct(to_node(config.tracking))
    overrides = " ".join(str(override) for override in config.hydra.overrides.task)
    params = {"overrides": overrides, "launcher": str(config.hydra.runtime.choices["hydra/launcher"])}
    if until.until is not None:
        kind = Deciding if until.until == "decided" else partial(Searching, config)
        launch.growing = kind(launch, plan, until, store, params, num_workers(config.hydra.launcher))
        store.open()
        return
    store.open()
    planned = plan.numbered(plan.jobs)
    launch.opened = Opened(store, store.open_sweep(plan.experiment, planned, params), plan.experiment)
    launch.hand_over(Sweep(launch.opened.sweep_id, len(planned), varied(plan.jobs)))


def launch_jobs(launcher: Launcher) -> Sequence[Any]:
    """Launch what the callback has planned, in this process; returns what Hydra's launcher returned.

    Raises:
        Exception: What a job raised.
    """
    launch = current_launch()
    if launch.growing is not None:
        return launch.growing.run(launcher.launch)
    assert launch.plan is not None
    returned = launcher.launch([as_overrides(job) for job in launch.plan.jobs], initial_job_idx=0)
    for job in returned:
        _ = job.return_value  # raises what the job raised
    return [returned]
