"""One job before it trains: what it will be, and everything in it that can be the user's mistake."""

from dataclasses import dataclass

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gru_bench.config.check import Node, Settings, check, construct
from gru_bench.config.keys import run_keys
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers, resolve_threads, set_threads
from gru_bench.run import build
from gru_bench.run.facts import facts_before
from gru_bench.tasks.base import Task
from gru_bench.training.trainer import Trainer


@dataclass(frozen=True)
class Job:
    """What one run will be: known before its data is loaded, so that a run which then fails still says what it was."""

    settings: Settings
    node: Node
    task: Task
    place: build.Place
    facts: dict[str, object]
    keys: tuple[str, str]

    def ready(self) -> None:
        """The rest that can be the user's mistake: limits, whether the backend takes the cell, the data itself.

        Raises:
            UserError: with what would be valid.
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
        self.task.load()


def plan(config: DictConfig, choices: dict[str, str]) -> Job:
    """Check types, threads and device, and name what will run.

    Raises:
        UserError: with what would be valid.
    """
    settings, node = check(config)
    workers = num_workers(HydraConfig.get().launcher)
    threads = resolve_threads(settings.threads, workers)
    set_threads(threads)
    place = build.make_place(settings)
    # float32 is float32 on every backend: cuDNN alone would otherwise round to TF32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    task = build.make_task(node)
    facts = facts_before(settings, node, choices, task, threads, workers)
    return Job(settings, node, task, place, facts, run_keys(node, choices, task.source_id()))
