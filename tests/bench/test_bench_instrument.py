"""``bench/instrument.py``: a short run of everything, and its judgement on made-up pairs."""

import json
import subprocess
import sys

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import instrument


def test_a_short_run_prints_a_table_and_a_line_of_json() -> None:
    command = [sys.executable, "bench/instrument.py", "--quick", "--only", "slower"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    *table, last = done.stdout.splitlines()
    document = json.loads(last)
    (row,) = document["rows"]
    assert table[0].startswith("slower")
    assert row["expected"] == "first"
    assert row["rounds"] >= 20
    assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
    assert document["summary"][0]["pairs"] == 1
    assert "thread" in document["instrument"]


@pytest.mark.parametrize(
    ("kind", "found", "kept"),
    [
        ("nothing", ["noise"] * 19 + ["first"], True),
        ("nothing", ["noise"] * 18 + ["first"] * 2, False),
        ("slower", ["first"] * 18 + ["noise"] * 2, True),
        ("slower", ["first"] * 17 + ["noise"] * 3, False),
        ("slower", ["first"] * 19 + ["second"], False),  # reversed
        ("burning", ["noise"] * 19 + ["first"], True),
        ("burning", ["noise"] * 19 + ["second"], False),
        ("burning", ["first"] * 20, False),
    ],
)
def test_what_keeps_a_promise(kind: str, found: list[str], kept: bool) -> None:
    expected = "noise" if kind == "nothing" else "first"
    rows = [{"kind": kind, "expected": expected, "found": one, "busy": False} for one in found]
    assert instrument.summary(kind, rows)["kept"] == kept


def test_bad_options_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert instrument.main(["--only", "nothing,sideways"]) == 2
    assert instrument.main(["--pairs", "0"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "instrument: --only=sideways: valid: nothing, slower, burning",
        "instrument: --pairs=0: must be at least 1",
    ]
