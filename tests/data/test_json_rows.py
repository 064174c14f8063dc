"""Rows in JSON lines and JSON arrays."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from made_rows import load, refuses, some

from gru_bench.data import json_rows
from gru_bench.data.json_rows import read_json
from gru_bench.data.rows import SPLITS

pytestmark = pytest.mark.usefixtures("own_caches")


def of(tmp_path: Path, text: str, name: str = "a.jsonl") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def found(file: Path) -> Any:
    return read_json(file, None).to_pydict()


def test_lines_and_arrays_give_the_same(tmp_path: Path) -> None:
    rows = some(7)
    lines = of(tmp_path, "\n".join(map(json.dumps, rows)))
    array = of(tmp_path, json.dumps(rows, indent=2), "a.json")
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    wanted = {name: [row[name] for row in rows] for name in rows[0]}
    assert found(lines) == found(array) == found(packed) == wanted


def test_packed_rows_are_a_data_set(tmp_path: Path) -> None:
    packed = tmp_path / "set" / "train.jsonl.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in some(60)).encode()))
    for path in (packed, packed.parent):
        assert sum(len(load(path).tables[split]) for split in SPLITS) == 60


def test_missing_keys_and_nan_are_missing_values(tmp_path: Path) -> None:
    file = of(tmp_path, '{"a": "x"}\n\n{"b": NaN, "a": "NaN"}\n{"a": null, "b": 2.5, "c": {"d": [1]}}\n')
    assert found(file) == {
        "a": ["x", "NaN", None],
        "b": [None, None, 2.5],
        "c": [None, None, {"d": [1]}],
    }


def test_kinds_that_widen_from_batch_to_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "BATCH_ROWS", 1)
    file = of(tmp_path, '{"a": null}\n{"a": 1}\n{"a": 2.5, "b": {"c": 1}}\n{"b": {"d": "x"}}\n')
    assert found(file)["a"] == [None, 1.0, 2.5, None]
    assert found(file)["b"][2:] == [{"c": 1, "d": None}, {"c": None, "d": "x"}]


def test_dates_and_words_stay_texts(tmp_path: Path) -> None:
    assert found(of(tmp_path, '{"a": "2026-01-01"}\n{"a": "null"}\n')) == {"a": ["2026-01-01", "null"]}


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n\n{"a": what\n', r"a\.jsonl, line 3, column 7: no JSON: Expecting value; valid: one object a line"),
        ('{"a": 1}\n{"a": 2}, {"a": 3}\n', r"line 2, column 9: no JSON: Extra data"),
        ('{"a":\n1}\n', r"line 1, column \d: no JSON"),
        ('{"a": 1}\n["b"]\n', r"line 2: a list instead of an object; valid: one object a line, or one array"),
        ('[{"a": 1},\n{"a": }]', r"a\.jsonl, line 2, column 7: no JSON"),
        ('[{"a": 1}, "b"]', r"row 2: text instead of an object"),
        ("[]", "no row in it; valid: one object a line"),
        ("\n \n", "no row in it"),
        ('{"a": 1}\n{"a": 1, "b": 2, "a": 3}\n', r"line 2: an object gives a twice; valid: each key once"),
        ('{"a": "x"}\n{"a": 1}\n', r"line 2: the column a holds a number, and text in line 1; valid: one kind in each"),
        ('{"a": [1]}\n{"a": true}\n', r"line 2: the column a holds true or false, and a list in line 1"),
        ('{"a": "\\ud83d"}\n', r"a\.jsonl: .*surrogates"),
        ("[" * 100_000, "nested too deeply|no JSON"),
    ],
)
def test_what_is_no_row_of_json_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str, batch: int
) -> None:
    monkeypatch.setattr(json_rows, "BATCH_ROWS", batch)
    refuses(message, lambda: found(of(tmp_path, text)))
