"""Sequence tagging: batches, scores, slices, guesses to compare with, and the command on tagged rows."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from omegaconf import OmegaConf
from torch import Tensor, nn

from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.data.rows import Rows
from gru_bench.data.vocabulary import UNK
from gru_bench.losses import IGNORED
from gru_bench.metrics import f1_from_statistics
from gru_bench.models.encoder import Encoder
from gru_bench.models.streams import Streams
from gru_bench.models.tagger import Tagger
from gru_bench.store import read as results
from gru_bench.tasks.base import Goal, Scores
from gru_bench.tasks.text.sequence_tagging import SequenceTagging, tags_by_word

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")

LIMITS = {"batch_size": 8, "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99)}
OPTIONS: dict[str, Any] = {
    "score": "accuracy",
    "lowercase": True,
    "max_length": None,
    "max_vocab_size": None,
    "min_count": 1,
}
WORDS = {"the": "DET", "a": "DET", "dog": "NOUN", "cat": "NOUN", "sees": "VERB", "hears": "VERB"}


def row(text: str, tags: str = "") -> dict[str, Any]:
    """A sentence, with the tags of its words unless others are given."""
    return {"words": text.split(), "pos": tags.split() or [WORDS[word.lower()] for word in text.split()]}


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    nouns, verbs = ("dog", "cat"), ("sees", "hears")
    texts = (
        " ".join(["The", nouns[i % 2], *[verbs[i // 2 % 2], "a", nouns[i // 4 % 2]] * (i % 3)])
        for i in range(start, start + count)
    )
    return [row(text) for text in texts]


SPLITS = {"train": rows(50), "valid": rows(11, 50), "test": rows(13, 61)}


def make(made: Any, columns: dict[str, Any] | None = None, **options: Any) -> SequenceTagging:
    data = Rows(made, **({"tokens": "words", "tags": "pos"} | (columns or {})))
    task = SequenceTagging(data, **(OPTIONS | LIMITS | options))
    task.load()
    return task


class ByWord(nn.Module):
    """Predicts the given tag for each given word, and the first tag for all others."""

    def __init__(self, task: SequenceTagging, tags: dict[str, str], confidence: float = 1.0) -> None:
        super().__init__()
        table_VC = torch.zeros(len(task.vocabulary), len(task.classes))
        predicted = {task.vocabulary.index[word]: task.classes.index(tag) for word, tag in tags.items()}
        for word in range(len(task.vocabulary)):
            table_VC[word, predicted.get(word, 0)] = confidence
        self.table = nn.Parameter(table_VC)

    def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
        return self.table[tokens_TB]


@torch.no_grad()
def score(task: SequenceTagging, model: nn.Module, split: Any = "test") -> Scores:
    return task.score(model.eval(), split)


def slices_of(scores: Scores) -> dict[tuple[str, str, str], float]:
    return {(part.metric, part.slice, part.slice_value): part.value for part in scores.slices}


# --- batches


def test_every_word_comes_once_with_its_tag() -> None:
    task = make(SPLITS)
    for split, generator in (("train", torch.Generator().manual_seed(0)), ("test", None)):
        seen = []
        for batch in task.batches(split, generator):  # type: ignore[arg-type]
            assert batch.lengths is not None
            assert batch.num_tokens == int(batch.lengths.sum())
            assert batch.inputs.shape == batch.targets.shape
            for ids, tags, length in zip(batch.inputs.T, batch.targets.T, batch.lengths.tolist(), strict=True):
                names = [task.classes[tag] for tag in tags[:length].tolist()]
                seen.append((task.vocabulary.decode(ids[:length].tolist()), names))
                assert (tags[length:] == IGNORED).all()
                assert not ids[length:].any()
        assert sorted(seen) == sorted(([w.lower() for w in r["words"]], r["pos"]) for r in SPLITS[split])


def test_training_order_depends_on_the_seed_and_evaluation_has_one() -> None:
    task = make(SPLITS)

    def ids(split: Any, seed: int | None) -> list[int]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return [int(i) for batch in task.batches(split, generator) for i in batch.inputs.flatten()]

    assert ids("train", 1) == ids("train", 1) != ids("train", 2)
    assert ids("test", None) == ids("test", None)


def test_the_loss_is_the_mean_over_words_without_padding() -> None:
    task = make(SPLITS)
    model = ByWord(task, WORDS, confidence=2.0)
    (batch,) = list(make(SPLITS, batch_size=100).batches("test"))
    with torch.no_grad():
        loss, counts, carry = task.loss(model, batch, None)
    # three tags, all of them right with a logit of 2 against 0 and 0
    assert float(loss) == pytest.approx(math.log(math.exp(2) + 2) - 2)
    assert (counts.tokens, counts.examples, carry) == (sum(len(r["words"]) for r in SPLITS["test"]), 13, None)


# --- scores

TEST = [
    row("the dog sees a cat the dog hears the cat"),
    row("a"),
    row("the cat sees a wombat", "DET NOUN VERB DET NOUN"),
    row("wombat", "NOUN"),
]


def test_scores_are_in_the_order_of_the_rows() -> None:
    task = make(SPLITS | {"test": TEST}, batch_size=3)
    scores = score(task, ByWord(task, WORDS | {"dog": "VERB"}))
    assert task.classes == ["DET", "NOUN", "VERB"]
    assert scores.examples["words"] == [10, 1, 5, 1]
    assert scores.examples["correct"] == [8, 1, 4, 0]
    assert scores.metrics["accuracy"] == pytest.approx(13 / 17)
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    assert scores.examples["nats"] == pytest.approx([8 * right + 2 * wrong, right, 4 * right + wrong, wrong])
    assert scores.metrics["loss"] == pytest.approx((13 * right + 4 * wrong) / 17)
    assert scores.samples["sentence"][1:] == ["a", "the cat sees a wombat", "wombat"]
    assert scores.samples["tags"][2] == "DET NOUN VERB DET NOUN"
    assert scores.samples["prediction"][2] == "DET NOUN VERB DET DET"
    assert scores.samples["wrong"][1:] == ["", "wombat: DET, not NOUN", "wombat: DET, not NOUN"]


def test_words_that_training_has_and_lacks_are_distinguished() -> None:
    task = make(SPLITS | {"test": TEST})
    assert slices_of(score(task, ByWord(task, WORDS))) == {
        ("accuracy", "word", "known"): 1.0,
        ("accuracy", "word", "unknown"): 0.0,
    }
    # too rare is unknown as well
    rare = make({"train": [*SPLITS["train"], row("wombat", "NOUN")], "valid": rows(5), "test": TEST}, min_count=2)
    assert rare.facts["test_unknown_words"] == 2
    assert rare.facts["train_unknown_words"] == 1
    assert slices_of(score(rare, ByWord(rare, WORDS | {UNK: "NOUN"})))["accuracy", "word", "unknown"] == 1.0


def test_slices_by_a_column() -> None:
    kinds = [{"kind": kind} for kind in ("long", "short", "long", "short")]
    splits = {split: [r | {"kind": "long"} for r in made] for split, made in SPLITS.items()}
    splits["test"] = [r | kind for r, kind in zip(TEST, kinds, strict=True)]
    task = make(splits, {"slice": "kind"})
    slices = slices_of(score(task, ByWord(task, WORDS)))
    assert slices["accuracy", "kind", "long"] == pytest.approx(14 / 15)
    assert slices["accuracy", "kind", "short"] == pytest.approx(1 / 2)


CHUNKED = [
    row("he reckons the current deficit", "B-NP B-VP B-NP I-NP I-NP"),
    row("will narrow .", "B-VP I-VP O"),
    row(". .", "O O"),
]


def test_chunks_are_counted_by_sentence_and_by_type() -> None:
    task = make({"train": CHUNKED * 3, "valid": CHUNKED, "test": CHUNKED}, score="chunk_f1")
    assert task.primary_metric.name == "chunk_f1"
    predicted = {"he": "B-NP", "reckons": "B-VP", "the": "B-NP", "current": "I-NP", "deficit": "O", "will": "B-VP"}
    scores = score(task, ByWord(task, predicted | {"narrow": "I-VP", ".": "O"}))
    assert [scores.examples[f"{name}_chunks"] for name in ("actual", "predicted", "correct")] == [
        [3, 1, 0],
        [3, 1, 0],
        [2, 1, 0],
    ]
    assert scores.metrics["chunk_f1"] == pytest.approx(3 / 4)
    assert scores.metrics["accuracy"] == pytest.approx(9 / 10)
    assert f1_from_statistics(scores.examples) == scores.metrics["chunk_f1"]
    slices = slices_of(scores)
    assert slices["chunk_f1", "chunk", "NP"] == pytest.approx(1 / 2)
    assert slices["chunk_f1", "chunk", "VP"] == 1.0
    assert set(scores.metrics) == {metric.name for metric in task.metrics} == set(task.trivial())


def test_chunks_by_a_column() -> None:
    kinds = [r | {"kind": "ab"[i % 2]} for i, r in enumerate(CHUNKED)]
    task = make({"train": kinds * 3, "valid": kinds, "test": kinds}, {"slice": "kind"}, score="chunk_f1")
    # all predicted as B-NP: "he" and "the" alone begin a chunk there, and only "he" ends one
    slices = slices_of(score(task, ByWord(task, {})))
    assert task.classes[0] == "B-NP"
    assert slices["chunk_f1", "kind", "a"] == pytest.approx(2 * 1 / (3 + 7))
    assert slices["chunk_f1", "kind", "b"] == 0.0


def make_tagger(task: SequenceTagging) -> Tagger:
    def make_cell(input_size: int, hidden: int, source: torch.Generator) -> Cell:
        return GRU(input_size, hidden, source, init="uniform")

    def build_encoder(input_size: int, streams: Streams, /, **options: Any) -> Encoder:
        place: Any = {"device": torch.device("cpu"), "dtype": torch.float32}
        return Encoder(input_size, make_cell, Loop(), streams, hidden_size=6, num_layers=1, **place, **options)

    options: Any = {"embedding_size": 4, "bidirectional": True, "dropout": 0.3, "init": "uniform"}
    return Tagger(task.sizes(), build_encoder, Streams(3), **options)


def test_padding_does_not_change_scores() -> None:
    one, many = make(SPLITS | {"test": TEST}, batch_size=1), make(SPLITS | {"test": TEST}, batch_size=32)
    model = make_tagger(one)
    alone, together = score(one, model), score(many, model)
    assert alone.samples == together.samples
    assert alone.examples["correct"] == together.examples["correct"]
    assert alone.examples["nats"] == pytest.approx(together.examples["nats"], rel=1e-5)


# --- guesses to compare with


def test_the_trivial_guess_is_the_best_constant_tag() -> None:
    train = [row("the dog sees a cat"), row("a dog"), row("the cat")] * 4
    task = make({"train": train, "valid": rows(3), "test": [row("the dog sees"), row("cat wug", "NOUN VERB")]})
    trivial = task.trivial()
    # of the test words NOUN 2, VERB 2, DET 1; of the known ones NOUN 2, of the unknown one VERB
    assert trivial["accuracy"] == pytest.approx(2 / 5)
    assert {part.slice_value: (part.value, part.n) for part in task.trivial_slices()} == {
        "known": (pytest.approx(1 / 2), 4),
        "unknown": (1.0, 1),
    }
    # DET 16, NOUN 16, VERB 4 of the training words
    assert trivial["loss"] == pytest.approx(-(3 * math.log(17 / 39) + 2 * math.log(5 / 39)) / 5)


def test_the_trivial_guess_of_chunks() -> None:
    task = make({"train": CHUNKED * 3, "valid": CHUNKED, "test": CHUNKED}, score="chunk_f1")
    trivial = task.trivial()
    # always O makes no chunk; always B-NP makes ten, one of them right ("he"), where there are four; I-VP none
    assert trivial["chunk_f1"] == pytest.approx(2 * 1 / (10 + 4))
    by_type = {part.slice_value: (part.value, part.n) for part in task.trivial_slices() if part.slice == "chunk"}
    # of the two noun phrases one is a word long, and of the two verb phrases
    assert by_type == {"NP": (pytest.approx(2 / 12), 2), "VP": (pytest.approx(2 / 12), 2)}
    assert trivial["accuracy"] == pytest.approx(3 / 10)


def test_the_most_frequent_tag_of_each_word() -> None:
    train = [row("sees sees", "VERB NOUN"), row("sees the", "VERB DET"), row("dog", "NOUN"), row("dog", "NOUN")] * 2
    test = [row("sees the", "NOUN DET"), row("dog yak", "NOUN VERB"), row("yak", "NOUN")]
    task = make({"train": train, "valid": train, "test": test})
    # sees is VERB, the DET, dog NOUN; an unknown word gets the most frequent of all, NOUN
    assert task.facts["baseline_word_tag_accuracy"] == pytest.approx(3 / 5)
    note = "the most frequent tag of each word in training, given to the test words, scores accuracy 0.600"
    assert note in task.notes
    # a word too rare for the vocabulary teaches what <unk> is
    rare = [row("yeti", "VERB"), row("bison", "VERB")]
    task = make({"train": train + rare, "valid": train, "test": test}, min_count=2)
    assert task.facts["baseline_word_tag_accuracy"] == pytest.approx(3 / 5)
    assert tags_by_word(task.words["train"].values, task.tags["train"].values, len(task.vocabulary))[
        task.vocabulary.unk
    ] == task.classes.index("VERB")


def test_ties_go_to_the_smaller_id() -> None:
    words, tags = np.array([1, 1, 2, 2, 2], dtype=np.uint8), np.array([1, 0, 2, 0, 2], dtype=np.uint8)
    assert tags_by_word(words, tags, 4).tolist() == [0, 0, 2, 0]


# --- limits, counts, cache


def test_what_is_cut_or_missing_is_counted() -> None:
    test = [*TEST, {"words": [None, "dog"], "pos": ["DET", "NOUN"]}, {"words": [], "pos": []}]
    task = make(SPLITS | {"test": test}, max_length=4)
    facts = {name: task.facts[f"test_{name}"] for name in ("rows", "empty", "missing_words", "cut", "cut_words")}
    assert facts == {"rows": 5, "empty": 1, "missing_words": 1, "cut": 2, "cut_words": 7}
    assert task.facts["test_words"] == 4 + 1 + 4 + 1 + 2
    assert "1 of 6 test rows hold no word and are not used" in task.notes
    assert f"1 test words are missing and are read as {UNK}" in task.notes
    assert "2 test rows are cut to their first 4 words: 7 words are neither read nor scored" in task.notes
    scores = score(task, ByWord(task, WORDS))
    assert scores.examples["words"] == [4, 1, 4, 1, 2]
    assert scores.samples["sentence"][-1] == f"{UNK} dog"


def test_the_vocabulary_is_that_of_all_training_rows_at_every_fraction() -> None:
    train = [row(f"the w{i} sees", "DET NOUN VERB") for i in range(100)]
    splits = {"train": train, "valid": rows(5), "test": TEST}
    part, whole = (make(splits, {"fraction": fraction}) for fraction in (0.1, 1.0))
    assert part.facts["train_rows"] == 10
    assert part.vocabulary.tokens == whole.vocabulary.tokens
    assert part.facts["test_unknown_words"] == whole.facts["test_unknown_words"]


def test_case_is_kept_where_asked() -> None:
    assert "The" in make(SPLITS, lowercase=False).vocabulary.index
    assert "The" not in make(SPLITS).vocabulary.index


def test_the_second_load_is_the_same_without_reading_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(SPLITS)
    monkeypatch.setattr(Rows, "load", None)
    second = make(SPLITS)
    assert second.fingerprint() == first.fingerprint()
    assert (second.notes, second.facts, second.classes) == (first.notes, first.facts, first.classes)
    with pytest.raises(TypeError):
        make(SPLITS, min_count=2)


def test_the_fingerprint_follows_words_and_tags() -> None:
    first = make(SPLITS).fingerprint()
    other = [row(" ".join(SPLITS["test"][0]["words"]), " ".join(["VERB"] * len(SPLITS["test"][0]["words"])))]
    assert make(SPLITS | {"test": other + SPLITS["test"][1:]}).fingerprint() != first
    assert make(SPLITS | {"test": rows(13, 62)}).fingerprint() != first
    assert make(SPLITS).fingerprint() == first


# --- the command

QUICK = ["hidden_size=8", "model.embedding_size=8", "threads=1", "trainer.max_epochs=2", "trainer.learning_rate=0.02"]


@pytest.fixture
def gru_bench(gru_bench: Command) -> Command:
    """This task, small."""
    return lambda *arguments: gru_bench("train", "task=sequence_tagging", *QUICK, *arguments)


def write(name: str, made: list[dict[str, Any]]) -> None:
    Path(name).parent.mkdir(exist_ok=True, parents=True)
    Path(name).write_text("".join(json.dumps(r) + "\n" for r in made), encoding="utf-8")


def read_values() -> dict[tuple[str, str, str], float]:
    values = results.read("sqlite:///mlflow.db", experiment="adhoc").values
    return {
        (v["metric"], v["slice"] or "", v["slice_value"] or ""): v["value"]
        for v in values[values["split"] == "test"].to_dict("records")
    }


def ahead(count: int) -> list[dict[str, Any]]:
    """Each word's tag is the next word: only who reads from the end can know it."""
    letters = [["ab"[(i >> place) & 1] for place in range(8)] for i in range(count)]
    return [{"words": words, "pos": [*words[1:], "end"]} for words in letters]


def test_own_data(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    write("tagged.jsonl", ahead(256))
    assert gru_bench("data.path=tagged.jsonl", "data.tokens=words", "data.tags=pos", "trainer.max_epochs=8") == 0
    output = capsys.readouterr()
    assert "carved from train by a fixed hash" in output.err
    assert "the most frequent tag of each word in training, given to the test words, scores accuracy 0." in output.err
    (run,) = results.read("sqlite:///mlflow.db", experiment="adhoc").runs.to_dict("records")
    assert (run["status"], run["primary_metric"]) == ("finished", "accuracy")
    assert read_values()["accuracy", "", ""] == 1.0
    facts = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml"))).facts
    assert facts.num_tags == 3
    assert 0.4 < facts.baseline_word_tag_accuracy < 0.7


CHUNK_TAGS = ["O", "B-NP", "I-NP", "B-VP", "I-VP", "B-LST", "I-LST"]


def write_conll(folder: Path, train: int, test: int) -> None:
    """A folder in the columns of CoNLL-2000, where only the test split has an ``I-LST``."""
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "tokens": datasets.List(datasets.Value("string")),
            "pos_tags": datasets.List(datasets.ClassLabel(names=["DT", "NN", "VB"])),
            "chunk_tags": datasets.List(datasets.ClassLabel(names=CHUNK_TAGS)),
        }
    )
    folder.mkdir()
    for split, count in (("train", train), ("test", test)):
        words = [[f"name{i}", "sees", "the", f"noun{i % 3}", "."] * (1 + i % 3) for i in range(count)]
        tags = [[1, 3, 1, 2, 0] * (1 + i % 3) for i in range(count)]
        if split == "test":
            words, tags = [*words, ["1", "."]], [*tags, [5, 6]]
        rows = {"id": list(map(str, range(len(words)))), "tokens": words, "chunk_tags": tags}
        rows["pos_tags"] = [[0] * len(row) for row in words]
        data = datasets.Dataset.from_dict(rows, features=features)
        data.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def test_conll_runs_on_a_folder_in_its_columns(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    write_conll(Path("conll"), 120, 30)
    local = ["data.path=conll", "data.revision=null", "trainer.max_epochs=8"]
    assert gru_bench("task=conll2000", *local) == 0
    stderr = capsys.readouterr().err
    assert "no valid split in the source: carved from train" in stderr
    assert "2 of 302 test words have a tag that no training row has (B-LST, I-LST)" in stderr
    values = read_values()
    # one chunk of the 181 cannot be found
    assert 0.9 < values["chunk_f1", "", ""] < 1
    assert values["chunk_f1", "chunk", "NP"] > 0.9
    assert values["chunk_f1", "chunk", "LST"] == 0.0
    assert values["trivial_chunk_f1", "", ""] < 0.5


def test_parts_of_speech_on_real_sentences(shared_data: Path, gru_bench: Command) -> None:
    import datasets

    counts = {"train": 600, "validation": 100, "test": 200}
    Path("ud").mkdir()
    for split, count in counts.items():
        whole = datasets.Dataset.from_parquet(str(shared_data / "ud_en_ewt" / f"{split}.parquet"))
        whole.select(range(count)).to_parquet(f"ud/{split}.parquet")
        if split == "test":
            tag_counts = Counter(tag for row in whole.select(range(count))["upos"] for tag in row)
    local = ["data.path=ud", "data.name=null", "data.revision=null"]
    assert gru_bench("task=ud_pos", *local, "hidden_size=24", "model.embedding_size=24") == 0
    values = read_values()
    facts = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml"))).facts
    assert (facts.train_rows, facts.valid_rows, facts.test_rows) == (600, 100, 200)
    assert (facts.num_tags, facts.train_tags) == (18, 17)
    assert facts.test_words == sum(tag_counts.values())
    assert values["trivial_accuracy", "", ""] < 0.2
    assert 0.5 < facts.baseline_word_tag_accuracy < 0.9
    assert values["accuracy", "", ""] > values["trivial_accuracy", "", ""] + 0.3
    assert values["accuracy", "word", "known"] > values["accuracy", "word", "unknown"]


def test_bad_input_is_one_line(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    good = [{"words": ["a", "b"], "pos": ["X", "Y"], "text": "a b"} for _ in range(30)]
    write("good.jsonl", [r | {"words": ["a", f"b{i}"]} for i, r in enumerate(good)])
    write("unequal.jsonl", [*good, {"words": ["a", "b", "c"], "pos": ["X"], "text": ""}])
    write("one.jsonl", [{"words": ["a", f"b{i}"], "pos": ["X", "X"]} for i in range(30)])
    write("blank.jsonl", [{"words": [], "pos": []} for _ in range(30)])
    write("new/train.jsonl", [{"words": ["a", f"b{i}"], "pos": ["X", "Y"]} for i in range(30)])
    write("new/test.jsonl", [{"words": ["a", "b"], "pos": ["X", "Y"]}, {"words": ["a"], "pos": ["Z"]}])
    Path("tagged.csv").write_text("words,pos\na b,X Y\nc d,Y X\n")
    columns = ["data.tokens=words", "data.tags=pos"]
    cases = {
        ("data.path=./nothing", *columns): "data.path=./nothing: no such folder or file",
        ("data.path=good.jsonl",): "data.tokens=tokens: no such column in the train split of good.jsonl; there are",
        ("data.path=good.jsonl", "data.tokens=words", "data.tags=text"): "data.tags=text: it must hold lists",
        ("data.path=good.jsonl", "data.tokens=text", "data.tags=pos"): "data.tokens=text: it must hold lists of words",
        ("data.path=tagged.csv", *columns): "(JSON lines and parquet can), and that column holds string",
        ("data.path=unequal.jsonl", *columns): (
            "data.tokens=words, data.tags=pos: row 31 of the train split has 3 tokens and 1 tags; valid: one tag for "
            "each token"
        ),
        ("data.path=one.jsonl", *columns): ("data.tags=pos: the training rows have only 'X'; valid: two tags or more"),
        ("data.path=blank.jsonl", *columns): "data.path=blank.jsonl: no row of the train split has a word in words",
        ("data.path=new", *columns): (
            "data.tags=pos: row 2 of the test split has the tag 'Z', which no training row has; training has X, Y"
        ),
        ("data.path=good.jsonl", *columns, "task.score=chunk_f1"): (
            "data.tags=pos: the tag 'X' stands for no chunk, and task.score=chunk_f1 counts chunks "
            "(B-TYPE, I-TYPE, O); task.score=accuracy takes any tags"
        ),
        ("data.path=good.jsonl", *columns, "task.score=f1"): "task.score='f1': must be 'accuracy' or 'chunk_f1'",
        ("data.path=good.jsonl", "data.tokens=null"): "data.tokens: which column of data.path=good.jsonl is it?",
        (): "data.path: name a folder, a file, or a data set on the hub",
    }
    for arguments, message in cases.items():
        assert gru_bench(*arguments) == 2, arguments
        stderr = capsys.readouterr().err
        assert message in stderr
        assert len(stderr.splitlines()) == 1
