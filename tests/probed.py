"""Small subjects for tests of probes: a task with its data, a model around any cell, and its twin."""

from functools import cache
from typing import ClassVar

import torch
from conftest import composed
from torch import Tensor, nn

from gru_bench.backends.base import Backend
from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell, State
from gru_bench.config.check import check
from gru_bench.models.encoder import MakeCell
from gru_bench.probes.base import Findings, Subject
from gru_bench.run.build import ModelBuilder, make_place, make_task
from gru_bench.run.probing import make_subject
from gru_bench.tasks.base import Task

H = 5
ADDING = ("task=adding", "task.lengths=[6,30]", "task.beyond=[]", "task.num_eval=8", "task.batch_size=8")
TRANSLATION = ("task=number_translation", "task.num_train=40", "task.num_valid=20", "task.num_test=20")


@cache
def loaded(*overrides: str) -> tuple[ModelBuilder, Task]:
    settings, node = check(composed(*overrides))
    task = make_task(node)
    task.load()
    return ModelBuilder(node, task.sizes(), make_place(settings)), task


def subject_of(
    cell: MakeCell, *overrides: str, backend: Backend | None = None, hidden_size: int = H, seed: int = 0
) -> Subject:
    """A model of the composed config around the cell, in evaluation mode."""
    builder, task = loaded(*(overrides or ADDING))
    model = builder.build(cell, backend or Loop(), hidden_size, seed).eval()
    return make_subject(model, task, builder, cell, hidden_size, seed)


def values_of(found: Findings, metric: str, slice: str = "") -> dict[str, float]:
    """A metric's numbers by slice value."""
    return {one.slice_value: one.value for one in found.values if (one.metric, one.slice) == (metric, slice)}


def value_of(found: Findings, metric: str) -> float:
    return values_of(found, metric)[""]


class Leak(Cell):
    """h becomes a * h + x, with one input product a unit: gradients of h are powers of a."""

    family: ClassVar[str] = "rnn"
    gates: ClassVar[tuple[str, ...]] = ("x",)
    keeps: ClassVar[str] = "a"
    saves: ClassVar[tuple[str, ...]] = ("a",)
    decays: ClassVar[tuple[float, ...]] = (0.5,)

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, tuple[Tensor, ...]]:
        a_BH = torch.tensor(self.decays, dtype=gx_BG.dtype).expand_as(gx_BG)
        return (a_BH * state[0] + gx_BG,), (a_BH,)


class Counter(Leak):
    decays: ClassVar[tuple[float, ...]] = (1.0,)


class Memory(Leak):
    """The same in two states: the output is a copy of c, which h hands on to nobody."""

    states: ClassVar[tuple[str, ...]] = ("h", "c")

    def save(self, gx_BG: Tensor, state: State) -> tuple[State, tuple[Tensor, ...]]:
        (c_BH,), saved = super().save(gx_BG, (state[1],))
        return (c_BH, c_BH), saved


class NoCell(nn.Module):
    """A model without recurrent layers."""
