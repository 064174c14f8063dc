"""The loader of rows: every kind of source, columns, splits and labels."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_rows import folder, load, some, texts, write

from gru_bench.data import source
from gru_bench.data.rows import SPLITS, Rows, contents
from gru_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_caches")


# --- sources


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_folder_of_every_kind_gives_the_same(tmp_path: Path, kind: str) -> None:
    loaded = load(folder(tmp_path, kind, train=some(9), validation=some(3, 20), test=some(4, 40)))
    assert {split: len(loaded.tables[split]) for split in SPLITS} == {"train": 9, "valid": 3, "test": 4}
    assert texts(loaded, "valid") == [row["review"] for row in some(3, 20)]
    assert loaded.classes == ["1", "2", "3"]
    assert contents(loaded.tables["test"], "label") == [i % 3 for i in range(40, 44)]
    assert loaded.notes == []


def test_rows_made_in_python() -> None:
    splits = {"train": some(9), "dev": some(3, 20), "test": (row for row in some(4, 40))}
    loaded = load(None, splits)
    assert {split: len(loaded.tables[split]) for split in SPLITS} == {"train": 9, "valid": 3, "test": 4}
    one = Rows(some(9), text="review", label="stars").source_id()
    assert one.startswith("rows:")
    assert one == Rows(iter(some(9)), text="review", label="stars").source_id()
    assert one != Rows(some(8), text="review", label="stars").source_id()


def test_rows_that_are_no_dictionaries() -> None:
    with pytest.raises(UserError, match=r"rows of train: row 1 is a str; valid: dictionaries"):
        Rows([{"review": "a"}, "b"], text="review")  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.tsv", "reviews.jsonl", "reviews.parquet"])
def test_one_file_is_training_data_and_the_rest_is_carved(tmp_path: Path, name: str) -> None:
    loaded = load(write(tmp_path / name, some(100)))
    assert {split: len(loaded.tables[split]) for split in SPLITS} == {"train": 80, "valid": 10, "test": 10}
    assert sorted(text for split in SPLITS for text in texts(loaded, split)) == sorted(
        row["review"] for row in some(100)
    )
    assert loaded.notes == [
        "no valid and no test split in the source: carved from train by a fixed hash of the row's content "
        "(0.1 of train for valid and 0.1 of train for test)"
    ]


def test_where_the_rows_come_from_does_not_move_them(tmp_path: Path) -> None:
    one, two = load(write(tmp_path / "a.csv", some(100))), load(None, list(reversed(some(100))))
    for split in SPLITS:
        assert sorted(texts(one, split)) == sorted(texts(two, split))


def test_words_that_pandas_takes_for_missing_are_words(tmp_path: Path) -> None:
    rows = [{"review": word, "stars": word} for word in ("None", "NA", "null", "nan")] * 2
    loaded = load(folder(tmp_path, train=rows, validation=rows, test=rows))
    assert loaded.classes == ["NA", "None", "nan", "null"]
    assert loaded.counts["train"]["unlabeled"] == 0


def test_a_quote_between_tabs_swallows_nothing(tmp_path: Path) -> None:
    file = tmp_path / "quotes.tsv"
    lines = [f'"stray {i}\t{i % 2}\n' for i in range(20)]
    file.write_text("review\tstars\n" + "".join(lines))
    loaded = load(file)
    assert sum(len(loaded.tables[split]) for split in SPLITS) == 20


def test_columns_inside_columns(tmp_path: Path) -> None:
    rows = [{"translation": {"en": f"house {i}", "de": f"Haus {i}"}} for i in range(20)]
    path = str(write(tmp_path / "pairs.jsonl", rows))
    loaded = Rows(path=path, source="translation.en", target="translation.de").load()
    assert set(contents(loaded.tables["train"], "source")) < {f"house {i}" for i in range(20)}
    with pytest.raises(
        UserError, match=r"data\.source=en: no such column .* there are translation\.en, translation\.de"
    ):
        Rows(path=path, source="en", target="translation.de").load()


def test_lists_of_words_and_of_tags(tmp_path: Path) -> None:
    rows = [{"words": ["a", f"b{i}"], "pos": ["DET", "NOUN" if i % 2 else "VERB"]} for i in range(20)]
    loaded = Rows(path=str(write(tmp_path / "tags.jsonl", rows)), tokens="words", tags="pos").load()
    assert loaded.classes == ["DET", "NOUN", "VERB"]
    assert {tuple(row) for row in contents(loaded.tables["train"], "tags")} == {(0, 1), (0, 2)}


def test_a_folder_may_be_called_like_a_reader_of_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, "jsonl", train=some(9), validation=some(3, 20), test=some(4, 40)).rename("text")
    assert len(load(Path("text")).tables["train"]) == 9


@pytest.mark.parametrize("revision", [None, source.CONVERTED])
def test_a_configuration_is_a_folder_on_the_hubs_converted_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    import datasets

    for name, count in (("one", 9), ("two", 5)):
        write(tmp_path / "hub" / name / "train" / "0000.parquet", some(count))
    read, asked = datasets.load_dataset, []

    def load_dataset(path: str, **options: Any) -> Any:
        asked.append(options | {"path": path})
        return read(str(tmp_path / "hub"), data_dir=options.get("data_dir"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(source, "go_offline_if_unreachable", lambda: None)
    found = source.load_splits("some/set", "two", revision)
    assert len(found["train"]) == (14 if revision is None else 5)
    chosen = {"name": "two"} if revision is None else {"data_dir": "two"}
    assert asked == [{"path": "some/set", "revision": revision} | chosen]


# --- splits


def test_splits_can_be_chosen(tmp_path: Path) -> None:
    path = folder(tmp_path, train=some(50), validation=some(3, 60), test=[{"review": "x", "stars": -1}])
    loaded = load(path, test_split="validation")
    assert texts(loaded, "test") == [row["review"] for row in some(3, 60)]
    assert len(loaded.tables["valid"]) == 5
    with pytest.raises(UserError, match=r"data\.valid_split=extra: no such split; there are test, train, valid"):
        load(path, valid_split="extra")
    with pytest.raises(UserError, match="one split cannot be two"):
        load(path, valid_split="test", test_split="test")


def test_fractions_are_nested_and_leave_the_other_splits_alone() -> None:
    by_fraction = {f: load(None, some(500), fraction=f) for f in (0.05, 0.1, 0.2, 0.5, 1.0)}
    parts = [set(texts(loaded, "train")) for loaded in by_fraction.values()]
    assert [len(part) for part in parts] == [20, 40, 80, 200, 400]
    for smaller, larger in pairwise(parts):
        assert smaller < larger
    for split in ("valid", "test"):
        assert len({tuple(texts(loaded, split)) for loaded in by_fraction.values()}) == 1
    assert (
        "data.fraction=0.05: 20 of 400 training rows are used, the vocabulary is that of all" in by_fraction[0.05].notes
    )
    assert by_fraction[0.05].counts["train"] == {
        "no_text": 0,
        "unlabeled": 0,
        "before_fraction": 400,
        "rows": 20,
    }


def test_rows_of_equal_text_stay_together() -> None:
    twice = some(60) + some(60)
    loaded = load(None, twice)
    parts = [set(texts(loaded, split)) for split in SPLITS]
    assert sum(map(len, parts)) == 60
    assert not loaded.counts["test"]["also_in_train"]


def test_rows_in_train_and_test_are_counted_and_kept(tmp_path: Path) -> None:
    shared = [{"review": f" {some(1)[0]['review']} ", "stars": 1}]
    loaded = load(folder(tmp_path, train=some(9), validation=some(3, 20), test=some(4, 40) + shared))
    assert loaded.counts["test"] == {
        "no_text": 0,
        "unlabeled": 0,
        "rows": 5,
        "also_in_train": 1,
        "also_in_valid": 0,
    }
    assert loaded.notes == ["1 of 5 test rows also occur in train; they are kept"]


@pytest.mark.parametrize(
    ("name", "options", "shared"),
    [
        ("sst2", {"text": "sentence", "label": "label"}, 1),
        ("imdb_5k", {"text": "text", "label": "label"}, 7),
        ("linzen_numpred", {"text": "text", "label": "label"}, 494),
    ],
)
def test_what_is_known_of_real_sets_is_found(
    shared_data: Path, name: str, options: dict[str, str], shared: int
) -> None:
    # valid_share: nearly all rows stay in train where a validation split is carved
    loaded = Rows(path=str(shared_data / name), valid_share=0.0001, **options).load()
    assert loaded.counts["test"]["also_in_train"] == shared


# --- labels


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        ([3, 1, 10, 2], ["1", "2", "3", "10"]),
        (["neg", "pos", " neg ", "neutral"], ["neg", "neutral", "pos"]),
        ([-1, 1, 0, 1], ["-1", "0", "1"]),
        ([True, False, True, False], ["False", "True"]),
        ([0.5, 1.0, 1.5, 1.0], ["0.5", "1", "1.5"]),
    ],
)
def test_classes_are_in_their_natural_order(given: list[Any], classes: list[str]) -> None:
    rows = [{"review": f"text {i}", "stars": value} for i, value in enumerate(given * 3)]
    loaded = load(None, {"train": rows, "valid": rows, "test": rows})
    assert loaded.classes == classes
    plain = [str(value).strip().removesuffix(".0") for value in given]
    assert [classes[i] for i in contents(loaded.tables["test"], "label")[:4]] == plain


def test_a_data_sets_own_names_are_taken(shared_data: Path) -> None:
    loaded = Rows(path=str(shared_data / "trec"), text="text", label="coarse_label").load()
    assert loaded.classes == ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]


def test_unlabeled_rows_are_counted_and_not_used(tmp_path: Path) -> None:
    blank = {"review": "no stars", "stars": None}
    loaded = load(folder(tmp_path, train=[*some(9), blank], validation=[blank, *some(3, 20)], test=some(4, 40)))
    assert [loaded.counts[split]["unlabeled"] for split in SPLITS] == [1, 1, 0]
    assert [len(loaded.tables[split]) for split in SPLITS] == [9, 3, 4]
    assert loaded.classes == ["1", "2", "3"]
    assert loaded.notes == [
        "1 of 10 train rows have no label and are not used",
        "1 of 4 valid rows have no label and are not used",
    ]


def test_minus_one_is_a_class_where_training_has_it_and_missing_where_not(tmp_path: Path) -> None:
    blank = [{"review": "no stars", "stars": -1}]
    loaded = load(folder(tmp_path, train=some(50), validation=some(3, 60), test=[*some(4, 40), *blank]))
    assert loaded.classes == ["1", "2", "3"]
    assert loaded.counts["test"]["unlabeled"] == 1


HIDDEN = [{"review": f"secret {i}", "stars": -1} for i in range(5)]


def test_a_test_split_without_labels_is_refused_or_stood_in_for_and_never_carved_unasked(tmp_path: Path) -> None:
    path = folder(tmp_path, train=some(50), validation=some(9, 60), test=HIDDEN)
    with pytest.raises(
        UserError, match=r"no row of the test split has a label; valid: data\.test_split=valid or train \(train: carved"
    ):
        load(path)
    loaded = load(path, fallback_test_split="validation")
    assert texts(loaded, "test") == [row["review"] for row in some(9, 60)]
    assert len(loaded.tables["valid"]) == 5
    assert len(loaded.tables["train"]) == 45
    assert "none of the 5 rows of the source's test split has a label: validation is used for the test" in loaded.notes
    # with labels nothing is stood in for
    labeled = folder(tmp_path, train=some(50), validation=some(9, 60), test=some(4, 80))
    assert texts(load(labeled, fallback_test_split="validation"), "test") == [row["review"] for row in some(4, 80)]
    carved = load(labeled, test_split="train")
    assert set(texts(carved, "test")) < {row["review"] for row in some(50)}
    assert texts(carved, "valid") == [row["review"] for row in some(9, 60)]


def test_a_validation_split_without_labels_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path, train=some(50), validation=HIDDEN, test=some(4, 40))
    with pytest.raises(
        UserError, match=r"no row of the valid split has a label; valid: data\.valid_split=test or train"
    ):
        load(path)
    assert len(load(path, valid_split="train").tables["valid"]) == 5


def test_phrases_of_training_sentences_are_carved_with_a_warning() -> None:
    sentences = [[f"a{i}", f"b{i}", f"c{i}", f"d{i}", f"e{i}"] for i in range(60)]
    phrases = [words[start:stop] for words in sentences for start, stop in ((0, 5), (0, 3), (1, 4), (2, 5))]
    rows = [{"review": " ".join(words), "stars": i % 2} for i, words in enumerate(phrases)]
    notes = [note for note in load(None, rows).notes if "stand inside training rows" in note]
    assert len(notes) == 2
    assert all("carved from near-duplicates" in note for note in notes)
    whole = [{"review": " ".join(words), "stars": i % 2} for i, words in enumerate(sentences)]
    assert not any("near-duplicates" in note for note in load(None, whole).notes)
