"""Hidden sizes at equal parameters, against the numbers that can be worked out by hand."""

from functools import partial

import pytest
import torch

from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.models.budgets import Hidden, Parameters
from gru_bench.models.encoder import MakeCell


def cell_count(make_cell: MakeCell, hidden_size: int) -> int:
    """Parameters of one layer alone, with 128 inputs."""
    with torch.device("meta"):
        return sum(p.numel() for p in make_cell(128, hidden_size, torch.Generator("cpu")).parameters())


def test_equal_hidden_size_is_the_size_asked_for() -> None:
    assert Hidden().solve(77, GRU, cell_count) == 77


@pytest.mark.parametrize("hidden_size", [1, 2, 16, 128, 257])
@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_no_other_size_comes_closer(cell: MakeCell, hidden_size: int) -> None:
    wanted = cell_count(LSTM, hidden_size)
    solved = Parameters(reference=LSTM).solve(hidden_size, cell, cell_count)
    distance = {size: abs(cell_count(cell, size) - wanted) for size in range(max(1, solved - 3), solved + 4)}
    assert distance[solved] == min(distance.values())


def test_the_reference_gets_its_own_size() -> None:
    assert Parameters(reference=LSTM).solve(100, partial(LSTM, forget_bias=0.0), cell_count) == 100


def test_known_ratio_of_gru_to_lstm() -> None:
    # input width held at 128: 4 H (D + H + 1) = 3 G (D + G + 1) + G gives G / H = 1.21
    solved = Parameters(reference=LSTM).solve(128, GRU, cell_count)
    assert solved / 128 == pytest.approx(1.21, abs=0.01)
