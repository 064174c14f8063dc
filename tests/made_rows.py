"""Small data sets of rows, in Python and as files, and how tests load them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gru_bench.data.rows import Loaded, Rows, contents
from gru_bench.errors import UserError

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


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
