"""What ``bench/ragged.py`` compares: lengths that are what they say, and the same sums however they are run."""

import json
import sys
from itertools import pairwise

import pytest
import torch
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import ragged


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
    options = ["--cells=gru", "--backends=loop,packed", "--size=6x4x3", "--rounds=1", "--threads=1"]
    assert ragged.main(options) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["backend"], row["lengths"]) for row in summary["rows"]] == [
        (backend, name) for backend in ("loop", "packed") for name in ("equal", "uniform", "sentences")
    ]
    assert all(row["us_a_token"] > 0 for row in summary["rows"])
    for bad in ("--cells=gruu", "--lengths=long", "--size=6x4", "--rounds=0", "--backends=none"):
        assert ragged.main([bad]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
