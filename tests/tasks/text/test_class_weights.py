"""Weights of classes: what they make of the loss of training, and that scores know nothing of them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import composed
from torch import Tensor, nn

from gru_bench.config.check import check
from gru_bench.data.rows import Rows
from gru_bench.errors import UserError
from gru_bench.tasks.base import Batch, Goal
from gru_bench.tasks.objectives.class_weights import weights_like, weights_of
from gru_bench.tasks.text.sequence_tagging import SequenceTagging
from gru_bench.tasks.text.text_classification import TextClassification

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")

COMMON: dict[str, Any] = {
    "batch_size": 4,
    "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99),
    "lowercase": True,
    "max_length": None,
    "max_vocab_size": None,
    "min_count": 1,
}
NAMES = ["ham", "spam", "very rare!"]


def texts(**options: Any) -> TextClassification:
    """Six of ham, three of spam and one that is very rare, in each split."""
    made = [{"text": f"word{i} a", "label": NAMES[(i > 5) + (i > 8)]} for i in range(10)]
    splits = dict.fromkeys(("train", "valid", "test"), made)
    task = TextClassification(Rows(splits, text="text", label="label"), tokenizer="words", **(COMMON | options))
    task.load()
    return task


def tagged(**options: Any) -> SequenceTagging:
    """Four words of N and one of V in each row."""
    row = {"tokens": ["a", "b", "c", "d", "e"], "tags": ["N", "N", "N", "N", "V"]}
    splits = {split: [row, row | {"tokens": [split, "b", "c", "d", "e"]}] for split in ("train", "valid", "test")}
    task = SequenceTagging(Rows(splits, tokens="tokens", tags="tags"), score="accuracy", **(COMMON | options))
    task.load()
    return task


class Fixed(nn.Module):
    """The same logits for every sequence, or every step."""

    def __init__(self, logits: list[float], *, each_step: bool) -> None:
        super().__init__()
        self.logits_C = nn.Parameter(torch.tensor(logits))
        self.each_step = each_step

    def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
        return self.logits_C.expand(*(tokens_TB.shape if self.each_step else tokens_TB.shape[1:]), -1)


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    counts = torch.tensor([60, 30, 10])
    weights = weights_of("balanced", NAMES, counts)
    assert weights is not None
    assert (weights * counts).tolist() == pytest.approx([100 / 3] * 3)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1)
    one_missing = weights_of("balanced", NAMES, torch.tensor([6, 2, 0]))
    assert one_missing is not None
    assert one_missing.tolist() == pytest.approx([4 / 6, 2, 1])


def test_weights_by_name_leave_the_others_at_one() -> None:
    weights = weights_of({"very rare!": 5}, NAMES, torch.tensor([1, 1, 1]))
    assert weights is not None
    assert weights.tolist() == [1, 1, 5]
    assert weights_of(None, NAMES, torch.tensor([1, 1, 1])) is None
    numbered = weights_of({1: 2.0, False: 3.0}, ["0", "1", "false"], torch.tensor([1, 1, 1]))
    assert numbered is not None
    assert numbered.tolist() == [1, 2, 3]


def test_a_weight_for_what_is_no_class_is_refused_in_one_line() -> None:
    with pytest.raises(UserError) as raised:
        texts(class_weights={"eggs": 2.0})
    assert str(raised.value) == (
        "task.class_weights: 'eggs' is no class of this data; valid: 'ham', 'spam', 'very rare!'"
    )


@pytest.mark.parametrize("asked", [None, "balanced", {"spam": 4.0}])
def test_the_loss_of_training_is_the_weighted_mean_and_the_score_is_not(asked: Any) -> None:
    task, plain = texts(class_weights=asked), texts()
    model = Fixed([1.0, 0.5, -1.0], each_step=False)
    nats_C = -F.log_softmax(model.logits_C.detach(), dim=0)
    weight = [1.0, 4.0, 1.0] if isinstance(asked, dict) else [10 / 18, 10 / 9, 10 / 3] if asked else [1.0, 1.0, 1.0]
    whole = Batch(torch.zeros(2, 10, dtype=torch.int64), task.labels("train"), torch.full((10,), 2))
    counts = [6, 3, 1]
    expected = sum(w * n * float(nats) for w, n, nats in zip(weight, counts, nats_C, strict=True))
    expected /= sum(w * n for w, n in zip(weight, counts, strict=True))
    assert task.loss(model, whole, None)[0].item() == pytest.approx(expected, rel=1e-6)
    with torch.no_grad():
        assert task.score(model, "valid").metrics == plain.score(model, "valid").metrics
    assert task.trivial() == plain.trivial()


def test_tags_are_weighted_over_words_and_padding_counts_nothing() -> None:
    task, plain = tagged(class_weights={"V": 4.0}), tagged()
    model = Fixed([0.3, -0.4], each_step=True)
    nats_C = -F.log_softmax(model.logits_C.detach(), dim=0)
    (batch,) = task.batches("valid")
    padded = Batch(F.pad(batch.inputs, (0, 0, 0, 3)), F.pad(batch.targets, (0, 0, 0, 3), value=-100), batch.lengths)
    for one in (batch, padded):
        assert task.loss(model, one, None)[0].item() == pytest.approx(float(4 * nats_C[0] + 4 * nats_C[1]) / 8)
        assert plain.loss(model, one, None)[0].item() == pytest.approx(float(4 * nats_C[0] + nats_C[1]) / 5)
    with torch.no_grad():
        assert task.score(model, "valid").metrics == plain.score(model, "valid").metrics


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_have_the_type_of_the_logits(dtype: torch.dtype) -> None:
    weights = weights_like(torch.tensor([1.0, 2.0], dtype=torch.float64), torch.zeros(3, 2, dtype=dtype))
    assert weights is not None
    assert weights.dtype == dtype


def test_weighted_loss_under_mixed_precision() -> None:
    task = texts(class_weights="balanced")
    layer = nn.Linear(4, 3)

    class Model(nn.Module):
        def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
            return layer(torch.ones(tokens_TB.shape[1], 4))

    batch = next(iter(task.batches("valid")))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = task.loss(Model(), batch, None)[0]
    mixed.backward()
    assert mixed.item() == pytest.approx(task.loss(Model(), batch, None)[0].item(), rel=0.02)


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("balance", "task.class_weights='balance'"),
        ("{ham: 0}", "greater than 0"),
        ("{ham: -1.0}", "greater than 0"),
        ("{ham: many}", "valid number"),
        ("{}", "at least 1 item"),
        ("3", "task.class_weights=3"),
    ],
)
def test_bad_weights_are_refused_before_anything_is_read(override: str, says: str) -> None:
    with pytest.raises(UserError) as raised:
        check(composed("task=text_classification", "data.path=x", f"task.class_weights={override}"))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
