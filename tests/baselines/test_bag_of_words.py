"""A bag of words: what it can tell apart and what it cannot, and that test rows choose nothing."""

import math
import random
from typing import Any

import pytest
from scipy.sparse import csr_matrix

from gru_bench.baselines import bag_of_words
from gru_bench.data.rows import Rows
from gru_bench.tasks.base import Goal
from gru_bench.tasks.generated.event_order import EventOrder
from gru_bench.tasks.generated.sentiment import Sentiment
from gru_bench.tasks.objectives.classify import Classify
from gru_bench.tasks.text.text_classification import TextClassification

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")

COMMON: dict[str, Any] = {"batch_size": 8, "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99)}
LIMITS: dict[str, Any] = {"lowercase": True, "max_length": 2, "max_vocab_size": 5, "min_count": 1}
FILLERS = [f"filler{letter}" for letter in "abcdefghijklmnop"]


def fitted(task: Classify) -> bag_of_words.Result:
    found = bag_of_words.fit(task)
    assert found is not None
    return found


def task_of(splits: dict[str, list[dict[str, Any]]], tokenizer: Any = "words", **options: Any) -> TextClassification:
    task = TextClassification(
        Rows(splits, text="text", label="label"), tokenizer=tokenizer, **COMMON | LIMITS | options
    )
    task.load()
    return task


def texts(count: int, key: int, *, at_the_end: str = "{}", shuffled: bool = False) -> list[dict[str, Any]]:
    """Ten words each; the label is told by a word late in the text, or, shuffled, by nothing."""
    drawn = random.Random(key)
    labels = [i % 3 for i in range(count)]
    told = drawn.sample(labels, count) if shuffled else labels
    return [
        {"text": " ".join([*drawn.choices(FILLERS, k=9), at_the_end.format("xyz"[word])]), "label": f"class {label}"}
        for label, word in zip(labels, told, strict=True)
    ]


def test_a_word_beyond_the_limits_of_the_network_tells_the_class() -> None:
    task = task_of({"train": texts(90, 1), "valid": texts(30, 2), "test": texts(60, 3)})
    assert bag_of_words.serves(task)
    found = fitted(task)
    assert found.test["accuracy"] == found.valid["accuracy"] == found.test["macro_f1"] == 1
    assert found.examples["label"] == task.labels("test").tolist() == found.examples["prediction"]
    assert found.test["loss"] == pytest.approx(sum(found.examples["nats"]) / 60)
    assert set(found.test) == {metric.name for metric in task.metrics}
    assert fitted(task).examples == found.examples


def test_what_no_word_tells_is_a_guess() -> None:
    splits = {split: texts(300, key, shuffled=True) for key, split in enumerate(("train", "valid", "test"))}
    found = fitted(task_of(splits))
    assert found.test["accuracy"] < 0.45
    assert found.test["accuracy"] == pytest.approx(sum(found.examples["correct"]) / 300)


def test_test_rows_choose_nothing() -> None:
    train, valid = texts(90, 1, shuffled=True), texts(30, 2, shuffled=True)
    one = fitted(task_of({"train": train, "valid": valid, "test": texts(30, 3)}))
    other = fitted(task_of({"train": train, "valid": valid, "test": texts(45, 4, shuffled=True)}))
    assert (one.features, one.strength, one.valid) == (other.features, other.strength, other.valid)
    assert one.test != other.test


def test_parts_of_words_serve_where_no_word_comes_twice() -> None:
    def row(i: int, split: str) -> dict[str, Any]:
        stem = f"{split}{i}q".translate(str.maketrans("0123456789", "bcdfghjklm"))
        return {"text": f"{stem}{('ing', 'ness')[i % 2]}", "label": f"{i % 2}"}

    found = fitted(task_of({split: [row(i, split) for i in range(60)] for split in ("train", "valid", "test")}))
    assert found.features.startswith("parts of words")
    assert found.test["accuracy"] == 1


def test_characters_are_taken_as_characters() -> None:
    rows = {
        split: [{"text": ("abab", "bbaa")[i % 2], "label": f"{i % 2}"} for i in range(20)]
        for split in ("train", "valid", "test")
    }
    found = fitted(task_of(rows, tokenizer="chars"))
    assert found.features == "pieces of 1 to 5 characters"
    assert found.test["accuracy"] == 1


def test_weights_of_classes_move_it_to_the_rare_one() -> None:
    def rows(count: int) -> list[dict[str, Any]]:
        return [{"text": "same words", "label": "rare" if i % 10 == 0 else "common"} for i in range(count)]

    splits = {"train": rows(200), "valid": rows(50), "test": rows(50)}
    plain, weighted = task_of(splits), task_of(splits, class_weights={"rare": 20.0})
    assert plain.fingerprint() == weighted.fingerprint()
    assert bag_of_words.recipe(plain) != bag_of_words.recipe(weighted)
    assert fitted(plain).test["accuracy"] == pytest.approx(0.9)
    assert fitted(weighted).test["accuracy"] == pytest.approx(0.1)
    balanced = fitted(task_of(splits, class_weights="balanced"))
    assert balanced.test["loss"] == pytest.approx(math.log(2), rel=1e-3)  # it cannot tell them apart, and says so


def test_order_alone_is_hidden_from_it_in_generated_sentences() -> None:
    task = Sentiment(None, distances=[0], num_train=400, num_valid=100, num_test=200, **COMMON)
    task.load()
    assert bag_of_words.serves(task)
    found = fitted(task)
    assert found.test["accuracy"] < 0.75
    assert found.examples["label"] == task.labels("test").tolist()
    assert found.features == "words and pairs of words"  # ids of words have no letters


def test_it_serves_labeled_texts_alone() -> None:
    numbers: Classify = EventOrder(
        None,
        seq_len=20,
        num_features=4,
        strength=3.0,
        min_distance=2,
        max_distance=10,
        num_train=16,
        num_valid=8,
        num_test=8,
        **COMMON,
    )
    numbers.load()
    assert not bag_of_words.serves(numbers)
    assert not bag_of_words.serves(object())


def test_a_class_that_training_lacks_has_the_share_of_one_row_more() -> None:
    x_ND = csr_matrix([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    for labels in ([0, 2, 0, 2], [0, 1, 2, 0]):
        model = bag_of_words.regression(None, 1.0, None).fit(x_ND, labels)
        nats_NC = bag_of_words.surprise(model, x_ND, num_classes=4, num_train=4)
        assert (-nats_NC).exp().sum(dim=1).tolist() == pytest.approx([1] * 4)
        assert (-nats_NC).exp()[:, 3].tolist() == pytest.approx([1 / 8] * 4)


def test_texts_without_a_word_have_none() -> None:
    rows = [{"text": "x", "label": f"{i % 2}"} for i in range(10)]
    task = task_of({"train": rows, "valid": rows, "test": rows})
    texts: dict[str, list[list[str]]] = {split: [[]] * 10 for split in ("train", "valid", "test")}
    labels = {split: task.labels("train") for split in texts}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bag_of_words, "read", lambda _: (texts, labels, False))
        assert bag_of_words.fit(task) is None
