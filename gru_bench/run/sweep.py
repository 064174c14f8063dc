"""Opens the sweep's parent run before the first job, and tells each job, in whichever process, which parent it has."""

import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import TaskFunction
from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.config.check import check, construct, first_line, to_node
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers, resolve_threads
from gru_bench.run.build import make_place, make_task
from gru_bench.store.write import Store

ADHOC = "adhoc"
"""Experiment of the runs that were started without a name."""


class Sweep:
    """What the process that launched a sweep remembers of it until it closes it."""

    def __init__(self, store: Store, sweep_id: str, experiment: str) -> None:
        self.store, self.sweep_id, self.experiment = store, sweep_id, experiment


launched: Sweep | None = None
"""The sweep that this process opened; the command closes it."""

parent: tuple[str, int, set[str]] | None = None
"""In a job's process, as the unpickled callback brought them: the sweep's id, its number of jobs, and the keys that
vary besides cell, task and seed."""


class SweepCallback(Callback):
    """The sweep's id travels on this object, which Hydra pickles to each worker.

    An environment variable would not do: workers are reused, and would keep the first sweep's.
    """

    def __init__(self) -> None:
        self.sweep: tuple[str, int, set[str]] | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check every value that the sweep takes, then open the parent run with the planned matrix."""
        try:
            self._open(config)
        except (UserError, HydraException) as error:
            # Hydra turns a callback's exception into a warning and goes on; an exit it lets through
            print(messages.line("train", error), file=sys.stderr)
            sys.exit(2)
        except Exception as error:
            print(f"gru-bench train: the sweep could not be opened: {error!r}", file=sys.stderr)
            sys.exit(1)

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **_: Any) -> None:
        """Runs in the job's process."""
        global parent
        parent = self.sweep

    def _open(self, config: DictConfig) -> None:
        global launched
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
        launched = Sweep(store, sweep_id, experiment)
        varied = {key for job in jobs for key in job if len({other.get(key) for other in jobs}) > 1}
        self.sweep = (sweep_id, len(planned), varied - {"cell", "task", "seed"})


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

    Not every combination: composing takes about a tenth of a second. What only a combination shows becomes a failed
    row of its own.
    """
    loader = GlobalHydra.instance().config_loader()
    seen: set[tuple[str, str]] = set()
    for job in jobs:
        if seen.issuperset(job.items()):
            continue
        seen.update(job.items())
        composed = loader.load_sweep_config(config, [f"{key}={value}" for key, value in job.items()])
        settings, node = check(composed)
        make_place(settings)
        resolve_threads(settings.threads, num_workers(config.hydra.launcher))
        try:
            make_task(node).source_id()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"task={composed.hydra.runtime.choices.task}: {first_line(error)}") from error
