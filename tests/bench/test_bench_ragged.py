"""What ``bench/ragged.py`` compares: lengths that are what they say, and the same sums however they are run."""

import json
import sys
from itertools import pairwise

import pytest
import torch
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import ragged

from gru_bench.measure.parity import Parity


@pytest.mark.parametrize("name", ragged.LENGTHS)
def test_lengths_reach_the_longest_and_never_nothing(name: str) -> None:
    for T, B in ((1, 1), (100, 32), (7, 50)):
        lengths = ragged.LENGTHS[name](T, B)
        assert len(lengths) == B
        assert (min(lengths) >= 1, max(lengths)) == (True, T)
        assert all(a <= b for a, b in pairwise(lengths))


def test_sentences_are_mostly_short() -> None:
    lengths = ragged.sentences(100, 32)
    assert sorted(lengths)[16] == pytest.approx(20, abs=1)
    assert sum(lengths) < 0.3 * 100 * 32


@pytest.mark.parametrize("cell", ragged.MODULES)
def test_packed_sequences_compute_what_lengths_do(cell: str) -> None:
    packed, module = ragged.layer_of(ragged.PACKED, cell, 4)
    ours, stack = ragged.layer_of("loop", cell, 4)
    for theirs, values in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), ("W", "U", "b"), strict=True):
        getattr(module, theirs).data.copy_(stack.cell_tensors()[0][values])  # type: ignore[operator]
    module.bias_hh_l0.data.zero_()
    x, lengths = torch.randn(6, 3, 4), torch.tensor([2, 6, 1])
    torch.testing.assert_close(packed(x, lengths), ours(x, lengths))


def test_it_prints_a_line_of_json_and_refuses_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--cells=gru", "--backends=loop,packed", "--size=6x4x3", "--rounds=20", "--threads=1"]
    assert ragged.main(options) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["backend"], row["lengths"]) for row in summary["rows"]] == [
        (backend, name) for backend in ("loop", "packed") for name in ("equal", "uniform", "sentences")
    ]
    assert all(row["us_a_token"] > 0 for row in summary["rows"])
    assert all(row["same_B_low"] <= row["same_B"] <= row["same_B_high"] for row in summary["rows"])
    assert [row["kernel"] for row in summary["rows"]] == ["Python loop"] * 3 + ["ATen loop"] * 3
    for bad in ("--cells=gruu", "--lengths=long", "--size=6x4", "--rounds=19", "--backends=none"):
        assert ragged.main([bad]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def given() -> dict[str, float]:
    """Microseconds a token of every batch: unequal lengths cost a quarter more than full ones of as many sequences."""
    kinds = {"ragged": 1.25, "same_B": 1.0, "same_T": 1.0}
    return {f"{name} {kind}": 1.0 if name == "equal" else us for name in ragged.LENGTHS for kind, us in kinds.items()}


@pytest.mark.parametrize(("backend", "code"), [("bptt:native=never", 1), ("loop", 0)])
def test_more_than_the_limit_fails_our_own_backend(
    backend: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    us = given()
    monkeypatch.setattr(ragged, "cores_used_by_others", lambda _: 0.0)
    monkeypatch.setattr(
        ragged, "turns", lambda arms, rounds: {key: [us[key.partition(" ")[2]]] * rounds for key in arms}
    )
    assert ragged.main(["--cells=rnn", f"--backends={backend}", "--size=4x3x3", "--threads=1"]) == code
    *_, equal, uniform, sentences, summary = capsys.readouterr().out.splitlines()
    assert "above" not in equal
    assert equal.endswith("same B in the noise")
    assert "1.25 (1.25..1.25)" in uniform
    assert uniform.endswith("above 1.1") == sentences.endswith("above 1.1") == bool(code)
    assert {row["floor"] for row in json.loads(summary)["rows"]} == {1.005}


def test_what_is_red_is_not_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    red = Parity(passed=False, output_error=0.5, gradient_error=0.1, tolerance=1e-5)
    monkeypatch.setattr(ragged.parity, "check", lambda *_: red)
    assert ragged.main(["--cells=rnn", "--backends=loop", "--size=4x3x3", "--threads=1"]) == 1
    assert "rnn   loop     not timed: parity is red: 5.0e-01" in capsys.readouterr().out
