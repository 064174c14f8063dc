"""The committed table, and that its program runs. What the table must say is the issue's own promise."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import calibration

ROWS = json.loads(calibration.OUT.read_text())["rows"]


def test_every_promise_of_the_committed_table_holds() -> None:
    promised = [row for row in ROWS if row["promised"]]
    assert [row for row in promised if not row["within"]] == []
    for what in ("a winner named, no difference", "a difference of one margin found", "t interval, differences"):
        for scores in ("normal", "skewed", "bimodal"):
            assert {5, 10, 30} <= {row["n"] for row in promised if (row["what"], row["scores"]) == (what, scores)}
    winners = [row for row in promised if row["what"].startswith("a winner named")]
    assert {row["scores"] for row in winners} >= {"normal", "skewed", "bimodal", "seeds and examples", "six kinds"}
    assert any(row["n"] == "5 to 40" for row in winners)


def test_what_is_not_promised_stands_in_the_table_too() -> None:
    assert any(not row["within"] for row in ROWS if not row["promised"])


def test_program_makes_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "calibration.json"
    monkeypatch.setattr(sys, "argv", ["calibration.py", "--simulations", "4", "--out", str(out)])
    monkeypatch.setattr(calibration, "BCA_FROM", 10)
    monkeypatch.setattr(calibration, "SEEDS", (5, 10))
    calibration.main()
    made = json.loads(out.read_text())
    keys = [(row["what"], row["scores"], str(row["n"])) for row in made["rows"]]
    assert len(set(keys)) == len(keys)
    committed = {(row["what"].replace("200", "10"), row["scores"], str(row["n"])) for row in ROWS}
    assert set(keys) <= committed | {("BCa interval, differences", scores, "10") for scores in calibration.SHAPES}
    assert capsys.readouterr().out.count("\n") == len(keys) + 1


def test_the_made_scores_have_mean_zero_and_spread_one() -> None:
    rng = np.random.default_rng(0)
    for draw in calibration.SHAPES.values():
        scores = draw((200_000,), rng)
        assert scores.mean() == pytest.approx(0, abs=0.02)
        assert scores.std() == pytest.approx(1, abs=0.02)
    parts = [calibration.crossed(calibration.with_examples(calibration.normal)((10,), rng)) for _ in range(400)]
    truth = calibration.truth(10, examples=True)
    assert np.mean([part.seed_se**2 for part in parts]) == pytest.approx(truth.seed_se**2, rel=0.1)
    assert np.mean([part.example_se**2 for part in parts]) == pytest.approx(truth.example_se**2, rel=0.1)


def test_a_broken_promise_is_seen() -> None:
    bad = calibration.row("interval", "normal", 5, 0.95, [True] * 90 + [False] * 10, "coverage")
    good = calibration.row("interval", "normal", 10, 0.95, [True] * 94 + [False] * 6, "coverage")
    assert (bad["within"], good["within"]) == (False, True)
    assert not calibration.row("winner", "normal", 5, 0.05, [True] * 80 + [False] * 920, "error")["within"]
    assert calibration.row("winner", "normal", 5, 0.05, [True] * 10 + [False] * 990, "error")["within"]
    assert calibration.note([bad, good]) == "Not held: interval, normal, n = 5."
    assert calibration.note([good]) == "Every promise holds."


def test_until_decided_gives_seeds_to_the_undecided_alone() -> None:
    looked: list[int] = []

    def settled(scores: np.ndarray) -> calibration.Estimate:
        looked.append(len(scores))
        return calibration.seeds_only(scores)

    clear, open_ended = np.tile([10.0, 10.1], 20), np.tile([1.0, -1.0], 20)
    answers, named = calibration.until_decided(
        [clear, open_ended], [settled, calibration.seeds_only], [None, None], [5, 8, 12]
    )
    assert (answers, named) == (["first", "undecided"], True)
    assert set(looked) == {5}
