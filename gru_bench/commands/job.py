"""One job before it trains: everything in it that can be the user's mistake."""

from dataclasses import dataclass

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gru_bench import build
from gru_bench.commands.record import facts_before
from gru_bench.config import Node, Settings, check, construct, run_keys
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers, resolve_threads, set_threads
from gru_bench.tasks.base import Task


@dataclass(frozen=True)
class Job:
    """A checked config with its data loaded: nothing that is left can be the user's mistake."""

    settings: Settings
    node: Node
    task: Task
    place: build.Place
    facts: dict[str, object]
    keys: tuple[str, str]


def prepare(config: DictConfig, choices: dict[str, str]) -> Job:
    """Everything that shows bad input: types, threads, device, limits, whether the backend takes the cell, the data."""
    settings, node = check(config)
    workers = num_workers(HydraConfig.get().launcher)
    threads = resolve_threads(settings.threads, workers)
    set_threads(threads)
    place = build.make_place(settings)
    # float32 is float32 on every backend: cuDNN alone would otherwise round to TF32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    construct(node["trainer"])
    build.check_backend(build.make_cell(node), construct(node["backend"]), place)
    task = build.make_task(node)
    if task.endless and node["trainer"]["max_steps"] is None and node["trainer"]["max_seconds"] is None:
        raise UserError(
            f"trainer.max_epochs: {choices['task']} draws training data without end, so one epoch never ends: "
            "set trainer.max_steps or trainer.max_seconds"
        )
    keys = run_keys(node, choices, task.source_id())
    task.load()
    return Job(settings, node, task, place, facts_before(settings, node, choices, task, threads, workers), keys)
