"""The loader of rows: every kind of source, columns, splits, labels, and what is said of bad input."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gru_bench.data import source
from gru_bench.data.rows import SPLITS, Loaded, Rows, contents
from gru_bench.errors import UserError

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's caches."""
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("GRU_BENCH_CACHE", str(folder / "own"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")


def some(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"review": f"text {WORDS[i % 10]} {i}", "stars": 1 + i % 3} for i in range(start, start + count)]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(exist_ok=True, parents=True)
    if file.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pd.DataFrame(rows).to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    return file


def folder(tmp_path: Path, kind: str = "csv", **splits: list[dict[str, Any]]) -> Path:
    for split, rows in splits.items():
        write(tmp_path / "set" / f"{split}.{kind}", rows)
    return tmp_path / "set"


def load(path: Path | None, made: Any = None, **options: Any) -> Loaded:
    columns = {"text": "review", "label": "stars"} | options
    return Rows(made, path=None if path is None else str(path), **columns).load()


def texts(loaded: Loaded, split: str) -> list[str]:
    return contents(loaded.tables[split], "text")


def refuses(match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=match) as error:
        call()
    assert "\n" not in str(error.value)


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
    assert "data.fraction=0.05: 20 of 400 training rows are used" in by_fraction[0.05].notes
    assert by_fraction[0.05].counts["train"] == {"unlabeled": 0, "before_fraction": 400, "rows": 20}


def test_rows_of_equal_text_stay_together() -> None:
    twice = some(60) + some(60)
    loaded = load(None, twice)
    parts = [set(texts(loaded, split)) for split in SPLITS]
    assert sum(map(len, parts)) == 60
    assert not loaded.counts["test"]["also_in_train"]


def test_rows_in_train_and_test_are_counted_and_kept(tmp_path: Path) -> None:
    shared = [{"review": f" {some(1)[0]['review']} ", "stars": 1}]
    loaded = load(folder(tmp_path, train=some(9), validation=some(3, 20), test=some(4, 40) + shared))
    assert loaded.counts["test"] == {"unlabeled": 0, "rows": 5, "also_in_train": 1}
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
    hidden = [{"review": f"secret {i}", "stars": -1} for i in range(5)]
    loaded = load(folder(tmp_path, train=some(50), validation=some(3, 60), test=hidden))
    assert "none of the 5 test rows of the source has a label: as if it had no such split" in loaded.notes
    assert len(loaded.tables["test"]) == 5
    assert not set(texts(loaded, "test")) & {row["review"] for row in hidden}
    assert loaded.counts["test"]["unlabeled"] == 5


# --- words and their tags


def tagged(*tags: list[Any] | None, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"words": None if row is None else [f"w{start + i}-{j}" for j in range(len(row))], "pos": row}
        for i, row in enumerate(tags)
    ]


def load_tagged(made: Any, **options: Any) -> Loaded:
    return Rows(made, **({"tokens": "words", "tags": "pos"} | options)).load()


def named_tags(names: list[str], **splits: list[list[int]]) -> Rows:
    """Rows whose tags bring their own names."""
    import datasets

    texts, tags = datasets.List(datasets.Value("string")), datasets.List(datasets.ClassLabel(names=names))
    features = datasets.Features({"words": texts, "pos": tags})

    class Named(Rows):
        def _read(self) -> dict[str, Any]:
            return {
                split: datasets.Dataset.from_list(tagged(*rows, start=100 * place), features=features)
                for place, (split, rows) in enumerate(splits.items())
            }

    return Named([], tokens="words", tags="pos")


def test_a_named_tag_that_train_lacks_is_counted() -> None:
    rows = named_tags(["O", "B", "I"], train=[[0, 1], [1, 0]], valid=[[0]], test=[[1, 2], [2], [0, -1]])
    loaded = rows.load()
    assert loaded.classes == ["O", "B", "I"]
    assert contents(loaded.tables["test"], "tags") == [[1, 2], [2]]
    assert [loaded.counts[split].get("unseen_tags") for split in SPLITS] == [None, 0, 2]
    assert loaded.notes == [
        "1 of 3 test rows have no label and are not used",
        "2 of 3 test words have a tag that no training row has (I)",
    ]


def test_a_tag_that_train_lacks_is_refused_without_names() -> None:
    splits = {"train": tagged(["X", "Y"], ["Y"]), "valid": tagged(["X"]), "test": tagged(["X"], ["Y", "Z"])}
    refuses(
        r"data\.tags=pos: row 2 of the test split has the tag 'Z', which no training row has; training has X, Y",
        lambda: load_tagged(splits),
    )


def test_a_rare_tag_may_go_to_a_split_that_is_carved() -> None:
    rows = tagged(*[["X", "X", "Y"]] * 40)
    for row in rows:
        row["pos"] = ["X", "X", "only in " + row["words"][0]]
    loaded = load_tagged(rows)
    assert loaded.classes is not None
    assert len(loaded.classes) == 41
    assert [loaded.counts[split].get("unseen_tags") for split in SPLITS] == [None, 4, 4]
    for split in SPLITS:
        for words, tags in zip(*(contents(loaded.tables[split], role) for role in ("tokens", "tags")), strict=True):
            assert loaded.classes[tags[2]] == f"only in {words[0]}"


def test_a_tag_that_a_fraction_leaves_out_is_counted() -> None:
    rows = tagged(*[["X", "Y"]] * 30) + tagged(["X", "rare"], start=30)
    splits = {"train": rows, "valid": tagged(["X"]), "test": tagged(["rare", "X"])}
    assert load_tagged(splits).counts["test"]["unseen_tags"] == 0
    by_seed = [load_tagged(splits, fraction=f).counts["test"]["unseen_tags"] for f in (0.1, 0.3, 0.9)]
    assert 1 in by_seed


def test_rows_without_a_word_are_counted_and_not_used() -> None:
    train = [*tagged(["X"], ["Y", "X"]), {"words": [], "pos": []}, *tagged(None)]
    loaded = load_tagged({"train": train, "valid": tagged(["X"]), "test": [*tagged(["Y"]), {"words": [], "pos": None}]})
    assert [loaded.counts[split]["empty"] for split in SPLITS] == [2, 0, 1]
    assert [loaded.counts[split]["unlabeled"] for split in SPLITS] == [0, 0, 0]
    assert [len(loaded.tables[split]) for split in SPLITS] == [2, 1, 1]
    assert loaded.notes[:2] == [
        "2 of 4 train rows hold no word and are not used",
        "1 of 2 test rows hold no word and are not used",
    ]
    good = {"train": tagged(["X"], ["Y"]), "valid": tagged(["X"])}
    for blank in ({"words": [], "pos": []}, {"words": None, "pos": None}):
        refuses("data: no row of the test split has a word in words", lambda b=blank: load_tagged(good | {"test": [b]}))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("words", "pos", "told"),
    [
        (["a", "b"], ["X"], "2 tokens and 1 tags"),
        ([], ["X"], "0 tokens and 1 tags"),
        (["a"], [], "1 tokens and 0 tags"),
    ],
)
def test_words_and_tags_are_equally_many(words: list[str], pos: list[str], told: str) -> None:
    splits = {
        "train": tagged(["X"], ["Y"]),
        "valid": tagged(["X"]),
        "test": [*tagged(["X"], None), {"words": words, "pos": pos}],
    }
    refuses(
        rf"data\.tokens=words, data\.tags=pos: row 3 of the test split has {told}; valid: one tag for each token",
        lambda: load_tagged(splits),
    )


def test_rows_whose_words_have_no_tags_are_unlabeled() -> None:
    rows = [*tagged(["X"], ["Y"]), {"words": ["a", "b"], "pos": None}, {"words": ["a", "b"], "pos": ["X", None]}]
    loaded = load_tagged({"train": rows, "valid": tagged(["X"]), "test": tagged(["X"])})
    assert loaded.counts["train"] == {"empty": 0, "unlabeled": 2, "rows": 2}


def test_one_tag_alone_or_as_many_as_words() -> None:
    refuses(
        "data.tags=pos: the training rows have only 'X'; valid: two tags or more",
        lambda: load_tagged(tagged(*[["X"]] * 30)),
    )
    every = [{"words": ["a", "b"], "pos": [f"{i}", f"{-i}"]} for i in range(1, 30)]
    splits = {"train": every, "valid": every, "test": every}
    refuses("data.tags=pos: 58 distinct values in 58 words: is that column one of tags?", lambda: load_tagged(splits))


def test_words_must_be_words() -> None:
    numbers = [{"words": [1, 2], "pos": ["X", "Y"]}] * 5
    refuses(
        r"data\.tokens=words: it must hold lists of words .* and that column holds list<", lambda: load_tagged(numbers)
    )
    flat = [{"words": ["a"], "pos": "X"}] * 5
    refuses(r"data\.tags=pos: it must hold lists \(JSON lines and parquet can\)", lambda: load_tagged(flat))


# --- bad input


def test_a_wrong_path_and_a_name_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuses(r"data\.path=\./nothing: no such folder or file", lambda: Rows(path="./nothing").load())
    refuses("no-org/no-set: cannot reach the hub, and there is no such folder", lambda: load(Path("no-org/no-set")))
    refuses(r"data\.path: name a folder, a file, or a data set", lambda: Rows(text="a"))


def test_a_wrong_column_lists_those_that_there_are(tmp_path: Path) -> None:
    path = folder(tmp_path, train=some(9))
    refuses(
        r"data\.text=txt: no such column in the train split of .*; there are review, stars",
        lambda: load(path, text="txt"),
    )
    refuses(r"data\.label=star: no such column", lambda: load(path, label="star"))
    refuses(r"data\.text=stars: it must hold text, and that column holds int64", lambda: load(path, text="stars"))
    refuses(r"data\.label: which column of data\.path=", lambda: Rows(path=str(path), text="review").require("label"))


def test_splits_with_different_columns(tmp_path: Path) -> None:
    path = folder(tmp_path, train=some(50), test=[{"review": "a"}])
    loaded = load(path)
    assert "none of the 1 test rows of the source has a label: as if it had no such split" in loaded.notes
    assert texts(loaded, "test") != ["a"]
    write(path / "test.csv", [{"review": "a", "grade": 1}])
    refuses(
        r"its files must have the same columns, .* 1 new columns .*'grade'.* 1 missing columns .*'stars'",
        lambda: load(path),
    )


def test_one_class_or_none_or_as_many_as_rows() -> None:
    same = [{"review": f"text {i}", "stars": 5} for i in range(30)]
    refuses("data.label=stars: the training rows have only '5'; valid: two classes or more", lambda: load(None, same))
    blank = [{"review": f"text {i}", "stars": None} for i in range(30)]
    refuses("the train split has 0 rows that can be used", lambda: load(None, blank))
    every = [{"review": f"text {i}", "stars": str(i)} for i in range(90)]
    refuses("72 distinct values in 72 rows: is that column a label?", lambda: load(None, every))


def test_a_label_that_train_lacks(tmp_path: Path) -> None:
    other = [*some(2, 40), {"review": "new", "stars": 9}]
    refuses(
        r"row 3 of the test split has the label 9, which no training row has; training has 1, 2, 3",
        lambda: load(folder(tmp_path, train=some(9), validation=some(3, 20), test=other)),
    )


def test_a_named_class_that_train_lacks() -> None:
    import datasets

    def table(values: list[int]) -> Any:
        features = datasets.Features(
            {"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=["bad", "fair", "good"])}
        )
        rows = {"review": [f"text {i} {len(values)}" for i in range(len(values))], "stars": values}
        return datasets.Dataset.from_dict(rows, features=features)

    class Named(Rows):
        def _read(self) -> dict[str, Any]:
            return {"train": table([0, 2, 0, 2, -1]), "valid": table([0, 2]), "test": table([0, 2, 1])}

    refuses("row 3 of the test split has the label 'fair'", Named([], text="review", label="stars").load)


def test_an_empty_split_and_too_few_rows() -> None:
    refuses("the test split is empty", lambda: load(None, {"train": some(9), "valid": some(3), "test": []}))
    refuses("the train split has 1 row that can be used; valid: 2 or more", lambda: load(None, some(1)))
    refuses("the train split is empty", lambda: load(None, []))
    refuses("too few different rows to carve them from train", lambda: load(None, some(2)))
    refuses("too few different rows", lambda: load(None, some(1) * 9))
    refuses("1 of 80 training rows; valid: 2 or more", lambda: load(None, some(100), fraction=0.01))


@pytest.mark.parametrize("filler", [10, source.CHUNK_BYTES - 8, source.CHUNK_BYTES - 2])
def test_bytes_that_are_no_text_are_found(tmp_path: Path, filler: int) -> None:
    file = tmp_path / "set" / "train.csv"
    file.parent.mkdir()
    head = b"review,stars\nfine,1\n"
    body = (
        head + b"x" * (filler - len(head) - 2) + "é".encode() + b"caf\xe9 y,2\n"
        if filler > 100
        else head + b"caf\xe9,2\n"
    )
    file.write_bytes(body)
    at = body.index(b"\xe9", body.index(b"caf"))
    refuses(rf"train\.csv is not UTF-8: byte 0xe9 at position {at:,} \(line 3\)", lambda: load(file.parent))


def test_a_character_across_chunks_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    for shift in range(4):
        file.write_bytes(b"x" * (source.CHUNK_BYTES - shift) + "🙂é".encode())
        source.check_decodes(file, file)


def test_a_character_that_breaks_off_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "cut.txt"
    file.write_bytes(b"one\ntwo \xe2\x82")
    refuses(r"cut\.txt is not UTF-8: byte 0xe2 at position 8 \(line 2\)", lambda: source.check_decodes(file, file))


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("review,stars\na,1\nb,2,3,4\n")
    refuses("cannot be read as a data set: .*line 3", lambda: load(ragged))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"review": "a", "stars": 1}\n{"review": what\n')
    refuses("cannot be read as a data set: JSON parse error", lambda: load(broken))
    for name in ("empty.csv", "empty.jsonl", "empty.parquet"):
        (tmp_path / name).write_text("")
        refuses(f"{name} is an empty file", lambda name=name: load(tmp_path / name))  # type: ignore[misc]
    (tmp_path / "head.csv").write_text("review,stars\n")
    refuses("the train split is empty", lambda: load(tmp_path / "head.csv"))
