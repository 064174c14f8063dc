"""Minimal pairs: hand-made ones, a slow reference that reads whole sentences, and what is refused or left out."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import composed
from texts import given, make_model, make_task
from torch import Tensor

from gru_bench.config.canonical import digest, without_judgement
from gru_bench.config.check import check
from gru_bench.errors import UserError
from gru_bench.models.language_model import LanguageModel
from gru_bench.run.build import make_task as task_of
from gru_bench.tasks.text import minimal_pairs
from gru_bench.tasks.text.language_modeling import LanguageModeling

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")

TEXT = "the dog sees the cats\nthe dogs see the cat\nthe cat near the dogs sees the dogs\nthe dogs see himself <unk>\n"
PAIRS = [
    ("simple", "the dog sees", "the dog see"),
    ("simple", "the dogs see the cat", "the dogs sees the cat"),
    ("simple", "the cats barks", "the cats bark"),  # neither verb is known
    ("simple", "the cats see", "the cats seen"),  # one of them is not
    ("prep", "the fish near the dogs sees", "the fish near the dogs see"),  # fish is unknown, but alike in both
    ("prep", "the dog near the cats see himself", "the dog near the cats see"),  # of other length
    ("gone", "zig", "zag"),
]


def folder_of(tmp_path: Path, pairs: list[tuple[str, str, str]] = PAIRS) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    columns = ["construction", "sentence_good", "sentence_bad"]
    pd.DataFrame(pairs, columns=columns).to_parquet(folder / "test.parquet", index=False)
    return folder


def task_with(folder: Path, **changed: Any) -> LanguageModeling:
    return make_task(given(TEXT, test="the dog sees the dogs\n"), "word", minimal_pairs=str(folder), **changed)


def slow_nats(task: LanguageModeling, model: LanguageModel, sentence: str) -> float:
    """Of a whole sentence, word by word."""
    index = task.vocabulary.index
    ids = [index["<eos>"], *(index.get(word, index["<unk>"]) for word in sentence.split())]
    state, total = None, 0.0
    for now, following in itertools.pairwise(ids):
        logits_TBV, state = model(torch.tensor([[now]]), state)
        total -= float(logits_TBV[0, 0].double().log_softmax(dim=0)[following])
    return total


def test_each_pair_is_judged_as_by_reading_both_sentences(tmp_path: Path) -> None:
    task = task_with(folder_of(tmp_path))
    seen = set()
    for seed in range(6):
        model = make_model(task, seed, init_range=1.0).eval()
        with torch.no_grad():
            scores = task.score(model, "test")
            right = [slow_nats(task, model, good) < slow_nats(task, model, bad) for _, good, bad in PAIRS]
        simple, prep = right[:2], right[4:6]
        by_part = {(s.slice, s.slice_value): (s.value, s.n) for s in scores.slices}
        assert by_part == {
            ("construction", "simple"): (sum(simple) / 2, 2),
            ("construction", "prep"): (sum(prep) / 2, 2),
        }
        assert scores.metrics["minimal_pairs_accuracy"] == sum(simple + prep) / 4
        seen.add(tuple(simple + prep))
    assert len(seen) > 2, "the models agree, so the test shows little"


def test_neither_batches_nor_parts_of_the_output_change_a_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_with(folder_of(tmp_path))
    model = make_model(task, 3, init_range=1.0).eval()
    with torch.no_grad():
        expected = task.score(model, "test").slices
        monkeypatch.setattr(minimal_pairs, "SENTENCES_AT_ONCE", 3)
        monkeypatch.setattr("gru_bench.losses.CHUNK_BYTES", 1)
        assert task.score(model, "test").slices == expected


def test_what_is_left_out_is_noted_and_counted(tmp_path: Path) -> None:
    task = task_with(folder_of(tmp_path))
    (note,) = [note for note in task.notes if note.startswith("minimal pairs")]
    assert "4 of 7 are scored" in note
    assert "25.0% of the scored sentences hold <unk> elsewhere; none is left of gone" in note
    assert (task.facts["minimal_pairs"], task.facts["minimal_pairs_scored"]) == (7, 4)


def test_the_trivial_guess_knows_how_often_words_are(tmp_path: Path) -> None:
    # "see" is twice in the training text, as "sees" is; "the" is commoner than "cat"
    pairs = [("one", "the", "cat"), ("one", "cat", "the"), ("two", "dogs the", "dogs cat"), ("two", "see", "sees")]
    task = task_with(folder_of(tmp_path, pairs))
    assert {s.slice_value: s.value for s in task.trivial_slices()} == {"one": 0.5, "two": 0.5}
    assert task.trivial()["minimal_pairs_accuracy"] == 0.5
    assert set(task.trivial()) == {metric.name for metric in task.metrics}


def test_pairs_change_no_other_score_and_only_the_test_split_has_them(tmp_path: Path) -> None:
    plain, paired = make_task(given(TEXT, test="the dog sees the dogs\n"), "word"), task_with(folder_of(tmp_path))
    model = make_model(plain, 0).eval()
    with torch.no_grad():
        before, after, valid = plain.score(model, "test"), paired.score(model, "test"), paired.score(model, "valid")
    assert after.metrics == before.metrics | {"minimal_pairs_accuracy": after.metrics["minimal_pairs_accuracy"]}
    assert set(valid.metrics) == set(before.metrics)
    assert valid.slices == []
    assert paired.source_id() != plain.source_id()
    assert paired.fingerprint() != plain.fingerprint()
    place = {"minimal_pairs": "/somewhere"}
    assert digest(without_judgement({"seq_len": 1} | place)) == digest(without_judgement({"seq_len": 1}))


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task.minimal_pairs=/nowhere: no such folder or file; valid: one with"):
        task_with(Path("/nowhere"))
    with pytest.raises(UserError, match=r"task.minimal_pairs: pairs are scored by words, and task.level=char"):
        make_task(given(TEXT), "char", minimal_pairs=str(tmp_path))
    with pytest.raises(UserError, match=r"in no pair are the words that differ in the vocabulary"):
        task_with(folder_of(tmp_path, PAIRS[-1:]))
    other = tmp_path / "other"
    other.mkdir()
    pd.DataFrame({"construction": ["a"], "good": ["b"]}).to_parquet(other / "test.parquet", index=False)
    with pytest.raises(UserError, match=r"no column sentence_good, sentence_bad"):
        task_with(other)
    header = tmp_path / "header.csv"
    header.write_text("construction,sentence_good,sentence_bad\n")
    with pytest.raises(UserError, match=rf"^task.minimal_pairs={header}: (?!data.path)[^\n]+$"):
        task_with(header)


@pytest.mark.usefixtures("hydra_conf")
def test_marvin_and_linzens_pairs_are_read(shared_data: Path, tmp_path: Path) -> None:
    pairs = pd.read_parquet(shared_data / "marvin_linzen" / "test.parquet")
    text = tmp_path / "text"
    text.mkdir()
    for split in ("train", "validation", "test"):
        (text / f"{split}.txt").write_text("\n".join(pairs["sentence_good"][:2000]) + "\n<unk>\n")
    overrides = [f"data.path={text}", "task.max_vocab_size=null", "task.min_count=1"]
    _, node = check(composed("task=language_modeling", *overrides, f"task.minimal_pairs={shared_data}/marvin_linzen"))
    task = task_of(node)
    assert isinstance(task, LanguageModeling)
    task.load()
    assert task.facts["minimal_pairs"] == len(pairs) == 6340
    assert {s.slice_value for s in task.trivial_slices()} <= set(pairs["construction"])


def test_only_the_words_from_the_first_difference_on_are_asked_for() -> None:
    asked: list[Tensor] = []
    pairs = minimal_pairs.MinimalPairs("made")
    pairs.ids_TB = torch.tensor([[0, 0], [1, 1], [2, 3], [4, 4]])
    pairs.asked_TB = torch.tensor([[False, False], [True, True], [True, True]])
    pairs.parts = []

    def surprise(ids_TB: Tensor, asked_TB: Tensor) -> Tensor:
        asked.append(asked_TB)
        return ids_TB[1:].double()

    (whole,) = pairs.accuracy(surprise)
    assert whole.value == 1.0  # 2 + 4 < 3 + 4
    assert asked[0].tolist() == [[False, False], [True, True], [True, True]]
