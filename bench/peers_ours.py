"""Our own arms of ``bench/peers.py``: the article's model on one of our backends, trained as ``Trainer`` does.

Also writes what all workers of one cell start from: the sizes, the data and the initial values.
"""

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from peers_worker import ARRAYS, JOB, Job, Training, serve
from torch import Tensor, nn

from gru_bench.backends.base import Stack
from gru_bench.config.check import Node, Settings, check, conf_dir, construct
from gru_bench.measure import parity
from gru_bench.measure.kernel import kernel_name
from gru_bench.measure.threads import set_threads
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import num_parameters
from gru_bench.run import build
from gru_bench.tasks.base import Batch, Task
from gru_bench.training.trainer import Trainer

NUM_BATCHES = 8
"""Distinct batches, over and over."""


def article(cell: str, backend: str, device: str = "cpu") -> tuple[Settings, Node]:
    """The config of ``experiment=article`` with one cell on one backend, in float32."""
    overrides = ["experiment=article", f"cell={cell}", f"backend={backend}", f"device={device}", "dtype=float32"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        settings, node = check(compose("train", overrides))
    node["task"] |= {"num_train": NUM_BATCHES * node["task"]["batch_size"], "num_valid": 1, "num_test": 1}
    return settings, node


def model_and_task(settings: Settings, node: Node) -> tuple[Classifier, Task]:
    """The article's model with the initial values of seed 0, and its task."""
    task = build.make_task(node)
    builder = build.ModelBuilder(node, task.sizes(), build.make_place(settings))
    model = builder.build(build.make_cell(node), construct(node["backend"]), settings.hidden_size, settings.seed)
    return cast(Classifier, model), task


def write_job(folder: Path, cell: str, threads: int) -> tuple[dict[str, Any], int, float]:
    """Write the files that :func:`peers_worker.read_job` reads.

    Returns:
        The sizes; the model's trainable parameters; the loss of the first batch at the initial values, by the loop.
    """
    settings, node = article(cell, "loop")
    model, task = model_and_task(settings, node)
    task.load()
    batches = list(task.batches("train", torch.Generator().manual_seed(build.data_seed(settings.seed))))
    with torch.no_grad():
        loss = float(task.loss(model, batches[0], None)[0])
    arrays = {"inputs": np.stack([batch.inputs.numpy() for batch in batches])}
    arrays["targets"] = np.stack([batch.targets.numpy() for batch in batches])
    for layer, values in enumerate(cast(Stack, model.encoder.stacks[0]).cell_tensors()):
        arrays |= {f"{name}{layer}": value.numpy() for name, value in values.items()}
    for index, linear in enumerate(cast(list[nn.Linear], [*model.dense, model.output])):
        arrays |= {f"dense{index}.W": linear.weight.detach().numpy(), f"dense{index}.b": linear.bias.detach().numpy()}
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]  # the stubs take a name for allow_pickle
    sizes = {
        "seq_len": node["task"]["seq_len"],
        "batch_size": node["task"]["batch_size"],
        "input_size": node["task"]["num_features"],
        "hidden_size": settings.hidden_size,
        "num_layers": settings.num_layers,
        "dense": node["model"]["dense"],
    }
    trainer = node["trainer"]
    adam = {"learning_rate": trainer["learning_rate"], "betas": trainer["optimizer"]["betas"]}
    adam["epsilon"] = trainer["optimizer"]["eps"]
    job = {"cell": cell, "threads": threads, "sizes": sizes, "adam": adam}
    (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    return sizes, num_parameters(model), loss


class Ours:
    """The model on a backend of this project, as ``gru-bench train`` would step it."""

    more_parameters = 0

    def __init__(self, job: Job) -> None:
        set_threads(job.threads)
        settings, node = article(job.cell, job.arm)
        place = build.make_place(settings)
        backend = construct(node["backend"])
        checked = parity.check(build.make_cell(node), backend, place.device, place.dtype)
        if not checked.passed:
            worst = max(checked.output_error, checked.gradient_error)
            raise ValueError(f"parity is red: error {worst:.1e} above {checked.tolerance:.0e}; not timed")
        self.model, self.task = model_and_task(settings, node)
        self.kernel = kernel_name(self.model.encoder, backend, job.sizes["input_size"], place.device, place.dtype)
        self.versions = {"python": platform.python_version(), "torch": importlib.metadata.version("torch")}
        self.num_parameters = num_parameters(self.model)
        self.trainer: Trainer = construct(node["trainer"])
        self.optimizer = self.trainer.make_optimizer(self.model)
        self.batches = [
            Batch(torch.from_numpy(x_TBD), torch.from_numpy(y_B))
            for x_TBD, y_B in zip(job.arrays["inputs"], job.arrays["targets"], strict=True)
        ]
        self.last: Tensor | None = None
        self.model.train()

    def step(self, batch: int) -> None:
        chosen = self.batches[batch % len(self.batches)]
        self.last, _, _ = self.trainer.step(self.model, self.optimizer, self.task, chosen, None)

    def loss(self) -> float:
        assert self.last is not None
        return float(self.last)


def make(job: Job) -> Training:
    """The arm's name is the backend's."""
    return Ours(job)


if __name__ == "__main__":
    serve(make)
