"""The language model: tied weights, carried state, initial values, dropout."""

import math

import pytest
import torch
from texts import given, letters, make_model, make_task
from torch import nn

from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.lstm import LSTM
from gru_bench.models.encoder import num_parameters

# letters of validation and test are not all in the few that are trained on
pytestmark = pytest.mark.usefixtures("unknown_words_allowed")


@pytest.mark.parametrize(("embedding_size", "has_projection"), [(8, False), (5, True)])
def test_tied_weights_are_one_matrix(embedding_size: int, has_projection: bool) -> None:
    task = make_task(given(letters(100)))
    model = make_model(task, tied=True, embedding_size=embedding_size)
    assert model.embedding.weight is model.output.weight
    assert isinstance(model.projection, nn.Linear) == has_projection
    V = task.sizes()["vocab_size"]
    cell = 3 * 8 * (embedding_size + 8 + 1) + 8
    expected = V * embedding_size + V + cell + (8 * embedding_size + embedding_size) * has_projection
    assert num_parameters(model) == expected
    logits_TBV, state = model(torch.zeros(3, 2, dtype=torch.int64))
    assert logits_TBV.shape == (3, 2, V)
    assert [s_LBH.shape for s_LBH in state] == [(1, 2, 8)]
    # values of the size of the output layer's: a softmax that is not saturated at the start
    assert model.output.weight.abs().max() <= 1 / math.sqrt(embedding_size)


def test_state_is_carried_and_counts_are_right() -> None:
    task = make_task(given(letters(100)))
    model = make_model(task, cell=LSTM)
    tokens_TB = torch.randint(4, (6, 2), generator=torch.Generator().manual_seed(0))
    whole_TBV, _ = model(tokens_TB)
    first_TBV, state = model(tokens_TB[:2])
    rest_TBV, _ = model(tokens_TB[2:], state)
    torch.testing.assert_close(torch.cat([first_TBV, rest_TBV]), whole_TBV)
    V = task.sizes()["vocab_size"]
    assert num_parameters(model) == V * 5 + 4 * 8 * (5 + 8 + 1) + V * (8 + 1)


def test_model_is_drawn_from_its_generator_and_described_by_its_state() -> None:
    task = make_task(given(letters(100)))
    tokens_TB = torch.randint(4, (6, 2), generator=torch.Generator().manual_seed(0))
    first, same, other = (make_model(task, seed, tied=True, embedding_size=8) for seed in (0, 0, 1))
    assert torch.equal(first(tokens_TB)[0], same(tokens_TB)[0])
    assert not torch.equal(first(tokens_TB)[0], other(tokens_TB)[0])
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(tokens_TB)[0], other(tokens_TB)[0])


@pytest.mark.parametrize("tied", [False, True])
def test_model_on_the_meta_device_counts_alike(tied: bool) -> None:
    task = make_task(given(letters(100)))
    with torch.device("meta"):
        counted = make_model(task, tied=tied)
    assert num_parameters(counted) == num_parameters(make_model(task, tied=tied))


@pytest.mark.parametrize("tied", [False, True])
def test_init_range_draws_every_parameter_anew(tied: bool) -> None:
    task = make_task(given(letters(100)))
    model, same = (make_model(task, cell=LSTM, hidden_size=40, tied=tied, init_range=0.1) for _ in range(2))
    for (name, values), other in zip(model.named_parameters(), same.parameters(), strict=True):
        assert torch.equal(values, other), name
        assert values.abs().max() <= 0.1, name
        assert values.abs().min() > 0, name  # no bias is left at zero
    values = torch.cat([values.detach().flatten() for values in model.parameters()])
    assert values.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.05)
    forget = model.encoder.stacks[0].cells[0].b[40:80]  # type: ignore[union-attr, index]
    assert forget.abs().max() <= 0.1


def test_a_scaled_embedding_is_the_embedding_times_the_root_of_its_size() -> None:
    task = make_task(given(letters(100)))
    tokens_TB = torch.randint(4, (6, 2), generator=torch.Generator().manual_seed(0))
    plain, scaled = (make_model(task, scale_embedding=on, embedding_size=9) for on in (False, True))
    assert not torch.equal(plain(tokens_TB)[0], scaled(tokens_TB)[0])
    with torch.no_grad():
        plain.embedding.weight *= 3
    assert torch.equal(plain(tokens_TB)[0], scaled(tokens_TB)[0])


def test_init_range_is_the_same_on_a_vendors_kernel() -> None:
    task = make_task(given(letters(100)))
    tokens_TB = torch.randint(4, (6, 2), generator=torch.Generator().manual_seed(0))
    readable, vendor = (make_model(task, cell=LSTM, backend=backend, init_range=0.1) for backend in (Loop(), Vendor()))
    torch.testing.assert_close(readable(tokens_TB)[0], vendor(tokens_TB)[0])
    assert num_parameters(readable) == num_parameters(vendor)


def test_dropout_acts_in_training_only() -> None:
    task = make_task(given(letters(100)))
    model = make_model(task, dropout=0.5)
    tokens_TB = torch.zeros(3, 2, dtype=torch.int64)
    assert not torch.equal(model(tokens_TB)[0], model(tokens_TB)[0])
    model.eval()
    assert torch.equal(model(tokens_TB)[0], model(tokens_TB)[0])
