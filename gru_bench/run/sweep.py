"""Opens the sweep's parent run before the first job, and gives each job, in whichever process, its sweep."""

import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gru_bench.config.check import check, construct, first_line, to_node
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers, resolve_threads
from gru_bench.run.build import make_place, make_task
from gru_bench.run.launch import Opened, Sweep, current_launch
from gru_bench.store.write import Store

ADHOC = "adhoc"
"""Experiment of the runs that were started without a name."""


class SweepCallback(Callback):
    """The sweep travels on this object, which Hydra pickles to each worker.

    An environment variable would not do: workers are reused, and would keep the first sweep's.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value that the sweep takes, then open the parent run with the planned matrix.

        Raises:
            SystemExit: It was refused; the launch has the error. Hydra turns a callback's exception into a warning and
                goes on, but lets an exit through.
        """
        launch = current_launch()
        try:
            launch.opened, self.sweep = open_sweep(config)
        except Exception as error:
            launch.error = error
            sys.exit(2)

    def on_job_start(self, config: DictConfig, *, task_function: Any, **_: Any) -> None:
        """In the job's process: put the sweep where the job finds it, on the object that Hydra is about to call."""
        task_function.sweep = self.sweep


def open_sweep(config: DictConfig) -> tuple[Opened, Sweep]:
    """Check what is planned and open the parent run.

    Raises:
        UserError: A value that does not fit, or a store that cannot be written.
    """
    jobs = planned_jobs(config)
    check_values(config, jobs)
    experiment = config.hydra.runtime.choices.get("experiment") or ADHOC
    choices = {key: str(config.hydra.runtime.choices[key]) for key in ("cell", "backend", "task", "budget")}
    choices["seed"] = str(config.seed)
    planned = [{"job": str(number)} | choices | job for number, job in enumerate(jobs)]
    store: Store = construct(to_node(config.tracking))
    store.open()
    overrides = " ".join(str(override) for override in config.hydra.overrides.task)
    params = {"overrides": overrides, "launcher": str(config.hydra.runtime.choices["hydra/launcher"])}
    sweep_id = store.open_sweep(experiment, planned, params)
    varied = frozenset(key for job in jobs for key in job if len({other.get(key) for other in jobs}) > 1)
    return Opened(store, sweep_id, experiment), Sweep(sweep_id, len(planned), varied - {"cell", "task", "seed"})


def planned_jobs(config: DictConfig) -> list[dict[str, str]]:
    """The overrides of each job, in the order in which the sweeper will number them.

    Raises:
        UserError: The sweep takes its experiments from a list, or its sweeper is not Hydra's basic one.
    """
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(".BasicSweeper"):
        raise UserError(f"hydra/sweeper={sweeper._target_}: only Hydra's basic sweeper can be planned ahead")
    arguments = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    arguments += list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(arguments)
    if any(o.get_key_element() == "experiment" and o.is_sweep_override() for o in overrides):
        # Hydra would silently ignore the sweeps inside both files
        raise UserError("experiment: one at a time; each names a sweep of its own")
    batches = BasicSweeper.split_arguments(list(overrides), None)
    return [dict(pair.lstrip("+").split("=", 1) for pair in job) for batch in batches for job in batch]


def check_values(config: DictConfig, jobs: list[dict[str, str]]) -> None:
    """Compose and check one job for each value that the sweep takes, before anything runs.

    Not every combination: composing takes about a tenth of a second. An error that only a combination shows becomes a
    failed row.
    """
    loader = GlobalHydra.instance().config_loader()
    seen: set[tuple[str, str]] = set()
    for job in jobs:
        if seen.issuperset(job.items()):
            continue
        seen.update(job.items())
        overrides = [f"{key}={value}" for key, value in job.items()]
        try:
            composed = loader.load_sweep_config(config, overrides)
        except ValueError as error:  # such as cell=null, which Hydra does not refuse as a config error
            raise UserError(f"{' '.join(overrides)}: {first_line(error)}") from error
        settings, node = check(composed)
        make_place(settings)
        resolve_threads(settings.threads, num_workers(config.hydra.launcher))
        try:
            make_task(node).source_id()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"task={composed.hydra.runtime.choices.task}: {first_line(error)}") from error
