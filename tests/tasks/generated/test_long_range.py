"""The adding problem and copy memory: known examples, the trivial guess, and what all seeds share."""

import pytest
import torch
from torch import nn

from gru_bench.tasks.base import Goal, Task
from gru_bench.tasks.generated import adding, copy_memory
from gru_bench.tasks.generated.adding import Adding
from gru_bench.tasks.generated.copy_memory import CUE, CopyMemory

LIMITS = {"batch_size": 16, "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.001)}


def make_adding(lengths: list[int] | None = None, num_eval: int = 40) -> Adding:
    task = Adding(None, lengths=lengths or [4, 9], beyond=[12], num_eval=num_eval, **LIMITS)
    task.load()
    return task


def make_copy(lengths: list[int] | None = None, num_eval: int = 40) -> CopyMemory:
    task = CopyMemory(None, lengths=lengths or [3, 8], beyond=[11], num_symbols=4, num_eval=num_eval, **LIMITS)
    task.load()
    return task


@pytest.mark.parametrize("seq_len", [2, 3, 50])
def test_adding_marks_two_distinct_steps_and_sums_them(seq_len: int) -> None:
    batch = adding.make_batch(seq_len, 200, torch.Generator().manual_seed(0))
    values_TB, markers_TB = batch.inputs.unbind(dim=2)
    assert torch.equal(markers_TB.sum(dim=0), torch.full((200,), 2.0))
    assert set(markers_TB.unique().tolist()) <= {0.0, 1.0}
    picked = [values_TB[markers_TB[:, b] == 1, b].sum() for b in range(200)]
    torch.testing.assert_close(batch.targets, torch.stack(picked))


def test_adding_markers_stand_anywhere() -> None:
    batch = adding.make_batch(6, 5000, torch.Generator().manual_seed(0))
    share_T = batch.inputs[:, :, 1].mean(dim=1)
    torch.testing.assert_close(share_T, torch.full((6,), 2 / 6), atol=0.03, rtol=0)


def test_adding_trivial_guess_is_one_sixth() -> None:
    task = make_adding([5, 20], num_eval=20_000)
    assert task.trivial()["mse"] == pytest.approx(1 / 6, abs=0.004)


def test_adding_scores_a_perfect_and_a_constant_model() -> None:
    class Perfect(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, x_TBD: torch.Tensor) -> torch.Tensor:
            return (x_TBD[:, :, 0] * x_TBD[:, :, 1]).sum(dim=0)[:, None]

    class One(Perfect):
        def forward(self, x_TBD: torch.Tensor) -> torch.Tensor:
            return torch.ones(x_TBD.shape[1], 1)

    task = make_adding()
    assert task.score(Perfect(), "test").metrics["mse"] < 1e-10
    scores = task.score(One(), "test")
    # the mean of the targets, about 1, is a little better than 1 itself
    assert task.trivial()["mse"] < scores.metrics["mse"] < task.trivial()["mse"] + 0.02
    squared = (task.numbers("test")[40:80].double() - task.numbers("test")[40:80].double().mean()).square()
    assert task.trivial()["mse"] == pytest.approx(float(squared.mean()))
    assert [(s.slice, s.slice_value) for s in scores.slices] == [("length", "4"), ("length", "9"), ("length", "12")]
    assert scores.slices[1].value == scores.metrics["mse"]
    assert scores.examples["length"] == [4] * 40 + [9] * 40 + [12] * 40
    longest = scores.examples["squared_error"][40:80]
    assert sum(longest) / len(longest) == pytest.approx(scores.metrics["mse"])


def test_copy_memory_has_the_published_form() -> None:
    batch = copy_memory.make_batch(5, 3, 2, torch.Generator().manual_seed(1))
    assert batch.inputs.shape == batch.targets.shape == (5 + 2 * 3, 2)
    symbols = batch.inputs[:3]
    assert symbols.min() >= 1
    assert symbols.max() <= 8
    assert batch.inputs[3:7].eq(0).all()
    assert batch.inputs[7:].eq(CUE).all()
    assert batch.targets[:-3].eq(0).all()
    assert torch.equal(batch.targets[-3:], symbols)


def test_copy_memory_trivial_guess() -> None:
    task = make_copy([3, 20], num_eval=4000)
    trivial = task.trivial()
    assert trivial["recall"] == pytest.approx(1 / 8, abs=0.01)
    # published for M = 10: 10 ln 8 / (T + 20)
    published = CopyMemory(None, lengths=[100], beyond=[], num_symbols=10, num_eval=2, **LIMITS)
    published.load()
    assert published.trivial()["loss"] == pytest.approx(0.1733, abs=5e-5)


def test_copy_memory_scores_a_perfect_model() -> None:
    class Perfect(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, tokens_TB: torch.Tensor, lengths: None) -> torch.Tensor:
            predicted_TB = torch.zeros_like(tokens_TB)
            predicted_TB[-4:] = tokens_TB[:4]
            return nn.functional.one_hot(predicted_TB, 9).float() * 50

    scores = make_copy().score(Perfect(), "test")
    assert scores.metrics["recall"] == 1.0
    assert scores.metrics["loss"] < 1e-6


@pytest.mark.parametrize("make", [make_adding, make_copy])
def test_training_depends_on_the_seed_and_evaluation_does_not(make) -> None:
    def first(task: Task, seed: int) -> torch.Tensor:
        return next(iter(task.batches("train", torch.Generator().manual_seed(seed)))).inputs

    assert torch.equal(first(make(), 3), first(make(), 3))
    one, other = first(make(), 3), first(make(), 4)
    assert one.shape != other.shape or not torch.equal(one, other)
    assert make().fingerprint() == make().fingerprint()
    valid = torch.cat([b.inputs.flatten() for b in make().batches("valid")])
    test = torch.cat([b.inputs.flatten() for b in make().batches("test")])
    assert not torch.equal(valid, test)


@pytest.mark.parametrize("make", [make_adding, make_copy])
def test_evaluation_batches_cover_every_example_once(make) -> None:
    task = make()
    assert sum(batch.inputs.shape[1] for batch in task.batches("test")) == 3 * 40
    assert sum(batch.inputs.shape[1] for batch in task.batches("valid")) == 2 * 40
