"""``bench/instrument.py``: a short run of everything, and its judgement on made-up pairs."""

import json
import subprocess
import sys

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import instrument


def test_a_short_run_prints_a_table_and_a_line_of_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument, "settle", lambda _: "settled")  # this process is pytest's
    assert instrument.main(["--quick", "--only", "slower"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    document = json.loads(last)
    (row,) = document["rows"]
    assert table[0].startswith("slower   layer")
    assert row["expected"] == "first"
    assert row["rounds"] >= 20
    assert row["ratio"]["low"] <= row["ratio"]["value"] <= row["ratio"]["high"]
    assert document["summary"][0]["pairs"] == 1


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
    assert instrument.summary(kind, [made(kind, expected, one) for one in found])["kept"] == kept


def made(kind: str, expected: str, found: str, low: float = 0.9, high: float = 1.1) -> instrument.Row:
    return {"kind": kind, "expected": expected, "found": found, "busy": False, "ratio": {"low": low, "high": high}}


def test_noise_whose_whole_interval_favours_the_slower_arm_is_reversed() -> None:
    for expected, low, high in (("first", 0.97, 0.99), ("second", 1.01, 1.03)):
        rows = [made("burning", expected, "noise") for _ in range(19)]
        assert instrument.summary("burning", rows)["kept"]
        assert not instrument.summary("burning", [*rows, made("burning", expected, "noise", low, high)])["kept"]
    assert not instrument.is_reversed(made("nothing", "noise", "noise", 1.001, 1.003))


def test_a_pair_that_fails_is_a_row_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = iter([subprocess.TimeoutExpired("python", 300), subprocess.CalledProcessError(3, "python")])

    def fail(*_: object, **__: object) -> None:
        raise next(problems)

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(instrument, "environment", dict)
    monkeypatch.setattr(instrument, "settle", lambda _: "settled")
    assert instrument.main(["--quick", "--only", "nothing,slower"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["nothing  layer   failed: not done within 300 s", "slower   layer   failed: exit code 3"]
    document = json.loads(lines[-1])
    assert [one["failed"] for one in document["summary"]] == [1, 1]


def test_coverage_is_simulated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrument, "settle", lambda _: "settled")
    assert instrument.main(["--quick", "--only", "coverage"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(document["rows"]) == 27
    assert sum(row["covered"] for row in document["rows"]) > 0.85 * 27
    row = document["rows"][0]
    assert instrument.summary("coverage", [row | {"covered": 0.93}])["kept"]
    assert not instrument.summary("coverage", [row | {"covered": 0.93}, row | {"covered": 0.89}])["kept"]


def test_bad_options_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert instrument.main(["--only", "nothing,sideways"]) == 2
    assert instrument.main(["--pairs", "0"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "instrument: --only=sideways: valid: nothing, slower, burning, coverage",
        "instrument: --pairs=0: must be at least 1",
    ]
