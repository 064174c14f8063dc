"""What becomes of words that training lacks: ``<unk>`` is trained, or the vocabulary is refused."""

from typing import Any

import pytest
import torch
from conftest import composed, yaml_names
from texts import given, make_task

from gru_bench.config.check import check
from gru_bench.data.rows import Rows
from gru_bench.data.vocabulary import check_unknown
from gru_bench.errors import UserError
from gru_bench.tasks.base import Goal
from gru_bench.tasks.text.sequence_tagging import SequenceTagging
from gru_bench.tasks.text.text_classification import TextClassification
from gru_bench.tasks.text.translation import Translation

pytestmark = pytest.mark.usefixtures("own_caches")

COMMON: dict[str, Any] = {
    "batch_size": 4,
    "goal": Goal(margin=0.1, beats_trivial_by=0.1, ceiling=1.0),
    "lowercase": True,
    "max_length": None,
    "max_vocab_size": None,
}


def row(text: str, label: int = 0) -> dict[str, Any]:
    words = text.split()
    return {"text": text, "label": label, "words": words, "tags": ["A", "B"] * (len(words) // 2), "other": text}


SPLITS = {
    "train": [row("a b", 0), row("b a", 1), row("a rare", 0), row("b b", 1)],
    "valid": [row("a b", 0)],
    "test": [row("b new", 1), row("a b", 0)],
}


def load(kind: str, min_count: int, splits: dict[str, Any] = SPLITS) -> Any:
    if kind == "classify":
        task: Any = TextClassification(
            Rows(splits, text="text", label="label"), tokenizer="words", min_count=min_count, **COMMON
        )
    elif kind == "tag":
        task = SequenceTagging(
            Rows(splits, tokens="words", tags="tags"), score="accuracy", min_count=min_count, **COMMON
        )
    elif kind == "translate":
        task = Translation(
            Rows(splits, source="text", target="other"), vocabulary="words", min_count=min_count, **COMMON
        )
    else:
        texts = {split: "".join(f"{row['text']}\n" for row in rows) for split, rows in splits.items()}
        task = make_task(given(**texts), "word", batch_size=1, min_count=min_count)
    task.load()
    return task


KINDS = pytest.mark.parametrize("kind", ["classify", "tag", "translate", "model_language"])


@KINDS
def test_unknown_words_that_no_training_word_stands_for_are_refused(kind: str) -> None:
    with pytest.raises(
        UserError, match=r"^task\.min_count=1: 1 of .* are <unk>, and no training one is.*valid: 2"
    ) as error:
        load(kind, 1)
    assert "\n" not in str(error.value)
    task = load(kind, 2)
    assert not any("never trained" in note for note in task.notes)
    ids = torch.cat([batch.inputs.flatten() for batch in task.batches("train", torch.Generator().manual_seed(0))])
    vocabulary = task.source_codec.vocabulary if kind == "translate" else task.vocabulary
    assert (ids == vocabulary.unk).any()


@KINDS
def test_nothing_is_refused_where_all_words_are_known(kind: str) -> None:
    known = SPLITS | {"test": [row("a b", 1), row("b a", 0)]}
    assert load(kind, 1, known).facts


def test_known_answers() -> None:
    assert check_unknown(3, 5, 100, 1, "words") == []
    assert check_unknown(0, 0, 100, 1, "words") == []
    assert check_unknown(0, 5, 100, 2, "words") == [
        "5 of 100 validation and test words (5.0%) are <unk>, and no training one is: what a model makes of <unk> was "
        "never trained"
    ]


OWN_UNKNOWN = {"ptb", "wikitext2", "wikitext2_small"}
"""Texts in which rare words were replaced by ``<unk>`` before they were published."""


@pytest.mark.parametrize("name", yaml_names("task"))
@pytest.mark.usefixtures("hydra_conf")
def test_every_task_trains_its_unknown_words(name: str) -> None:
    _, node = check(composed(f"task={name}"))
    task = node["task"]
    assert task.get("min_count", 2) >= 2 or task["level"] == "char" or name in OWN_UNKNOWN
