"""Sessions that take their steps together end bitwise as each does alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from fakes import Clock
from made_tasks import loaded
from torch import nn

from gru_bench.backends.native.build import CannotBuild, library
from gru_bench.config.check import check, construct
from gru_bench.errors import Diverged
from gru_bench.run.build import ModelBuilder, Place, data_seed, make_cell
from gru_bench.tasks.base import Task
from gru_bench.training.checkpoint import Keeper, State, read, write
from gru_bench.training.fit import Event, Fit
from gru_bench.training.together import Part, fit_together, refusal


def has_native() -> bool:
    try:
        library()
    except CannotBuild:
        return False
    return True


pytestmark = [
    pytest.mark.skipif(not has_native(), reason="no native code on this machine"),
    pytest.mark.usefixtures("hydra_conf", "own_caches"),
]

LIMITS: dict[str, Any] = {"max_steps": 9, "max_epochs": None, "max_seconds": None, "eval_every": 3}


@dataclass
class Case:
    """Parts of one problem, as often as they are asked for."""

    task: Task
    node: Any
    limits: dict[str, Any] = field(default_factory=dict)
    trainers: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: dict[int, list[Any]] = field(default_factory=dict)

    def part(self, seed: int, keeper: Keeper | None = None, *, dtype: torch.dtype = torch.float32) -> Part:
        place = Place(torch.device("cpu"), dtype)
        builder = ModelBuilder(self.node, self.task.sizes(), place)
        model = builder.build(make_cell(self.node), construct(self.node["backend"]), 10, seed)
        options = self.node["trainer"] | LIMITS | self.limits | self.trainers.get(seed, {})
        heard = self.events[seed] = []

        def hook(event: Event) -> None:
            heard.append((event.kind, event.step, event.scores and event.scores.metrics, event.train_loss))

        generator = torch.Generator().manual_seed(data_seed(seed))
        trainer = construct(options, place.autocast)
        return Part(trainer, model, self.task, generator, Clock(0.3), (hook,), keeper=keeper)

    def check(self, *seeds: int, **options: Any) -> list[Part]:
        """Train seeds together and hold each against what it is alone."""
        together = [self.part(seed, **options) for seed in seeds]
        assert refusal(together) is None
        errors = fit_together(together)
        heard = dict(self.events)
        for seed, part, error in zip(seeds, together, errors, strict=True):
            alone = self.part(seed, **options)
            found: Exception | None = None
            try:
                fit(alone)
            except Diverged as problem:
                found = problem
            assert repr(error) == repr(found)
            assert_equal(part, alone)
            assert heard[seed] == self.events[seed]
            assert part.result.together == len(seeds)
        return together


def fit(part: Part) -> Fit:
    return part.trainer.fit(
        part.model,
        part.task,
        part.generator,
        part.clock,
        hooks=part.hooks,
        result=part.result,
        keeper=part.keeper,
    )


def assert_equal(one: Part, other: Part) -> None:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    for name, value in ours.items():
        assert torch.equal(value.nan_to_num(7.0), theirs[name].nan_to_num(7.0)), name
    for name in ("steps", "epochs", "best_step", "stopped", "step_tokens", "step_examples"):
        assert getattr(one.result, name) == getattr(other.result, name), name
    assert (one.result.valid and one.result.valid.metrics) == (other.result.valid and other.result.valid.metrics)
    if one.result.stopped:
        scores = [part.trainer.evaluate(part.model, part.task, "test") for part in (one, other)]
        assert scores[0].metrics == scores[1].metrics


def case(name: str, folder: Path, *overrides: str, **limits: Any) -> Case:
    task, node = loaded(name, folder, small=True)
    if overrides:
        _, changed = check(composed(f"task={name}", "backend=bptt", *overrides))
        node = node | {key: changed[key] for key in ("cell", "model", "trainer")}
    node = node | {"backend": check(composed("backend=bptt"))[1]["backend"]}
    return Case(task, node, limits)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("name", ["adding", "sentiment", "selective_copy", "sequence_tagging", "language_modeling_char"])
def test_bitwise_as_alone(name: str, cell: str, tmp_path: Path) -> None:
    case(name, tmp_path, f"cell={cell}").check(0, 1, 2)
