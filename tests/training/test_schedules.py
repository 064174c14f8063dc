"""Each schedule against its formula: the rate that the optimizer has at every step."""

import math
from typing import Any

import pytest
import torch
from conftest import composed, yaml_names
from fakes import Clock, Line, Weight, make_trainer
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.config.check import check, construct
from gru_bench.errors import UserError
from gru_bench.training.schedules import Constant, Cosine, Decay, Limits, Plateau, Schedule, Warmup
from gru_bench.training.trainer import Trainer


class Recording(torch.optim.SGD):
    """Writes down the rate of each step."""

    rates: list[float]

    def step(self, closure: Any = None) -> Any:
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


def rates(schedule: Schedule, *, scripted: list[float] | None = None, **options: Any) -> list[float]:
    """The rate of each step, of a full rate of 1; an epoch has two steps."""
    found: list[float] = []
    made = type("Optimizer", (Recording,), {"rates": found})
    trainer = make_trainer(learning_rate=1.0, optimizer=made, schedule=schedule, clip_norm=1e-9, **options)
    found.clear()  # the trainer tries one step
    trainer.fit(Weight(), Line(scripted, num_batches=2), torch.Generator().manual_seed(0), Clock())
    return found


def test_constant() -> None:
    assert rates(Constant(), max_steps=5) == [1.0] * 5


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, [0.5, 0.25, 0.125]), (1, [1.0, 0.5, 0.25]), (4, [1.0, 1.0, 1.0, 1.0, 0.5, 0.25])],
)
def test_decay_by_epoch(after: int, expected: list[float]) -> None:
    found = rates(Decay(factor=0.5, after=after), max_epochs=len(expected))
    assert found == [rate for rate in expected for _ in range(2)]


@given(st.floats(0.01, 0.99), st.integers(0, 5), st.floats(1e-6, 1.0))
def test_the_rate_of_an_epoch_is_the_formula_to_the_last_bit(factor: float, after: int, full: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=full)
    scheduler = Decay(factor=factor, after=after).make(optimizer, Limits(max_epochs=9), higher_is_better=True)
    for epoch in range(1, 9):
        assert optimizer.param_groups[0]["lr"] == full * factor ** max(0, epoch - after)
        optimizer.step()
        scheduler.step()


def test_warmup_counts_steps_and_knows_no_epochs() -> None:
    assert rates(Warmup(steps=4), max_steps=6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates(Warmup(steps=1), max_steps=2) == [1.0, 1.0]


def test_cosine_by_steps() -> None:
    found = rates(Cosine(steps=None, warmup_steps=0, final=0.0), max_steps=4)
    assert found == pytest.approx([1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    # given steps end before the trainer does
    assert rates(Cosine(steps=2, warmup_steps=0, final=0.1), max_steps=4) == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_cosine_by_epochs_where_only_they_are_known() -> None:
    found = rates(Cosine(steps=None, warmup_steps=0, final=0.0), max_epochs=2)
    assert found == pytest.approx([1.0, 1.0, 0.5, 0.5])


def test_cosine_after_a_warmup() -> None:
    found = rates(Cosine(steps=6, warmup_steps=2, final=0.0), max_steps=6)
    assert found == pytest.approx([1 / 3, 2 / 3, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


@given(st.integers(1, 30), st.integers(0, 40), st.floats(0, 0.9))
def test_cosine_stays_between_its_end_and_the_full_rate_and_falls_after_the_rise(
    steps: int, warmup: int, final: float
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = Cosine(steps=steps, warmup_steps=warmup, final=final)
    scheduler = schedule.make(optimizer, Limits(max_steps=99), higher_is_better=True)
    found = []
    for _ in range(steps + warmup + 3):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert all(0 < rate <= 1.0 + 1e-12 for rate in found[: steps - 1])
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
    assert found[-1] == pytest.approx(final)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_plateau_shrinks_after_so_many_evaluations_without_a_better_score(higher_is_better: bool) -> None:
    sign = 1 if higher_is_better else -1
    scores = [sign * score for score in (1.0, 0.9, 1.0, 2.0, 1.9, 2.0, 1.9, 1.9, 1.9)]
    task = Line(scores, num_batches=None)
    task.metrics = tuple(type(m)(m.name, m.unit, higher_is_better) for m in task.metrics)
    found: list[float] = []
    made = type("Optimizer", (Recording,), {"rates": found})
    schedule = Plateau(factor=0.5, evaluations=2, smallest=0.2)
    trainer = make_trainer(
        learning_rate=1.0, optimizer=made, schedule=schedule, clip_norm=1e-9, max_steps=9, eval_every=1
    )
    found.clear()
    trainer.fit(Weight(), task, torch.Generator().manual_seed(0), Clock())
    # the third and the sixth score are the second in a row that is no better, and so is the eighth
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]


def test_a_cosine_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"cosine must know when it ends: set trainer\.schedule\.steps, "):
        make_trainer(max_seconds=1.0, schedule=Cosine(steps=None, warmup_steps=0, final=0.0))
    with pytest.raises(UserError, match=r"trainer\.schedule\.warmup_steps=3: needs an end in steps too"):
        make_trainer(max_epochs=2, schedule=Cosine(steps=None, warmup_steps=3, final=0.0))


@pytest.mark.parametrize("name", yaml_names("schedule"))
@pytest.mark.usefixtures("hydra_conf")
def test_every_choice_trains(name: str) -> None:
    _, node = check(composed("task=trec", f"schedule={name}", "trainer.max_epochs=3", "trainer.learning_rate=0.1"))
    trainer: Trainer = construct(node["trainer"])
    model = Weight()
    fit = trainer.fit(model, Line(), torch.Generator().manual_seed(0), Clock())
    assert fit.steps == 30
    assert model.w.item() > 0.1
