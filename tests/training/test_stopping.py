"""When training ends before its limits."""

import pytest
import torch
from conftest import composed, yaml_names
from fakes import Clock, Line, Weight, make_trainer
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.config.check import check, construct
from gru_bench.training.fit import Fit
from gru_bench.training.stopping import Aim, Evaluation, Never, Patience, Solved, Stopping

AIM = Aim(Line())


def fit(stopping: Stopping, scores: list[float], *, max_steps: int = 100, eval_every: int = 1) -> Fit:
    trainer = make_trainer(max_steps=max_steps, eval_every=eval_every, stopping=stopping)
    return trainer.fit(Weight(), Line(scores, num_batches=None), torch.Generator().manual_seed(0), Clock())


def test_patience_counts_evaluations_in_a_row() -> None:
    found = fit(Patience(evaluations=2, steps=0), [0.5, 0.6, 0.4, 0.41, 0.42, 0.1])
    assert (found.steps, found.best_step) == (5, 3)
    assert found.stopped == "patience: 2 evaluations and 0 steps without a better score"


def test_patience_counts_steps_since_the_best_score_too() -> None:
    # evaluations every 10 steps, the best at step 20: at step 40 there were two, but 20 steps only
    scores = [0.5, 0.4, 0.41, 0.42, 0.43, 0.44, 0.1]
    found = fit(Patience(evaluations=2, steps=40), scores, eval_every=10)
    assert (found.steps, found.best_step) == (60, 20)
    assert found.stopped == "patience: 2 evaluations and 40 steps without a better score"


def test_few_steps_an_epoch_do_not_end_a_run_almost_at_once() -> None:
    # own data of 400 rows: 10 steps an epoch, and no gain in the first epochs
    scores = [0.5] * 20 + [0.1] + [0.5] * 100
    trainer = make_trainer(max_epochs=30, stopping=Patience(evaluations=2, steps=500))
    found = trainer.fit(Weight(), Line(scores, num_batches=10), torch.Generator().manual_seed(0), Clock())
    assert (found.steps, found.best_step, found.stopped) == (300, 210, "max_epochs=30")


def test_never() -> None:
    assert fit(Never(), [0.1] + [0.5] * 50, max_steps=50).stopped == "max_steps=50"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.data(), st.integers(1, 5), st.integers(0, 100))
def test_patience_never_stops_early_and_always_in_the_end(
    gaps: list[int], data: st.DataObject, evaluations: int, steps: int
) -> None:
    better = [True, *data.draw(st.lists(st.booleans(), min_size=len(gaps) - 1, max_size=len(gaps) - 1))]
    history: list[Evaluation] = []
    rule = Patience(evaluations=evaluations, steps=steps)
    for gap, is_best in zip(gaps, better, strict=True):
        history.append(Evaluation((history[-1].step if history else 0) + gap, 0.0, is_best))
        last = max(i for i, seen in enumerate(history) if seen.is_best)
        enough = len(history) - last > evaluations and history[-1].step - history[last].step >= steps
        assert (rule.reason(history, AIM) is not None) == enough


@pytest.mark.parametrize("name", yaml_names("stopping"))
@pytest.mark.usefixtures("hydra_conf")
def test_every_choice_ends_a_run_without_gain_or_lets_it_go_on(name: str) -> None:
    _, node = check(composed("task=adding", f"stopping={name}"))
    rule: Stopping = construct(node["trainer"]["stopping"])
    history = [Evaluation(100 * n, 0.0, n == 1) for n in range(1, 100)]
    assert (rule.reason(history, AIM) is None) == (name == "never")


def test_solved_ends_at_the_ceiling_and_where_nothing_useful_was_learned_in_time() -> None:
    # the guess scores 2.0, a useful model at most 1.9, the ceiling is 0.0
    found = fit(Solved(hopeless_after=None), [2.0, 1.0, 0.5, 0.0, 0.0])
    assert (found.steps, found.stopped) == (4, "solved: 0 at step 4")
    found = fit(Solved(hopeless_after=3), [2.0, 1.95, 1.95, 0.0])
    assert (found.steps, found.stopped) == (3, "hopeless: 3 steps without a useful score")
    # a useful score that was lost again still is a sign of life
    found = fit(Solved(hopeless_after=3), [1.85, 2.0, 2.0, 2.0, 0.0])
    assert (found.steps, found.stopped) == (5, "solved: 0 at step 5")
    assert fit(Solved(hopeless_after=None), [2.0] * 30, max_steps=30).stopped == "max_steps=30"
