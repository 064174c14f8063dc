"""Classification of texts: batches, scores, facts, and the command on a plain CSV."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, Command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor, nn

from gru_bench.data.rows import Rows
from gru_bench.data.vocabulary import UNK
from gru_bench.store import read as results
from gru_bench.tasks.base import Goal
from gru_bench.tasks.text.text_classification import TextClassification

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")

LIMITS = {"batch_size": 8, "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99)}
OPTIONS: dict[str, Any] = {
    "tokenizer": "words",
    "lowercase": True,
    "max_length": 6,
    "max_vocab_size": None,
    "min_count": 1,
}
GOOD, BAD = "what a lovely film", "a dull and lame film"


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"review": f"{GOOD if i % 3 else BAD} number {i}", "stars": "pos" if i % 3 else "neg", "kind": "ab"[i % 2]}
        for i in range(start, start + count)
    ]


def make(made: Any, columns: dict[str, str] | None = None, **options: Any) -> TextClassification:
    data = Rows(made, **({"text": "review", "label": "stars"} | (columns or {})))
    task = TextClassification(data, **(OPTIONS | LIMITS | options))
    task.load()
    return task


class ByLength(nn.Module):
    """Says class 0 to texts of four words and fewer, else class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
        long_B = (lengths > 4).float() * self.weight
        return torch.stack([1 - long_B, long_B], dim=1)


def test_every_row_comes_once_with_its_label() -> None:
    task = make({"train": rows(50), "valid": rows(11, 50), "test": rows(13, 61)})
    words = {
        split: [task.vocabulary.decode(task.texts[split][i].tolist()) for i in range(len(task.texts[split]))]
        for split in task.texts
    }
    assert words["train"][1] == ["what", "a", "lovely", "film", "number", "1"]
    assert words["test"][0][-1] == UNK
    for split, generator in (("train", torch.Generator().manual_seed(0)), ("test", None)):
        seen = []
        for batch in task.batches(split, generator):  # type: ignore[arg-type]
            for column, length, label in zip(batch.inputs.T, batch.lengths, batch.targets, strict=True):
                seen.append((task.vocabulary.decode(column[:length].tolist()), task.classes[int(label)]))
                assert not column[length:].any()
        labels = ["pos" if "lovely" in row else "neg" for row in words[split]]
        assert sorted(seen) == sorted(zip(words[split], labels, strict=True))


def test_training_order_depends_on_the_seed_and_evaluation_has_one() -> None:
    task = make({"train": rows(50), "valid": rows(11, 50), "test": rows(13, 61)})

    def labels(split: Any, seed: int | None) -> list[int]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return [int(i) for batch in task.batches(split, generator) for i in batch.inputs.flatten()]

    assert labels("train", 1) == labels("train", 1) != labels("train", 2)
    assert labels("test", None) == labels("test", None)


def test_scores_are_in_the_order_of_the_rows() -> None:
    test = [
        {"review": "one two three four five", "stars": "pos"},
        {"review": "one", "stars": "neg"},
        {"review": " ", "stars": "neg"},
        {"review": "nine", "stars": "neg"},
        {"review": "one two three four five six seven", "stars": "neg"},
    ]
    task = make({"train": rows(50), "valid": rows(11, 50), "test": test}, batch_size=3)
    with torch.no_grad():
        scores = task.score(ByLength(), "test")
    assert scores.examples["correct"] == [1, 1, 1, 0]
    assert scores.metrics["accuracy"] == 0.75
    assert scores.metrics["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.samples["text"][1:3] == [UNK, UNK]
    assert scores.samples["prediction"] == ["pos", "neg", "neg", "pos"]
    assert (task.facts["test_no_text"], task.facts["test_empty"], task.facts["test_cut"]) == (1, 0, 1)
    assert "1 of 5 test rows have no text and are not used" in task.notes
    assert "1 of 4 test rows are cut to their first 6 words" in task.notes


def test_slices_by_a_column() -> None:
    task = make({"train": rows(50), "valid": rows(11, 50), "test": rows(12, 61)}, {"slice": "kind"})
    with torch.no_grad():
        slices = task.score(ByLength(), "test").slices
    assert [(part.slice, part.slice_value) for part in slices] == [("kind", "a"), ("kind", "b")]


def test_the_trivial_guess_is_the_best_constant_whatever_training_has_most() -> None:
    # two of three are "pos" in training, but four of seven are "neg" in the test split
    test = [{"review": f"film {i}", "stars": stars, "kind": kind} for i, (stars, kind) in enumerate(
        [("neg", "a"), ("neg", "a"), ("neg", "a"), ("pos", "a"), ("pos", "b"), ("pos", "b"), ("neg", "b")]
    )]  # fmt: skip
    task = make({"train": rows(50), "valid": rows(11, 50), "test": test}, {"slice": "kind"})
    trivial = task.trivial()
    assert trivial["accuracy"] == pytest.approx(4 / 7)
    assert trivial["balanced_accuracy"] == pytest.approx(1 / 2)
    assert trivial["macro_f1"] == pytest.approx((8 / 11) / 2)
    # probabilities are those of training: 33 of 50 are "pos"
    assert trivial["loss"] == pytest.approx(-(3 * math.log(34 / 52) + 4 * math.log(18 / 52)) / 7)
    # of each part its own best constant
    parts = {part.slice_value: (part.value, part.n) for part in task.trivial_slices()}
    assert parts == {"a": (pytest.approx(3 / 4), 4), "b": (pytest.approx(2 / 3), 3)}


class Constant(nn.Module):
    """Always the same class."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, tokens_TB: Tensor, lengths: Tensor | None) -> Tensor:
        return self.logits.expand(tokens_TB.shape[1], -1)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(st.sampled_from("xyz"), min_size=3, max_size=12))
def test_no_constant_beats_the_trivial_guess(labels: list[str]) -> None:
    train = [{"review": f"t {i}", "stars": "xyz"[i % 3]} for i in range(9)]
    test = [{"review": f"t {i}", "stars": stars, "kind": "ab"[i % 2]} for i, stars in enumerate(labels)]
    splits = {"train": [row | {"kind": "a"} for row in train], "valid": test, "test": test}
    task = make(splits, {"slice": "kind"})
    trivial, by_part = task.trivial(), [part.value for part in task.trivial_slices()]
    reached, reached_by_part = [], []
    for chosen in range(3):
        with torch.no_grad():
            scores = task.score(Constant([float(c == chosen) for c in range(3)]), "test")
        reached.append(scores.metrics)
        reached_by_part.append([part.value for part in scores.slices])
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert trivial[name] == pytest.approx(max(metrics[name] for metrics in reached))
    assert by_part == pytest.approx([max(column) for column in zip(*reached_by_part, strict=True)])
    assert set(trivial) == {metric.name for metric in task.metrics}


def test_the_second_load_is_the_same_without_reading_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": rows(50), "valid": rows(11, 50), "test": rows(13, 61)}
    first = make(splits)
    monkeypatch.setattr(Rows, "load", None)
    second = make(splits)
    assert second.fingerprint() == first.fingerprint()
    assert (second.notes, second.facts, second.classes) == (first.notes, first.facts, first.classes)
    with pytest.raises(TypeError):
        make(splits, max_length=5)


def test_the_fingerprint_follows_the_rows() -> None:
    splits = {"train": rows(50), "valid": rows(11, 50), "test": rows(13, 61)}
    first = make(splits).fingerprint()
    assert make(splits | {"test": rows(13, 62)}).fingerprint() != first
    assert make(splits | {"train": rows(49)}).fingerprint() != first
    assert make(splits).fingerprint() == first


def test_the_vocabulary_is_that_of_all_training_rows_at_every_fraction() -> None:
    splits = {"train": rows(400), "valid": rows(11, 50), "test": rows(13, 61)}
    small, whole = (make(splits, {"fraction": f}) for f in (0.1, 1.0))  # type: ignore[dict-item]
    assert small.facts["train_rows"] == 40
    assert small.vocabulary.tokens == whole.vocabulary.tokens
    assert small.facts["test_unknown_tokens"] == whole.facts["test_unknown_tokens"]
    readable = [small.readable("train", row) for row in range(40)]
    assert set(readable) < {whole.readable("train", row) for row in range(400)}
    assert small.facts["test_rows"] == whole.facts["test_rows"] == 13


def test_a_second_start_does_not_import_datasets(shared_data: Path) -> None:
    code = (
        "import sys\n"
        "from gru_bench.data.rows import Rows\n"
        "from gru_bench.tasks.base import Goal\n"
        "from gru_bench.tasks.text.text_classification import TextClassification\n"
        f"data = Rows(path={str(shared_data / 'trec')!r}, text='text', label='coarse_label')\n"
        f"TextClassification(data, **{OPTIONS | LIMITS | {'min_count': 2}!r}).load()\n"
        "print('datasets' in sys.modules)"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert outputs == ["True\n", "False\n"]


# --- the command

QUICK = ["hidden_size=8", "model.embedding_size=8", "threads=1", "trainer.max_epochs=2", "trainer.learning_rate=0.02"]


@pytest.fixture
def gru_bench(gru_bench: Command) -> Command:
    """This task, small."""
    return lambda *arguments: gru_bench("train", "task=text_classification", *QUICK, *arguments)


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_own_data(gru_bench: Command, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    if layout == "file":
        pd.DataFrame([*rows(300), {"review": "nobody knows", "stars": None}]).to_csv("reviews.csv", index=False)
        path = "reviews.csv"
    else:
        Path("reviews").mkdir()
        pd.DataFrame(rows(300)).to_csv("reviews/train.csv", index=False)
        pd.DataFrame(rows(60, 300)).to_csv("reviews/test.csv", index=False)
        path = "reviews"
    assert gru_bench(f"data.path={path}", "data.text=review", "data.label=stars") == 0
    output = capsys.readouterr()
    assert "test accuracy 1 (trivial guess 0." in output.out
    assert "carved from train by a fixed hash" in output.err
    assert "padding is" in output.err
    (run,) = results.read("sqlite:///mlflow.db", experiment="adhoc").runs.to_dict("records")
    assert run["status"] == "finished"
    assert run["data_source"].startswith("files:")
    facts = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml"))).facts
    assert facts.train_unlabeled == (1 if layout == "file" else 0)
    assert facts.train_rows == (240 if layout == "file" else 270)


def test_own_data_without_names_in_another_encoding(gru_bench: Command) -> None:
    lines = [f"{row['stars']};{row['review']}, à la carte\n" for row in rows(300)]
    Path("été [1].txt").write_text("".join(lines), encoding="latin-1")
    keys = ["data.columns=[stars,review]", "data.encoding=latin-1", "data.separator=semicolon", "data.quoting=none"]
    assert gru_bench("data.path='été [1].txt'", "data.text=review", "data.label=stars", *keys) == 0
    facts = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml"))).facts
    assert facts.train_rows + facts.valid_rows + facts.test_rows == 300


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.path=./nothing"], "data.path=./nothing: no such folder or file"),
        (["data.path=reviews.csv", "data.text=txt", "data.label=stars"], "no such column in the train split"),
        (["data.path=reviews.csv", "data.text=review", "data.label=one"], "have only '1'; valid: two classes or more"),
        (["data.path=latin.csv", "data.text=review", "data.label=stars"], "latin.csv: not UTF-8: byte 0xe9"),
        (
            ["data.path=reviews.csv", "data.text=review", "data.label=stars", "data.fraction=2"],
            "less than or equal to 1",
        ),
        ([], "data.path: name a folder, a file, or a data set on the hub"),
    ],
)
def test_bad_input_is_one_line(
    gru_bench: Command, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame([row | {"one": 1} for row in rows(30)]).to_csv("reviews.csv", index=False)
    Path("latin.csv").write_bytes(b"review,stars\ncaf\xe9,1\n")
    assert gru_bench(*changes) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert len(stderr.splitlines()) == 1


@pytest.mark.parametrize("task", ["sst5", "ag_news"])
def test_untried_sets_run_on_a_folder_in_their_columns(gru_bench: Command, task: str) -> None:
    classes = 5 if task == "sst5" else 4
    Path("small").mkdir()
    for split, count in (("train", 100), ("test", 20)):
        made = [{"text": f"{split} word{i % classes} {i}", "label": i % classes} for i in range(count)]
        pd.DataFrame(made).to_json(f"small/{split}.jsonl", orient="records", lines=True)
    assert gru_bench(f"task={task}", "data.path=small") == 0
