"""What the loader of rows says of data that it cannot use."""

from pathlib import Path
from typing import Any

import pytest
from made_rows import folder, load, refuses, some, write

from gru_bench.data.rows import Rows, contents

pytestmark = pytest.mark.usefixtures("own_caches")


def test_a_wrong_path_and_a_name_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuses(r"data\.path=\./nothing: no such folder or file", lambda: Rows(path="./nothing").load())
    refuses(r"data\.path=no-org/rows\.csv: no such folder or file", lambda: Rows(path="no-org/rows.csv").load())
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
    refuses(
        r"no row of the test split has a label; valid: data\.test_split=train \(train: carved from it\)",
        lambda: load(path),
    )
    write(path / "test.csv", [{"review": "a", "grade": 1}])
    refuses(
        r"test\.csv: its files must have the same columns, but this one has grade, and lacks stars, unlike train\.csv",
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


def test_a_row_is_named_by_its_number_in_the_source(tmp_path: Path) -> None:
    other = [{"review": "no label", "stars": None}, *some(2, 40), {"review": "new", "stars": 9}]
    refuses(
        "row 4 of the test split has the label 9",
        lambda: load(folder(tmp_path, "jsonl", train=some(9), validation=some(3, 20), test=other)),
    )


def test_a_row_of_a_carved_split_is_named_by_its_number_in_train() -> None:
    made = some(60)
    hidden = contents(load(None, made).tables["test"], "text")[0]
    at = next(i for i, row in enumerate(made) if row["review"] == hidden)
    made[at]["stars"] = 9
    refuses(
        rf"row {at + 1} of the train split, which was carved for test, has the label 9, which no training row has",
        lambda: load(None, made),
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


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("review,stars\na,1\nb,2,3,4\n")
    refuses(r"ragged\.csv, line 3: 4 fields under a header of 2; valid: 2 fields in each row", lambda: load(ragged))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"review": "a", "stars": 1}\n{"review": what\n')
    refuses(
        r"broken\.jsonl, line 2, column 12: no JSON: Expecting value; valid: one object a line", lambda: load(broken)
    )
    for name in ("empty.csv", "empty.jsonl", "empty.parquet"):
        (tmp_path / name).write_text("")
        refuses(f"{name} is an empty file", lambda name=name: load(tmp_path / name))  # type: ignore[misc]
    (tmp_path / "head.csv").write_text("review,stars\n")
    refuses("the train split is empty", lambda: load(tmp_path / "head.csv"))
