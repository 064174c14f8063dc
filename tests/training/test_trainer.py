"""The training loop on a model whose every number can be worked out by hand."""

import math
from typing import Any

import pytest
import torch
from fakes import Clock, Line, Weight, make_trainer
from torch import nn

from gru_bench.errors import Diverged, UserError
from gru_bench.tasks.base import Scores, Split
from gru_bench.training.fit import WARM_UP_STEPS, Event, Fit, Progress
from gru_bench.training.trainer import detach, evaluate


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_some_limit_is_needed() -> None:
    with pytest.raises(UserError, match="max_steps, max_epochs and max_seconds"):
        make_trainer()


@pytest.mark.parametrize(
    ("limits", "steps", "stopped"),
    [
        ({"max_steps": 7}, 7, "max_steps=7"),
        ({"max_epochs": 2}, 20, "max_epochs=2"),
        ({"max_steps": 13, "max_epochs": 5}, 13, "max_steps=13"),
        ({"max_steps": 500, "max_seconds": 0.45, "eval_every": 1}, 5, "max_seconds=0.45"),
    ],
)
def test_limits(limits: dict[str, Any], steps: int, stopped: str) -> None:
    fit = make_trainer(**limits).fit(Weight(), Line(), seeded(), Clock(fixed=0.1))
    assert (fit.steps, fit.stopped) == (steps, stopped)


def test_one_sgd_step_by_hand() -> None:
    model, task = Weight(), Line()
    x = torch.rand(1, 4, generator=seeded())
    make_trainer(max_steps=1).fit(model, task, seeded(), Clock())
    # d/dw mean((w x - 2 x)^2) at w = 0 is -4 mean(x^2)
    assert model.w.item() == pytest.approx(0.1 * 4 * x.square().mean().item(), rel=1e-6)


def test_gradient_clipping_bounds_the_step() -> None:
    model = Weight()
    make_trainer(max_steps=1, clip_norm=0.01).fit(model, Line(), seeded(), Clock())
    assert model.w.item() == pytest.approx(0.1 * 0.01, rel=1e-4)


def test_the_weights_of_the_best_validation_step_are_kept() -> None:
    model, task = Weight(), Line(scripted=[0.5, 0.2, 0.9, 0.8])
    weights: list[float] = []
    fit = make_trainer(max_steps=4, eval_every=1).fit(
        model,
        task,
        seeded(),
        Clock(),
        hooks=(lambda e: weights.append(e.model.w.item()) if e.kind == "evaluation" else None,),
    )
    assert fit.best_step == 2
    assert fit.valid is not None
    assert fit.valid.metrics["error"] == 0.2
    assert model.w.item() == weights[1]
    assert weights[1] != weights[3]


def test_of_equally_good_steps_the_one_with_the_lowest_loss_is_kept() -> None:
    class Tied(Line):
        def score(self, model: nn.Module, split: Split) -> Scores:
            return Scores({"error": 0.5, "loss": losses.pop(0)})

    losses = [0.4, 0.3, 0.6, 0.3]
    fit = make_trainer(max_steps=4, eval_every=1).fit(Weight(), Tied(), seeded(), Clock())
    assert fit.best_step == 2
    assert fit.valid is not None
    assert fit.valid.metrics["loss"] == 0.3


def test_higher_is_better_is_respected() -> None:
    task = Line(scripted=[0.5, 0.9, 0.2])
    task.metrics = tuple(type(m)(m.name, m.unit, True) for m in task.metrics)
    assert make_trainer(max_steps=3, eval_every=1).fit(Weight(), task, seeded(), Clock()).best_step == 2


def test_training_never_reads_the_test_split_and_evaluates_the_last_step() -> None:
    task = Line()
    make_trainer(max_steps=25, eval_every=10).fit(Weight(), task, seeded(), Clock())
    assert task.scored == ["valid"] * 3
    evaluate(Weight(), task, "test")
    assert task.scored[-1] == "test"


def test_evaluation_once_an_epoch() -> None:
    task = Line()
    make_trainer(max_epochs=3).fit(Weight(), task, seeded(), Clock())
    assert task.scored == ["valid"] * 3


def test_carry_is_detached_and_starts_as_none_each_epoch() -> None:
    task = Line(num_batches=3)
    make_trainer(max_epochs=2).fit(Weight(), task, seeded(), Clock())
    assert [carry is None for carry in task.carries] == [True, False, False, True, False, False]
    assert all(not carry[0].requires_grad for carry in task.carries if carry is not None)


def test_detach_keeps_the_nesting() -> None:
    tensor = torch.ones(2, requires_grad=True) * 2
    nested = detach((tensor, [tensor, None], 3))
    assert type(nested) is tuple
    assert type(nested[1]) is list
    assert not nested[0].requires_grad
    assert nested[1][1] is None
    assert nested[2] == 3


@pytest.mark.parametrize("lost", [math.nan, math.inf, 1e6])
@pytest.mark.parametrize("step", [3, 31])
def test_a_lost_loss_ends_the_run_with_its_step_and_keeps_the_last_scores(lost: float, step: int) -> None:
    task = Line(num_batches=None)
    task.losses[step] = lost
    fit = Fit()
    with pytest.raises(Diverged, match=f"at step {step} "):
        make_trainer(max_steps=100, eval_every=2).fit(Weight(), task, seeded(), Clock(), result=fit)
    assert fit.valid is not None
    assert fit.best_step in range(1, step)
    assert fit.step_seconds


def test_throughput_is_total_amount_over_total_seconds() -> None:
    # 100 steps of 0.1 s with 4 examples and 8 tokens each are 40 examples and 80 tokens a second
    fit = make_trainer(max_steps=100).fit(Weight(), Line(), seeded(), Clock(fixed=0.1))
    assert fit.per_second(fit.step_examples) == pytest.approx(40)
    assert fit.per_second(fit.step_tokens) == pytest.approx(80)
    fit.step_seconds[:WARM_UP_STEPS] = [1000.0] * WARM_UP_STEPS
    assert fit.per_second(fit.step_tokens) == pytest.approx(80)


def test_hooks_see_start_middle_end_and_evaluations_with_live_weights() -> None:
    events: list[tuple[str, int]] = []

    weights: dict[str, float] = {}

    def hook(event: Event) -> None:
        events.append((event.kind, event.step))
        weights[event.kind] = next(event.model.parameters()).item()

    model, task = Weight(), Line(scripted=[0.1, 0.9])
    make_trainer(max_steps=4, eval_every=2).fit(model, task, seeded(), Clock(), hooks=(hook,))
    # at the end the hook still sees the last step's weights; afterwards the model has the best step's
    assert weights["end"] > model.w.item() > weights["start"]
    assert events == [("start", 0), ("middle", 2), ("evaluation", 2), ("evaluation", 4), ("end", 4)]


def test_middle_of_epochs() -> None:
    events: list[tuple[str, int]] = []
    make_trainer(max_epochs=4).fit(
        Weight(), Line(), seeded(), Clock(), hooks=(lambda e: events.append((e.kind, e.step)),)
    )
    assert ("middle", 21) in events


def test_middle_of_seconds() -> None:
    events: list[str] = []
    make_trainer(max_seconds=10.0).fit(
        Weight(), Line(num_batches=None), seeded(), Clock(fixed=0.1), hooks=(lambda e: events.append(e.kind),)
    )
    assert events == ["start", "middle", "evaluation", "end"]


def test_an_interrupted_run_keeps_its_times_and_its_throughput() -> None:
    class Interrupted(Line):
        def loss(self, model: torch.nn.Module, batch: Any, carry: Any) -> Any:
            if self.seen == 39:
                raise KeyboardInterrupt
            return super().loss(model, batch, carry)

    fit = Fit()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(max_steps=100).fit(Weight(), Interrupted(None), seeded(), Clock(fixed=0.1), result=fit)
    assert len(fit.step_seconds) == 39
    assert fit.per_second(fit.step_tokens) == pytest.approx(80)


def test_progress_is_reported() -> None:
    seen: list[Progress] = []
    make_trainer(max_steps=50, eval_every=20).fit(Weight(), Line(), seeded(), Clock(fixed=0.5), progress=seen.append)
    assert seen[-1].step == 50
    assert seen[-1].tokens_per_s == pytest.approx(16)


def test_an_empty_training_split_is_refused() -> None:
    with pytest.raises(UserError, match="gives no batch"):
        make_trainer(max_epochs=1).fit(Weight(), Line(num_batches=0), seeded(), Clock())
