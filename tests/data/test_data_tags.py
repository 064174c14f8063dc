"""The loader of rows whose columns are lists: words and their tags."""

from typing import Any

import pytest
from made_rows import refuses

from gru_bench.data.rows import SPLITS, Loaded, Rows, contents

pytestmark = pytest.mark.usefixtures("own_caches")


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
    ("words", "pos", "counts"),
    [
        (["a", "b"], ["X"], "2 tokens and 1 tags"),
        ([], ["X"], "0 tokens and 1 tags"),
        (["a"], [], "1 tokens and 0 tags"),
    ],
)
def test_words_and_tags_are_equally_many(words: list[str], pos: list[str], counts: str) -> None:
    splits = {
        "train": tagged(["X"], ["Y"]),
        "valid": tagged(["X"]),
        "test": [*tagged(["X"], None), {"words": words, "pos": pos}],
    }
    refuses(
        rf"data\.tokens=words, data\.tags=pos: row 3 of the test split has {counts}; valid: one tag for each token",
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
