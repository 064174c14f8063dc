"""Small stand-ins for tests of the trainer."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gru_bench.tasks.base import Batch, Counts, Goal, Metric, Scores, Split, Task
from gru_bench.training.trainer import Trainer

DEFAULTS: dict[str, Any] = {
    "max_steps": None,
    "max_epochs": None,
    "max_seconds": None,
    "optimizer": torch.optim.SGD,
    "learning_rate": 0.1,
    "clip_norm": None,
    "eval_every": None,
    "diverged_above": 100.0,
}


def make_trainer(**options: Any) -> Trainer:
    return Trainer(**(DEFAULTS | options))


class Clock:
    """Real seconds, or a fixed number of them a step."""

    def __init__(self, fixed: float | None = None) -> None:
        self.fixed = fixed
        self.taken: list[float] = []

    def __call__(self) -> "Clock":
        return self

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.taken.append(time.perf_counter() - self.start if self.fixed is None else self.fixed)

    def seconds(self, skip: int = 0) -> list[float]:
        return self.taken[skip:]


class Line(Task):
    """y = 2 x with one weight; validation scores can be scripted."""

    metrics = (Metric("error", "", higher_is_better=False), Metric("loss", "", higher_is_better=False))
    primary = "error"

    def __init__(self, scripted: list[float] | None = None, num_batches: int | None = 10) -> None:
        super().__init__(None, batch_size=4, goal=Goal(margin=0.1, beats_trivial_by=0.1, ceiling=0.0))
        self.scripted = list(scripted or [])
        self.num_batches = num_batches
        self.scored: list[str] = []
        self.carries: list[Any] = []
        self.losses: dict[int, float] = {}
        self.seen = 0

    def source_id(self) -> str:
        return "line/1"

    def load(self) -> None: ...

    def fingerprint(self) -> str:
        return "line"

    def sizes(self) -> dict[str, int]:
        return {}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        count = 0
        while self.num_batches is None or count < self.num_batches:
            count += 1
            x = torch.rand(1, 4, generator=generator)
            yield Batch(x, 2 * x)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        self.carries.append(carry)
        self.seen += 1
        loss = (model(batch.inputs) - batch.targets).square().mean()
        if self.seen in self.losses:
            loss = loss * 0 + self.losses[self.seen]
        return loss, Counts(tokens=8, examples=4), (model(batch.inputs).sum(),)

    def score(self, model: nn.Module, split: Split) -> Scores:
        assert not model.training
        assert not torch.is_grad_enabled()
        self.scored.append(split)
        error = float((next(model.parameters()) - 2).abs())
        if split == "valid" and self.scripted:
            error = self.scripted.pop(0)
        return Scores({"error": error, "loss": error})

    def trivial(self) -> dict[str, float]:
        return {"error": 2.0}


class Weight(nn.Module):
    """x times one number."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x
