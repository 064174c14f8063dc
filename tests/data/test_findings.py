"""What is said of rows, and rows without text or of equal content in splits that are carved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, Command
from hypothesis import given
from hypothesis import strategies as st
from made_rows import load, refuses, some, texts
from omegaconf import OmegaConf

from gru_bench.data.findings import Findings, alike, class_remarks, count, list_counts, percentiles
from gru_bench.data.rows import SPLITS, Rows
from gru_bench.data.split import carve
from gru_bench.data.text import Text
from gru_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_caches")


def rows(*labels: str) -> list[dict[str, Any]]:
    return [{"review": f"text number {i}", "stars": label} for i, label in enumerate(labels)]


# --- classes


def test_classes_are_counted_the_most_frequent_first() -> None:
    assert list(count([2, 0, 2, 2, 0, 1], ["a", "b", "c"]).items()) == [("c", 3), ("a", 2), ("b", 1)]
    many = {f"class {i}": 1000 - i for i in range(22)}
    assert list_counts(many).startswith("class 0 (1,000), class 1 (999), ")
    assert list_counts(many).endswith("class 9 (991) and 12 more")
    assert list_counts({"two\nlines\x1b[31m": 3, "x" * 50: 1}) == f"two\\nlines\\x1b[31m (3), {'x' * 40}... (1)"


def test_classes_of_each_split_are_known() -> None:
    found = load(None, {"train": rows(*"aab"), "valid": rows("b"), "test": rows(*"ab")}).findings
    assert found.classes == {"train": {"a": 2, "b": 1}, "valid": {"b": 1}, "test": {"a": 1, "b": 1}}
    assert found.notes()[0] == "classes (train): a (2), b (1)"


@pytest.mark.parametrize(
    ("counted", "remarks"),
    [
        ({"pos": 50, "neg": 50}, []),
        ({"pos": 96, "neg": 4}, ["96.0% of the training rows have the class 'pos'"]),
        ({"pos": 95, "neg": 5}, []),
        (
            {"pos": 9, "Pos ": 9, "neg": 9, "POS": 9},
            ["the classes 'pos', 'Pos ', 'POS' differ by case or spaces alone, and count as 3 classes"],
        ),
        ({"a": 9, "b": 9, "c": 1}, ["a single training row has the class 'c': nothing can be learned from it"]),
        (
            {"a": 9, "c": 1, "d": 1, "b": 9},
            ["a single training row has the classes 'c', 'd': nothing can be learned from it"],
        ),
        (
            {"a": 9, "b": 9, "Stars": 1},
            ["the class 'Stars' (1 training row) is called as columns are: a header among the rows?"],
        ),
        (
            {"a": 9, "b": 9, "N/A": 4},
            ["the class 'N/A' (4 training rows) may stand for no label; it is learned like any other"],
        ),
    ],
)
def test_what_is_odd_about_classes(counted: dict[str, int], remarks: list[str]) -> None:
    assert class_remarks(counted, "stars") == remarks


def test_names_that_are_not_alike() -> None:
    assert alike({"entailment": 1, "neutral": 1, "not entailment": 1}) == []
    assert alike({"not entailment": 1, "notentailment": 1}) == [["not entailment", "notentailment"]]


# --- lengths and repeats


def test_lengths() -> None:
    assert percentiles([1] * 95 + [9] * 4 + [100]) == [1, 1, 100]
    found = Findings()
    found.add_lengths("words a text", {"train": list(range(1, 101)), "test": [3]})
    assert found.notes() == ["words a text (train): median 50, 95 % at most 95, longest 100"]
    assert found.as_facts()["lengths"]["words a text"]["test"] == {"median": 3, "percentile_95": 3, "longest": 3}


@given(st.lists(st.integers(0, 5), max_size=40))
def test_repeats_are_those_that_a_set_lacks(contents: list[int]) -> None:
    found = Findings()
    found.add_repeats("train", np.array(contents, dtype=np.uint64))
    assert found.repeated == {"train": len(contents) - len(set(contents))}


def test_repeats_and_leaks_are_said() -> None:
    train = [*some(20), *some(5)]
    loaded = load(None, {"train": train, "valid": some(3, 40), "test": [*some(2, 40), *some(4, 60)]})
    assert loaded.findings.repeated == {"train": 5, "valid": 0, "test": 0}
    assert "rows that repeat the content of another of their split: train 5, valid 0, test 0" in loaded.findings.notes()
    assert loaded.notes == ["2 of 6 test rows also occur in valid; they are kept"]


def test_one_text_in_most_rows_is_said() -> None:
    one = [{"review": "no comment", "stars": 1 + i % 2} for i in range(40)]
    found = load(None, {"train": some(20), "valid": some(3, 40), "test": [*one, *some(18, 60)]}).findings
    assert found.remarks[0] == "40 of 58 test rows have one and the same content"


# --- rows without text


@pytest.mark.parametrize("blank", ["", "  ", None, "\t\n"])
def test_rows_without_text_are_counted_and_not_used(blank: str | None) -> None:
    made = [*some(100), *({"review": blank, "stars": 1} for _ in range(20))]
    loaded = load(None, made)
    assert [len(loaded.tables[split]) for split in SPLITS] == [80, 10, 10]
    assert loaded.counts["train"]["no_text"] == 20
    assert loaded.notes[0] == "20 of 120 train rows have no text and are not used"
    whole = load(None, some(100))
    assert {split: texts(loaded, split) for split in SPLITS} == {split: texts(whole, split) for split in SPLITS}


def test_a_split_without_any_text_is_refused() -> None:
    blank = [{"review": " ", "stars": 1}] * 5
    refuses(
        r"the train split has 0 rows that can be used \(5 of 5 train rows have no text and are not used\)",
        lambda: load(None, {"train": blank, "valid": some(3), "test": some(3)}),
    )
    refuses(
        "no row of the test split has a text and a label; valid: data.test_split=",
        lambda: load(None, {"train": some(9), "valid": some(3, 20), "test": blank}),
    )


def test_targets_that_are_all_empty_are_refused() -> None:
    pairs = [{"en": f"house {i}", "de": " "} for i in range(30)]
    refuses(
        r"0 rows that can be used \(30 of 30 train rows lack a side",
        lambda: Rows(pairs, source="en", target="de").load(),
    )


# --- carved splits


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60))
def test_a_carved_split_has_its_share_of_different_contents(hashes: list[int]) -> None:
    """Repeating rows moves none of them to another split."""
    once, repeated = np.array(sorted(set(hashes)), dtype=np.uint64), np.array(hashes * 3, dtype=np.uint64)
    shares = {"test": 0.1, "valid": 0.2}
    parts = {split: set(once[at].tolist()) for split, at in carve(once, shares).items()}
    assert {split: set(repeated[at].tolist()) for split, at in carve(repeated, shares).items()} == parts
    assert len(parts["test"]) == max(1, round(0.1 * len(once)))


# --- on the screen, and in data.yaml


def test_a_run_says_what_it_found(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"__label__{'-' if i % 9 == 0 else 'ab'[i % 2]} word{i} word\n" for i in range(100)]
    Path("stew.train").write_text("".join([*lines, "__label__a \n"]))
    assert gru_bench("train", "task=text_classification", "data.path=stew.train", "trainer.max_steps=1") == 0
    shown = capsys.readouterr().err
    for line in (
        "read as fastText's layout: __label__NAME is the label, the rest of the line the text",
        "1 of 101 train rows have no text and are not used",
        "words a text (train): median 2, 95 % at most 2, longest 2",
        "may stand for no label; it is learned like any other",
    ):
        assert line in shown
    found = OmegaConf.load(next(Path("mlartifacts").rglob("data.yaml")))
    assert sum(found.classes.train.values()) == 80
    assert found.lengths["words a text"].test.longest == 2
    assert "may stand for no label" in found.remarks[0]
    assert found.facts.train_no_text == 1


# --- files that people bring, beside this checkout


@pytest.fixture
def cases() -> Path:
    folder = REPOSITORY.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("the files that people bring are not beside this checkout (../shared/cases)")
    return folder


LABELED = {"text": "text", "label": "label"}
TAGGED = {"tokens": "tokens", "tags": "tags"}


@pytest.mark.parametrize(
    ("path", "columns", "sizes", "said"),
    [
        ("03_classes_not_said/header_twice.csv", LABELED, [161, 20, 20], "a header among the rows?"),
        ("03_classes_not_said/case.csv", LABELED, [160, 20, 20], "'Pos', 'POS', 'pos' differ by case"),
        (
            "03_classes_not_said/dash.jsonl",
            {"text": "sentence1", "label": "gold_label"},
            [160, 20, 20],
            "the class '-' (11 training rows) may stand for no label",
        ),
        (
            "11_missing_texts/reviews.jsonl",
            {"text": "reviewText", "label": "overall"},
            [144, 18, 18],
            "20 of 200 train rows have no text",
        ),
        ("12_files_by_suffix/SMSSpamCollection", LABELED, [160, 20, 20], "read as a table"),
        ("12_files_by_suffix/cooking.train", LABELED, [160, 20, 20], "read as fastText's layout"),
        ("12_files_by_suffix/cooking.txt", LABELED, [160, 20, 20], "read as fastText's layout"),
        ("12_files_by_suffix/aclImdb", LABELED, [36, 4, 40], "read as a folder a class"),
        ("12_files_by_suffix/wmt", {"source": "en", "target": "fr"}, [100, 20, 20], "read as a file a language"),
    ],
)
def test_cases_are_read(cases: Path, path: str, columns: dict[str, str], sizes: list[int], said: str) -> None:
    loaded = Rows(path=str(cases / path), **columns).load()  # type: ignore[arg-type]
    assert [len(loaded.tables[split]) for split in SPLITS] == sizes
    assert said in "; ".join([*loaded.notes, *loaded.findings.notes()])


@pytest.mark.parametrize(
    ("path", "columns", "message"),
    [
        ("12_files_by_suffix/en.conllu", TAGGED, "too few different rows to carve them from train (1 in 60 rows)"),
        ("12_files_by_suffix/eng.train", TAGGED, "too few different rows to carve them from train (1 in 60 rows)"),
        (
            "12_files_by_suffix/wmt",
            {"source": "source", "target": "target"},
            "there are en, fr; say which is which: data.source=en data.target=fr",
        ),
    ],
)
def test_cases_that_are_refused_name_the_way_on(cases: Path, path: str, columns: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        Rows(path=str(cases / path), **columns).load()  # type: ignore[arg-type]
    assert message in str(error.value)


def test_cases_of_running_text(cases: Path) -> None:
    one_line = Text(path=str(cases / "07_one_line_text" / "text8.txt"))
    assert sum(len(part.split()) for part in one_line.load().values()) == 20_000
    assert "the text is one line" in one_line.notes[-1]
    marked = Text(path=str(cases / "08_byte_order_mark_in_text" / "book.txt")).load()
    assert marked["train"].startswith("the bright")
