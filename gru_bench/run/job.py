"""One job before it trains: what was asked for, what it will be, and every check for a user's mistake."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench.config.check import Node, Settings, check, check_kind, check_node, construct, to_node
from gru_bench.config.keys import decisive, run_keys
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers, set_threads
from gru_bench.run import build, fits, loaded
from gru_bench.run.cores import Threads, decide_threads
from gru_bench.run.facts import facts_before, facts_of_sweep
from gru_bench.run.known import Known
from gru_bench.run.launch import Sweep, own_folders
from gru_bench.run.plan import ADHOC
from gru_bench.store.schema import GROUP_LABEL, JOB, ROUND, SOURCE_KIND, SOURCE_NAME, SOURCE_TYPE
from gru_bench.store.write import Store
from gru_bench.tasks.base import Task
from gru_bench.training.trainer import Trainer


@dataclass(frozen=True)
class Request:
    """What Hydra hands to a job.

    Attributes:
        config: Composed, not yet checked.
        choices: The choice in each config group, such as ``cell``.
        overrides: What makes this job differ from the others, as ``key=value``.
        number: Number of the job within its sweep, from 0; None for a single run.
        sweep: None for a single run.
        command: What runs it by itself.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: Sequence[str] = ()
    number: int | None = None
    sweep: Sweep | None = None
    command: str = "gru-bench train"

    @property
    def alone(self) -> bool:
        """Whether it is a single run."""
        return self.number is None

    @property
    def name(self) -> str:
        """What the run is called."""
        return f"{self.choices['cell']} {self.choices['task']} seed {self.config.seed}"

    @property
    def label(self) -> str:
        """How its lines on the terminal begin."""
        if self.number is None:
            return self.name
        of = f"/{self.sweep.num_jobs}" if self.sweep else ""
        return " ".join([f"[{self.number + 1}{of}]", self.name, *self.overrides])

    @property
    def group_label(self) -> str:
        """What sets it apart from other runs of its sweep, but the seed: the cell first, since the UI cuts names."""
        short = [text.partition("=")[0].rpartition(".")[2] + "=" + text.partition("=")[2] for text in self.overrides]
        return ", ".join([self.choices["cell"], self.choices["task"], *short])

    @property
    def experiment(self) -> str:
        """The experiment that the run belongs to."""
        return self.choices.get("experiment", ADHOC)

    @property
    def tags(self) -> dict[str, str]:
        """What is known of the run before its config is checked."""
        tags = {key: self.choices[key] for key in ("cell", "task", "backend", "budget")}
        tags["seed"] = str(self.config.seed)
        tags |= {SOURCE_NAME: self.command, SOURCE_TYPE: SOURCE_KIND, GROUP_LABEL: self.group_label}
        if self.number is not None:
            tags[JOB] = str(self.number)
        if self.sweep is not None and self.sweep.round is not None:
            tags[ROUND] = str(self.sweep.round)
        return tags

    def store(self) -> Store:
        """The store, not yet opened; the jobs of one sweep in this process share one, since opening it takes long.

        Raises:
            UserError: Not a URI that can be a store.
        """
        node = to_node(self.config.tracking)
        check_node(node, "tracking")
        check_kind(node, "tracking")
        store: Store = construct(node)
        if self.sweep is None:
            return store
        return _stores.setdefault((self.sweep.sweep_id, store.uri), store)


_stores: dict[tuple[str, str], Store] = {}
"""By sweep and place. A later sweep opens anew: the file may have been deleted in between."""


def request(config: DictConfig, sweep: Sweep | None) -> Request:
    """Read from Hydra what the job is.

    Args:
        config: The job's config.
        sweep: What the sweep's callback passed on; None for a single run, or where no sweep could be opened.
    """
    hydra = HydraConfig.get()
    choices = {key: str(value) for key, value in hydra.runtime.choices.items() if value is not None}
    # where the results go is no part of what ran
    given = [text for text in hydra.overrides.task if not text.lstrip("+~").startswith("tracking")]
    command = shlex.join(["gru-bench", "train", *own_folders(hydra), *given])
    if hydra.mode != RunMode.MULTIRUN:
        return Request(config, choices, command=command)
    varied = sweep.varied if sweep else frozenset()
    overrides = [text for text in hydra.overrides.task if text.split("=")[0] in varied]
    number = hydra.job.num
    number = sweep.numbers.get(number, number) if sweep else number
    return Request(config, choices, overrides, number, sweep, command)


@dataclass(frozen=True)
class Job:
    """What one run will be: known before its data is loaded, so that a run that then fails is still on record.

    Attributes:
        settings: The plain keys.
        node: The checked config.
        task: With its data once :meth:`load` has been called.
        place: Where it computes.
        facts: What is known of it beforehand, for its row.
        keys: ``config_key`` and ``group_key``.
        remark: On its threads, for the user of a single run.
    """

    settings: Settings
    node: Node
    task: Task
    place: build.Place
    facts: dict[str, object]
    keys: tuple[str, str]
    remark: str = ""

    def load(self) -> None:
        """Check for the user's other mistakes: limits, whether the backend takes the cell, memory, the data itself.

        Raises:
            UserError: One of these is wrong; names what would be valid.
        """
        trainer: Trainer = construct(self.node["trainer"])
        if self.task.endless and trainer.limits.max_steps is None and trainer.limits.max_seconds is None:
            raise UserError(
                f"trainer.max_epochs: {self.facts['task']} draws training data without end, so one epoch never ends: "
                "set trainer.max_steps or trainer.max_seconds"
            )
        if self.task.endless and trainer.is_paced_by_epochs:
            raise UserError(
                f"trainer.schedule: {self.facts['task']} draws training data without end, so its first epoch never "
                "ends, and this schedule counts epochs; valid: schedule=constant, warmup, plateau, or cosine in steps"
            )
        build.check_backend(build.make_cell(self.node), construct(self.node["backend"]), self.place)
        fits.check_data(self.task, self.node, self.settings, self.place)
        loaded.load(self.task, self.node)
        fits.check_model(self.task, self.node, self.settings, self.place)


def plan(asked: Request) -> Job:
    """Check types, threads and device, and name what will run.

    Raises:
        UserError: One of these is wrong; names what would be valid.
    """
    choices = dict(asked.choices)
    if asked.alone and asked.config.get("until") is not None:
        raise UserError(f"until={asked.config.until}: adds runs to a sweep; valid: with -m or experiment=NAME")
    settings, node = check(asked.config, choices["cell"])
    workers = num_workers(HydraConfig.get().launcher)
    if asked.sweep is not None and asked.sweep.threads is not None and settings.threads == "auto":
        decided = Threads(asked.sweep.threads)
    else:
        decided = decide_threads(settings.threads, workers)
    threads = decided.number
    set_threads(threads)
    place = build.make_place(settings)
    # float32 is float32 on every backend: cuDNN alone would otherwise round to TF32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    task = loaded.task_of(node)
    facts = facts_before(settings, node, choices, task, threads, workers)
    if asked.sweep is not None:
        facts |= facts_of_sweep(asked.sweep, asked.number)
    kept = decisive(node, choices, task.source_id())
    if not asked.alone:
        runtime, job = HydraConfig.get().runtime, dict(text.split("=", 1) for text in HydraConfig.get().overrides.task)
        Known(runtime.config_sources).remember(job, asked.config, node, kept)
    return Job(settings, node, task, place, facts, run_keys(node, choices, task.source_id()), decided.remark)


@dataclass(frozen=True)
class Prepared:
    """A job, or None where it could not even be planned; and what is wrong, or None."""

    job: Job | None
    problem: Exception | None

    def ready(self) -> Job:
        """The job, with its data loaded.

        Raises:
            Exception: What is wrong.
        """
        if self.problem is not None:
            raise self.problem
        assert self.job is not None
        return self.job


def prepare(asked: Request) -> Prepared:
    """Plan the job and load its data. What is wrong is kept: it may have to be written into the job's row."""
    job = None
    try:
        job = plan(asked)
        job.load()
    except OSError as error:
        if error.filename is None:
            return Prepared(job, error)
        return Prepared(job, UserError(f"{str(error.filename)[:200]}: {error.strerror}"))
    except Exception as error:
        return Prepared(job, error)
    return Prepared(job, None)
