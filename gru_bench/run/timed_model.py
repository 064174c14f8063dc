"""The whole model of a task as what is timed: as a stored run trained it, on its own batches."""

import functools
import itertools
import json
from typing import Any

import torch

from gru_bench.backends.base import Backend
from gru_bench.config.check import Node, check_node, construct
from gru_bench.measure.parity import Parity
from gru_bench.models.encoder import Encoder, MakeCell
from gru_bench.run import build, preflight
from gru_bench.run.rebuild import checked
from gru_bench.tasks.base import TRAIN_DATA_SEED, Batch, Task
from gru_bench.timing.subjects import Call, Shape, Subject, Where, stacks_gflop
from gru_bench.training.trainer import Trainer

LEARNING_RATE = 1e-6
"""For the run's own: thousands of updates on one batch must not carry the weights to where numbers are subnormal."""
BATCHES = 32
"""How many training batches are looked at for a typical one."""


class TaskModel(Subject):
    """The model of a run's config, without what it learned.

    Args:
        node: The run's ``config.yaml``, its device already the one to run on.
        hidden_size: That was trained.
        batch: B of single steps; other calls take a batch of the task, see :func:`typical_batch`.

    Raises:
        UserError: The config does not fit this version, or the device is not here.
    """

    def __init__(self, node: Node, hidden_size: int, batch: int) -> None:
        settings = checked(node, None)
        check_node(node["trainer"], "trainer")
        self.place = place = build.make_place(settings)
        self.task = task = task_of(node)
        self.make_cell: MakeCell = build.make_cell(node)
        backend: Backend = construct(node["backend"])
        self.builder = build.ModelBuilder(node, task.sizes(), place)
        torch.manual_seed(build.dropout_seed(settings.seed))
        model = self.builder.build(self.make_cell, backend, hidden_size, settings.seed)
        super().__init__(model, backend, Where(place.device, place.parameters, place.autocast), batch)
        self.hidden_size = hidden_size
        self.trainer: Trainer = construct(node["trainer"], place.autocast)
        self.data = typical_batch(task)

    @property
    def shape(self) -> dict[str, Any]:
        """T, B, D and the directions of its first recurrent layers."""
        encoder = self.encoders[0]
        T, B = self.data.inputs.shape[:2]
        return {"steps": T, "batch": B, "inputs": encoder.input_size, "bidirectional": encoder.bidirectional}

    def parity(self) -> Parity:
        return preflight.check_parity(self.model, self.task, self.make_cell, self.backend, self.data, self.place)

    def training_step(self) -> Call:
        batch = self._batch()
        self.model.train()
        self.optimizer = optimizer = self.trainer.make_optimizer(self.model)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):  # as capturable optimizers have it
                group["lr"].fill_(LEARNING_RATE)
            else:
                group["lr"] = LEARNING_RATE
        carry: Any = None

        def call() -> None:
            nonlocal carry
            _, _, carry = self.trainer.step(self.model, optimizer, self.task, batch, carry)

        return call

    def forward(self) -> Call:
        batch = self._batch()
        self.model.eval()
        autocast = self.autocast()

        def call() -> None:
            with autocast:
                self.task.loss(self.model, batch, None)

        return call

    def gflop(self, *, trains: bool, single: bool) -> float | None:
        sketch = self.builder.sketch(self.make_cell, self.hidden_size)
        encoders = [module for module in sketch.modules() if isinstance(module, Encoder)]
        if single:
            return stacks_gflop(encoders[0], 1, self.batch, backward=False, input_gradient=False)
        if len(encoders) > 1:
            return None  # a source and a target have lengths of their own
        T, B = self.data.inputs.shape[:2]
        # the gradient of the input of the first layer is counted, though not all models need it
        return self.builder.flops_a_token(self.make_cell, self.hidden_size) * T * B * (3 if trains else 1) / 1e9

    def _batch(self) -> Batch:
        batch = self.data.to(*self.task.place(self.model))
        self.inputs = [part for part in vars(batch).values() if isinstance(part, torch.Tensor)]
        return batch


def task_of(node: Node) -> Task:
    """The config's task with its data, loaded once a process: both arms and the twin read the same."""
    return _task(json.dumps([node["task"], node["data"]], sort_keys=True))


@functools.cache
def _task(config: str) -> Task:
    task, data = json.loads(config)
    made = build.make_task({"task": task, "data": data})
    made.load()
    return made


def typical_batch(task: Task) -> Batch:
    """Of the first training batches that all cells and seeds share, the one whose size is the median."""
    stream = task.batches("train", torch.Generator().manual_seed(TRAIN_DATA_SEED))
    batches = sorted(itertools.islice(stream, BATCHES), key=lambda batch: batch.inputs.numel())
    return batches[len(batches) // 2]


def shape_of(node: Node, hidden_size: int, threads: int) -> Shape:
    """The sizes at which a run's model is trained.

    Raises:
        UserError: As for :class:`TaskModel`.
    """
    model = TaskModel(node, hidden_size, 1)
    return Shape(
        hidden_size=int(node["hidden_size"]), num_layers=int(node["num_layers"]), threads=threads, **model.shape
    )
