"""The article's task: where its events are, what decides the label, and what all runs share."""

import math

import pytest
import torch
from torch import Tensor, nn

from gru_bench.errors import UserError
from gru_bench.tasks.base import Goal, Split
from gru_bench.tasks.generated.event_order import LAST_STEPS, EventOrder, event_patterns

LIMITS = {"batch_size": 16, "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99)}


def make(strength: float = 30.0, num_train: int = 50, num_test: int = 400, **options: int) -> EventOrder:
    shape = {"seq_len": 40, "num_features": 8, "min_distance": 3, "max_distance": 30} | options
    task = EventOrder(None, strength=strength, num_train=num_train, num_valid=20, num_test=num_test, **shape, **LIMITS)
    task.load()
    return task


def find_events(x_TBD: Tensor) -> tuple[Tensor, Tensor]:
    """Steps (2, B) and kinds (2, B) of the two strongest events, in order of time."""
    patterns_KD = event_patterns(x_TBD.shape[2])
    found_TBK = x_TBD @ patterns_KD.T
    strongest_TB, kinds_TB = found_TBK.max(dim=2)
    steps_2B = strongest_TB.topk(2, dim=0).indices.sort(dim=0).values
    return steps_2B, kinds_TB.gather(0, steps_2B)


class Reader(nn.Module):
    """Finds the events and applies the rule; or always gives the same answer."""

    def __init__(self, constant: int | None = None) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.constant = constant

    def forward(self, x_TBD: Tensor, lengths: None) -> Tensor:
        _, kinds_2B = find_events(x_TBD)
        rising_B = (kinds_2B[0] < kinds_2B[1]).float()
        if self.constant is not None:
            rising_B = torch.full_like(rising_B, float(self.constant))
        return (60 * rising_B - 30)[:, None]


def test_events_stand_where_they_should_and_their_order_is_the_label() -> None:
    task = make()
    steps_2N, kinds_2N = find_events(task._inputs["test"])
    assert torch.equal(steps_2N[1] - steps_2N[0], task._distances["test"])
    assert (steps_2N[1] >= 40 - LAST_STEPS).all()
    assert task._distances["test"].min() >= 3
    assert task._distances["test"].max() <= 30
    assert torch.equal((kinds_2N[0] < kinds_2N[1]).long(), task._labels["test"])
    assert ((kinds_2N[0] - kinds_2N[1]).abs() == 1).all()


def test_all_distances_occur_and_short_ones_more_often() -> None:
    counts = make(num_test=20_000)._distances["test"].bincount(minlength=31)
    assert (counts[3:] > 0).all()
    # log-uniform: as many in 3..6 as the logarithms say
    assert float(counts[3:7].sum() / counts.sum()) == pytest.approx(math.log(7 / 3) / math.log(31 / 3), abs=0.02)


def test_one_event_alone_does_not_decide() -> None:
    task = make(num_test=20_000)
    _, kinds_2N = find_events(task._inputs["test"])
    labels_N = task._labels["test"].double()
    for kinds_N, first in ((kinds_2N[0], True), (kinds_2N[1], False)):
        shares = [float(labels_N[kinds_N == kind].mean()) for kind in range(3)]
        assert shares == pytest.approx([1.0, 0.5, 0.0] if first else [0.0, 0.5, 1.0], abs=0.02)
        best = sum(max(s, 1 - s) * float((kinds_N == k).double().mean()) for k, s in enumerate(shares))
        assert best == pytest.approx(0.75, abs=0.02)


def test_the_same_events_stand_under_both_labels() -> None:
    task = make(num_test=4000)
    _, kinds_2N = find_events(task._inputs["test"])
    bags_N = kinds_2N.sum(dim=0)
    for bag in (1, 3):
        assert float(task._labels["test"][bags_N == bag].double().mean()) == pytest.approx(0.5, abs=0.05)


def test_noise_is_standard_normal() -> None:
    quiet = make(strength=1e-6)._inputs["test"]
    assert float(quiet.mean()) == pytest.approx(0, abs=0.02)
    assert float(quiet.std()) == pytest.approx(1, abs=0.02)
    assert torch.allclose(event_patterns(8).norm(dim=1), torch.ones(3))


def test_scores_of_a_perfect_and_a_constant_model() -> None:
    task = make()
    scores = task.score(Reader(), "test")
    assert scores.metrics == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "macro_f1": 1.0,
        "loss": pytest.approx(0, abs=1e-9),
    }
    assert [(s.slice, s.slice_value) for s in scores.slices] == [
        ("distance", "3-5"),
        ("distance", "6-11"),
        ("distance", "12-23"),
        ("distance", "24-30"),
    ]
    assert {len(column) for column in scores.examples.values()} == {400}
    counts = task.labels("test").bincount(minlength=2)
    constant = task.score(Reader(int(counts.argmax())), "test")
    assert constant.metrics["accuracy"] == task.trivial()["accuracy"]
    assert constant.metrics["accuracy"] == pytest.approx(sum(constant.examples["correct"]) / 400)
    assert task.trivial()["loss"] == pytest.approx(math.log(2), abs=0.05)


def test_loss_is_the_binary_cross_entropy_of_a_sigmoid() -> None:
    class Half(nn.Module):
        def forward(self, x_TBD: Tensor, lengths: None) -> Tensor:
            return torch.full((x_TBD.shape[1], 1), 0.7)

    batch = next(make().batches("valid"))
    loss, counts, carry = make().loss(Half(), batch, None)
    p = torch.sigmoid(torch.tensor(0.7))
    y = batch.targets
    torch.testing.assert_close(loss, -(y * p.log() + (1 - y) * (1 - p).log()).mean())
    assert (counts.tokens, counts.examples) == (40 * 16, 16)
    assert carry is None


def test_training_order_depends_on_the_seed_and_holds_every_row_once() -> None:
    task = make()

    def epoch(seed: int) -> Tensor:
        return torch.cat([b.inputs for b in task.batches("train", torch.Generator().manual_seed(seed))], dim=1)

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))
    assert torch.equal(epoch(1)[0, :, 0].sort().values, task._inputs["train"][0, :, 0].sort().values)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_targets_belong_to_their_inputs(split: Split) -> None:
    for batch in make().batches(split, torch.Generator().manual_seed(1)):
        _, kinds_2B = find_events(batch.inputs)
        assert torch.equal((kinds_2B[0] < kinds_2B[1]).float(), batch.targets)


def test_splits_and_data_are_fixed() -> None:
    one, other = make(), make()
    assert one.fingerprint() == other.fingerprint()
    assert make(num_train=51).fingerprint() != one.fingerprint()
    assert torch.equal(make(num_train=51)._inputs["test"], one._inputs["test"])
    assert make(num_train=51).source_id() != one.source_id()
    same_size = make(num_train=20, num_test=20)._inputs
    assert not torch.equal(same_size["valid"], same_size["test"])
    assert not torch.equal(same_size["valid"], same_size["train"])
    assert one.sizes() == {"input_size": 8, "num_outputs": 1}


@pytest.mark.parametrize(("low", "high"), [(10, 5), (3, 36)])
def test_distances_must_fit(low: int, high: int) -> None:
    with pytest.raises(UserError, match=f"max_distance={high}"):
        make(min_distance=low, max_distance=high)
