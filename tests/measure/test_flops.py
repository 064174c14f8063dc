"""Arithmetic by formula, by hand and by torch's own counter; the machine's best product with a clock of our own."""

import itertools
from typing import cast

import pytest
import torch
from made_cells import CELLS, CPU, maker, seeded
from seq2seq_models import make_model, random_batch, words_before
from torch import Tensor, nn

from gru_bench.backends.base import Backend
from gru_bench.backends.bptt import BPTT
from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.errors import UserError
from gru_bench.measure.flops import counted_gflop, layer_gflop
from gru_bench.measure.peak import SECONDS_A_SIZE, _products, best_product_gflops
from gru_bench.models.products import flops_a_token

T, B, D, H = 4, 3, 5, 7


@pytest.mark.parametrize(("cell", "gates"), [(RNN, 1), (GRU, 3), (LSTM, 4)])
def test_layers_by_hand(cell: type[RNN] | type[GRU] | type[LSTM], gates: int) -> None:
    one, two = cell(D, H, seeded()), cell(H, H, seeded())
    W, U = gates * H * D, gates * H * H
    forward = layer_gflop([one], T, B, backward=False, input_gradient=False)
    assert forward == pytest.approx(2 * T * B * (W + U) / 1e9)
    whole = layer_gflop([one], T, B, backward=True, input_gradient=True)
    assert whole == pytest.approx(6 * T * B * (W + U) / 1e9)
    data = layer_gflop([one], T, B, backward=True, input_gradient=False)
    assert data == pytest.approx(2 * T * B * (2 * W + 3 * U) / 1e9)
    # the second layer reads the first one's outputs, which need a gradient
    stacked = layer_gflop([one, two], T, B, backward=True, input_gradient=False)
    assert stacked == pytest.approx(2 * T * B * (2 * W + 3 * U + 3 * U + 3 * U) / 1e9)


@pytest.mark.parametrize("name", CELLS)
def test_torchs_counter_sees_what_the_formula_says(name: str) -> None:
    cells = [maker(name)(D, H, seeded()), maker(name)(H, H, seeded())]
    stack = Loop().stack(cells, CPU, torch.float32)
    # a state that needs a gradient: then that of the first step is computed too
    state = tuple(torch.zeros(2, B, H, requires_grad=True) for _ in cells[0].states)
    for wants_dx in (False, True):
        x_TBD = torch.ones(T, B, D, requires_grad=wants_dx)
        counted = counted_gflop(lambda x=x_TBD: stack(x, state)[0].sum().backward())  # type: ignore[misc]
        assert counted == layer_gflop(cells, T, B, backward=True, input_gradient=wants_dx)
    with torch.no_grad():
        counted = counted_gflop(lambda: stack(x_TBD, state))
    assert counted == layer_gflop(cells, T, B, backward=False, input_gradient=False)


def test_from_zeros_the_first_step_back_is_not_computed() -> None:
    cell = LSTM(D, H, seeded())
    stack = Loop().stack([cell], CPU, torch.float32)
    counted = counted_gflop(lambda: stack(torch.ones(T, B, D))[0].sum().backward())
    formula = layer_gflop([cell], T, B, backward=True, input_gradient=False)
    assert formula - counted == pytest.approx(2 * B * cell.U.numel() / 1e9)


def test_a_whole_model_by_hand() -> None:
    """Embeddings cost nothing; attention's two sums over the source are the counter's alone."""
    model = make_model(bidirectional=True, dtype=torch.float32)
    S, batch = 3, random_batch([6, 6], [3, 3])
    steps, num = batch.inputs.shape
    with torch.no_grad():
        counted = counted_gflop(lambda: model(batch.inputs, None, words_before(batch.targets)))
    attention, encoder, decoder = model.attention, model.encoder, model.decoder
    assert attention is not None
    source = sum(cell.num_products for stack in encoder.stacks for cell in stack.cells)  # type: ignore[union-attr]
    bridged = sum(bridge.weight.numel() for bridge in model.bridges) * num * encoder.num_layers  # type: ignore[operator]
    target = flops_a_token(model) // 2 - source
    over_source = 2 * S * steps * num * decoder.output_size * (encoder.output_size // decoder.output_size)
    assert counted == pytest.approx(2 * (steps * num * source + bridged + S * num * target + over_source) / 1e9)


@pytest.mark.parametrize("backend", [Vendor(), BPTT()])
def test_the_counter_is_not_asked_about_what_it_cannot_see(backend: Backend) -> None:
    model = nn.Sequential(nn.Linear(D, D), backend.stack([GRU(D, H, seeded())], CPU, torch.float32))
    with pytest.raises(UserError, match=r"does not see into \w+; valid: .*backend=loop"):
        counted_gflop(lambda: model(torch.ones(T, B, D)))
    linear = nn.Linear(D, H)
    assert counted_gflop(lambda: linear(torch.ones(B, D))) == 2 * B * D * H / 1e9  # the refusal is not left behind


# the machine's best product


def ticking(*durations: float) -> "itertools.chain[float]":
    """Readings of a clock between which the durations pass, in pairs, and the last one for ever."""
    turns = itertools.chain(durations, itertools.repeat(durations[-1]))
    return itertools.chain.from_iterable((0.0, duration) for duration in turns)


def test_the_best_turn_counts() -> None:
    readings = ticking(2.0, 0.5, 1.0)
    rate = best_product_gflops(CPU, torch.float64, sizes=(100,), clock=lambda: next(readings))
    assert rate == pytest.approx(2 * 100**3 / 0.5 / 1e9)


def test_quick_turns_are_repeated_and_slow_sizes_end_it() -> None:
    asked = itertools.count()
    readings = ticking(SECONDS_A_SIZE / 10)
    best_product_gflops(CPU, torch.float64, sizes=(10,), clock=lambda: next(asked) * 0 + next(readings))
    assert next(asked) in (20, 22)  # two readings a turn
    slow = ticking(10.0)
    rate = best_product_gflops(CPU, torch.float64, sizes=(10, 1000), clock=lambda: next(slow))
    assert rate == pytest.approx(2 * 10**3 / 10.0 / 1e9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_rate_is_there_and_the_threads_are_as_before(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gru_bench.measure.peak.SECONDS_A_SIZE", 0.0)
    before = torch.get_num_threads()
    asked: list[int] = []
    count = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda number: (asked.append(number), count(number)))
    assert best_product_gflops(CPU, dtype, before + 1, sizes=(64,)) > 0
    assert asked == [before + 1, before]
    assert torch.get_num_threads() == before


def test_products_are_those_of_the_matrices() -> None:
    first, *others = (cast(Tensor, product()) for product in _products(32, CPU, torch.float32))
    assert all(torch.allclose(first, other, atol=1e-4) for other in others)
