"""The classifier: padding, pooling, backends, and where its initial values come from."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gru_bench.backends.base import Backend
from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.base import Cell, Init
from gru_bench.cells.gru import GRU, GRUResetBefore
from gru_bench.cells.gru_article import GRUArticle
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.errors import UserError
from gru_bench.models.classifier import Classifier
from gru_bench.models.encoder import Encoder, num_parameters
from gru_bench.models.streams import Streams

SIZES = {"vocab_size": 11, "input_size": 5, "num_classes": 3}
POOLINGS = ["last", "mean", "max", "attention"]


def make(
    cell: type[Cell] = GRU,
    backend: Backend | None = None,
    seed: int = 0,
    *,
    hidden_size: int = 6,
    num_layers: int = 2,
    cell_init: Init = "uniform",
    sizes: dict[str, int] | None = None,
    **options: Any,
) -> Classifier:
    def make_cell(input_size: int, hidden: int, source: torch.Generator) -> Cell:
        return cell(input_size, hidden, source, init=cell_init)

    def build_encoder(input_size: int, streams: Streams, /, **encoder_options: Any) -> Encoder:
        return Encoder(
            input_size,
            make_cell,
            backend or Loop(),
            streams,
            hidden_size=hidden_size,
            num_layers=num_layers,
            device=torch.device("cpu"),
            dtype=torch.float32,
            **encoder_options,
        )

    defaults: dict[str, Any] = {
        "input": "tokens",
        "embedding_size": 4,
        "pooling": "last",
        "dense": [7],
        "bidirectional": False,
        "dropout": 0.0,
        "init": "uniform",
    }
    return Classifier(sizes or SIZES, build_encoder, Streams(seed), **(defaults | options))


def sequences(features: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    if features:
        return [torch.randn(T, 5, generator=generator) for T in (4, 1, 7)]
    return [torch.randint(1, 11, (T,), generator=generator) for T in (4, 1, 7)]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("backend", [Loop, Vendor])
def test_padding_changes_nothing(
    pooling: str, bidirectional: bool, features: bool, backend: Callable[[], Backend]
) -> None:
    options: dict[str, Any] = {"input": "features", "embedding_size": None} if features else {}
    model = make(LSTM, backend(), pooling=pooling, bidirectional=bidirectional, **options)
    rows = sequences(features)
    alone = torch.cat([model(row[:, None]) for row in rows])
    # what stands in the padding must not matter either
    padded = nn.utils.rnn.pad_sequence(rows, padding_value=3)
    lengths = torch.tensor([len(row) for row in rows])
    torch.testing.assert_close(model(padded, lengths), alone, atol=1e-6, rtol=1e-5)
    longer = torch.cat([padded, torch.full_like(padded[:2], 2)])
    torch.testing.assert_close(model(longer, lengths), alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_backends_agree(pooling: str, bidirectional: bool, cell: type[Cell]) -> None:
    loop, vendor = (make(cell, b, pooling=pooling, bidirectional=bidirectional) for b in (Loop(), Vendor()))
    tokens = nn.utils.rnn.pad_sequence(sequences(features=False))
    lengths = torch.tensor([4, 1, 7])
    logits, same = loop(tokens, lengths), vendor(tokens, lengths)
    torch.testing.assert_close(logits, same, atol=1e-6, rtol=1e-5)
    logits.square().sum().backward()
    same.square().sum().backward()
    torch.testing.assert_close(loop.embedding.weight.grad, vendor.embedding.weight.grad, atol=1e-6, rtol=1e-4)
    assert num_parameters(loop) == num_parameters(vendor)


@pytest.mark.parametrize(("pooling", "pool"), [("mean", lambda h: h.mean(dim=0)), ("max", lambda h: h.amax(dim=0))])
def test_pooling_is_what_it_says(pooling: str, pool: Callable[[Tensor], Tensor]) -> None:
    model = make(pooling=pooling, dense=[])
    tokens = sequences(features=False)[2][:, None]
    h_TBH, _ = model.encoder(model.embedding(tokens))
    torch.testing.assert_close(model(tokens), model.output(pool(h_TBH)))


def test_attention_is_a_mean_by_learned_weights() -> None:
    model = make(pooling="attention", dense=[])
    tokens = nn.utils.rnn.pad_sequence(sequences(features=False))
    lengths = torch.tensor([4, 1, 7])
    h_TBH, _ = model.encoder(model.embedding(tokens), None, lengths)
    pooled, weights_TB = model.attention(h_TBH, lengths)
    for row, length in enumerate(lengths.tolist()):
        h_TH = h_TBH[:length, row]
        hidden = torch.tanh(h_TH @ model.attention.hidden.weight.T + model.attention.hidden.bias)
        expected = (hidden @ model.attention.v_1H[0]).softmax(dim=0)
        torch.testing.assert_close(weights_TB[:length, row], expected)
        torch.testing.assert_close(pooled[row], expected @ h_TH)
        assert not weights_TB[length:, row].any()
    torch.testing.assert_close(model(tokens, lengths), model.output(pooled))
    assert num_parameters(model) == num_parameters(make(dense=[])) + 6 * 6 + 6 + 6


def test_last_of_both_directions_has_read_the_whole_sequence() -> None:
    model = make(bidirectional=True, num_layers=1, dense=[])
    tokens = torch.randint(0, 11, (9, 1), generator=torch.Generator().manual_seed(1))
    x_TBE = model.embedding(tokens).detach().requires_grad_()
    h_TBH, state = model.encoder(x_TBE)
    pooled = model._pool(h_TBH, None)
    torch.testing.assert_close(pooled, torch.cat([state[0][0], state[0][1]], dim=1))
    for half in pooled.split(6, dim=1):
        (grad,) = torch.autograd.grad(half.sum(), x_TBE, retain_graph=True)
        assert (grad.abs().sum(dim=2) > 0).all()


def test_dense_layers_are_rectified_and_the_output_is_not() -> None:
    model = make(dense=[7, 5])
    assert [(layer.in_features, layer.out_features) for layer in model.dense] == [(6, 7), (7, 5)]
    tokens = sequences(features=False)[2][:, None]
    h_TBH, _ = model.encoder(model.embedding(tokens))
    expected = model.output(model.dense[1](model.dense[0](h_TBH[-1]).clamp(min=0)).clamp(min=0))
    torch.testing.assert_close(model(tokens), expected)


def test_one_hot_tokens_are_columns_of_the_input_weights() -> None:
    model = make(RNN, embedding_size=None, num_layers=1, dense=[])
    cell = model.encoder.stacks[0].cells[0]
    assert cell.W.shape == (6, 11)
    expected = model.output(torch.tanh(cell.W[:, 4] + cell.b)[None])
    torch.testing.assert_close(model(torch.tensor([[4]])), expected)


def test_dropout_acts_in_training_alone() -> None:
    model = make(dropout=0.5)
    tokens = sequences(features=False)[2][:, None]
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize("init", ["uniform", "keras"])
def test_initial_values_come_from_the_generator_alone(init: Init) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = make(seed=3, init=init, cell_init=init)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = make(seed=3, init=init, cell_init=init), make(seed=4, init=init, cell_init=init)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert torch.equal(value, other.state_dict()[name]) == (not value.any())


def test_state_dict_describes_it_fully() -> None:
    one, other = make(seed=0, bidirectional=True), make(seed=1, bidirectional=True)
    tokens = sequences(features=False)[2][:, None]
    assert not torch.equal(one(tokens), other(tokens))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(tokens), other(tokens))


def test_keras_initial_values() -> None:
    """Glorot's bound is sqrt(6 / (in + out)); U has orthonormal columns; biases are zero."""
    model = make(
        GRUArticle,
        hidden_size=64,
        num_layers=1,
        cell_init="keras",
        init="keras",
        input="features",
        embedding_size=None,
        dense=[32],
    )
    cell = model.encoder.stacks[0].cells[0]
    model.requires_grad_(False)
    torch.testing.assert_close(cell.U.T @ cell.U, torch.eye(64), atol=1e-5, rtol=0)
    for weight, fan_in, fan_out in ((cell.W, 5, 3 * 64), (model.dense[0].weight, 64, 32), (model.output.weight, 32, 3)):
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.8 * bound
        assert weight.var() == pytest.approx(bound**2 / 3, rel=0.25)
    for bias in (cell.b, model.dense[0].bias, model.output.bias):
        assert not bias.any()


DENSE = 128 * 64 + 64 + 64 * 32 + 32 + 32 * 16 + 16 + 16 + 1


def layers(gates: int, extra: int = 0) -> int:
    """Three layers of 128 units over 64 features, one bias a gate."""
    return sum(gates * 128 * (D + 128 + 1) + extra for D in (64, 128, 128))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (RNN, 101_377),
        (LSTM, 372_865),
        # with reset_after=False Keras counts 3 * H * (D + H + 1) a layer; its default has a second bias of 3 * H, of
        # which two thirds are redundant and are left out here
        (GRUResetBefore, 282_369),
        (GRU, 282_753),
        (GRUArticle, 282_369),
    ],
)
def test_parameters_of_the_articles_model(cell: type[Cell], expected: int) -> None:
    formula = {RNN: layers(1), LSTM: layers(4), GRU: layers(3, extra=128)}.get(cell, layers(3)) + DENSE
    with torch.device("meta"):
        model = make(
            cell,
            hidden_size=128,
            num_layers=3,
            input="features",
            embedding_size=None,
            dense=[64, 32, 16],
            sizes={"input_size": 64, "num_outputs": 1},
        )
    assert num_parameters(model) == formula == expected
    assert all(parameter.is_meta for parameter in model.parameters())


def test_features_are_not_embedded() -> None:
    with pytest.raises(UserError, match="embedding_size=4"):
        make(input="features")
