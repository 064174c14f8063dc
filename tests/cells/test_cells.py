"""Every cell on disk against its equations written out a second time, one matrix a gate, in numpy."""

import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import CELLS, CPU, build, equations, maker, seeded, with_options
from omegaconf import OmegaConf

from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell, Init
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.models.encoder import Encoder, num_parameters
from gru_bench.models.init import embedding, linear
from gru_bench.models.streams import Streams


@pytest.mark.parametrize("name", CELLS)
def test_a_step_is_its_equation(name: str) -> None:
    step = equations(name)
    cell = build(name)
    values = {key: p.detach().numpy() for key, p in cell.named_parameters()}
    x = torch.randn(4, 7, 3, generator=seeded(5), dtype=torch.float64)
    state = tuple(torch.randn(7, 5, generator=seeded(6 + k), dtype=torch.float64) for k in range(len(cell.states)))
    expected = tuple(s.numpy() for s in state)
    for x_BD, gx_BG in zip(x, cell.input_projection(x), strict=True):
        output, state = cell.step(gx_BG, state)
        expected = step(values, x_BD.numpy(), *expected)
        np.testing.assert_allclose(output.detach().numpy(), expected[0], rtol=1e-15, atol=1e-14)
        expected = expected[-len(cell.states) :]  # an output that is not a state stands before them
        for found, wanted in zip(state, expected, strict=True):
            np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-15, atol=1e-14)


def test_equations_are_given_the_options_that_they_name() -> None:
    def step(p: dict[str, Any], x: Any, h: Any, *, chrono_steps: int) -> tuple[Any, ...]:
        return (p["W"] * x + h + chrono_steps,)

    options = OmegaConf.create({"chrono_steps": 100, "init": "uniform"})
    assert with_options(step, options)({"W": 2}, 3, 5) == (111,)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    cell = build(name, input_size=2, hidden_size=3)
    stack = Loop().stack([cell], CPU, torch.float64)
    names, parameters = zip(*cell.named_parameters(), strict=True)
    x = torch.randn(3, 2, 2, generator=seeded(3), dtype=torch.float64, requires_grad=True)
    state = [
        torch.randn(1, 2, 3, generator=seeded(4 + k), dtype=torch.float64, requires_grad=True)
        for k in range(len(cell.states))
    ]

    def run(x: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        own = {f"cells.0.{key}": value for key, value in zip(names, rest[len(state) :], strict=True)}
        h, final = torch.func.functional_call(stack, own, (x, rest[: len(state)]))
        return h, *final

    assert torch.autograd.gradcheck(run, (x, *state, *parameters))


@pytest.mark.parametrize("name", CELLS)
def test_the_docstring_says_what_a_reader_needs(name: str) -> None:
    text = inspect.getdoc(type(build(name))) or ""
    for part in (".. math::", "Args:", "Shapes:", "Parameters: ", "Source: "):
        assert part in text, f"{type(build(name)).__name__} lacks {part}"
    for file in re.findall(r"\btests/[\w/.]*\w", text):
        assert (REPOSITORY / file).exists(), f"{type(build(name)).__name__} names {file}, which is not there"
    arguments = [
        parameter.name
        for parameter in inspect.signature(type(build(name))).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for argument in ("input_size", "hidden_size", "generator", *arguments):
        assert re.search(rf"^ +{argument}: ", text, flags=re.MULTILINE), argument


def formula(cell: Cell) -> str:
    found = re.search(r"^Parameters: ([DH0-9 ()*+]+)$", inspect.getdoc(type(cell)) or "", flags=re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=6, deadline=None)
@given(sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_the_parameter_count_is_the_docstrings_formula(name: str, sizes: tuple[int, int]) -> None:
    cell = maker(name)(*sizes, seeded())
    counted = sum(parameter.numel() for parameter in cell.parameters())
    assert counted == eval(formula(cell), {"__builtins__": {}}, {"D": sizes[0], "H": sizes[1]})
    assert counted == num_parameters(Loop().stack([cell], CPU, torch.float32))


@pytest.mark.parametrize("name", CELLS)
def test_the_declarations_fit_the_tensors(name: str) -> None:
    cell = build(name)
    assert cell.W.shape == (len(cell.gates) * 5, 3)
    recurrent = cell.gates if cell.recurrent is None else cell.recurrent
    assert [gate for gate in cell.gates if gate in recurrent] == list(recurrent)
    assert [p.shape for key, p in cell.named_parameters() if key == "U"] == [(len(recurrent) * 5, 5)] * bool(recurrent)
    assert len(set(cell.gates)) == len(cell.gates)
    assert cell.family in CELLS, f"family {cell.family!r}: must be the name of a cell, which then stands for its family"
    assert build(cell.family).family == cell.family, f"cell={cell.family} must be of the family of its own name"
    assert [tuple(s.shape) for s in cell.initial_state(2)] == [(2, 5)] * len(cell.states)
    assert all((s == 0).all() for s in cell.initial_state(2))


def initial(name: str, seed: int, **options: Any) -> dict[str, torch.Tensor]:
    return {key: p.detach() for key, p in maker(name)(4, 6, seeded(seed), **options).named_parameters()}


@pytest.mark.parametrize("init", ["uniform", "keras"])
@pytest.mark.parametrize("name", CELLS)
def test_the_generator_alone_gives_the_initial_values(name: str, init: Init) -> None:
    torch.manual_seed(1)
    one = initial(name, 7, init=init)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two, other = initial(name, 7, init=init), initial(name, 8, init=init)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["W"], other["W"])
    assert ("U" in one) == (maker(name)(1, 1, seeded()).recurrent != ())
    assert "U" not in one or not torch.equal(one["U"], other["U"])


def weights(cell: Cell) -> list[torch.Tensor]:
    """W, and U where the cell has one."""
    return [cell.W] if cell.recurrent == () else [cell.W, cell.U]


@pytest.mark.parametrize("name", CELLS)
def test_uniform_stays_within_its_bound_and_reaches_it(name: str) -> None:
    for drawn in weights(maker(name)(40, 50, seeded(), init="uniform")):
        assert 0.98 * 50**-0.5 < drawn.abs().max().item() <= 50**-0.5


@pytest.mark.parametrize("name", CELLS)
def test_keras_is_orthogonal_over_all_gates_and_glorot_at_the_input(name: str) -> None:
    cell = maker(name)(40, 50, seeded(), init="keras")
    for U in weights(cell)[1:]:
        torch.testing.assert_close(U.T @ U, torch.eye(50), atol=1e-5, rtol=0)
    bound = (6 / (40 + cell.W.shape[0])) ** 0.5
    assert 0.98 * bound < cell.W.abs().max().item() <= bound


@pytest.mark.parametrize(
    ("name", "started", "bias"),
    [
        ("lstm", "f", 1.0),
        ("lstm_article", "f", 0.0),
        ("lstm_no_input", "f", 1.0),
        ("lstm_no_output", "f", 1.0),
        ("lstm_cifg", "i", -1.0),  # f = 1 - i
        ("lstm_peephole", "f", 1.0),
        ("janet", "f", 1.0),
    ],
)
def test_the_forget_gate_starts_at_its_bias(name: str, started: str, bias: float) -> None:
    cell = maker(name)(3, 5, seeded())
    for gate, b in zip(cell.gates, cell.b.chunk(len(cell.gates)), strict=True):
        assert (b == (bias if gate == started else 0.0)).all()


def test_forget_bias_is_what_is_asked_for() -> None:
    assert (LSTM(3, 5, seeded(), forget_bias=-2.5).b[5:10] == -2.5).all()


def test_chrono_spreads_the_time_scales_and_leaves_all_else() -> None:
    """1 / (1 - sigma(b)) = 1 + exp(b) steps, uniform from 2 to T."""
    for name, gate in (("lstm", "f"), ("gru", "z"), ("janet", "f")):
        cell, other = (maker(name)(3, 400, seeded(), **options) for options in ({"chrono_steps": 50}, {}))
        biases, keep = cell.b.detach().chunk(len(cell.gates)), cell.gates.index(gate)
        scales = 1 + biases[keep].exp()
        assert 2 <= scales.min() < 3
        assert 49 < scales.max() <= 50
        assert abs(scales.mean() - 26) < 2
        for gate, b, b_other in zip(cell.gates, biases, other.b.chunk(len(cell.gates)), strict=True):
            if gate == "i":
                assert torch.equal(b, -biases[keep])
            elif gate != cell.gates[keep]:
                assert torch.equal(b, b_other)
        assert torch.equal(cell.W, other.W)
        assert torch.equal(cell.U, other.U)


def test_irnn_starts_as_the_identity_with_almost_no_input() -> None:
    cell = maker("irnn")(40, 50, seeded())
    assert torch.equal(cell.U, torch.eye(50))
    assert not cell.b.any()
    assert 0.0009 < cell.W.std() < 0.0011
    h = torch.rand(2, 50)
    assert torch.equal(cell.step(torch.zeros(2, 50), (h,))[0], h)  # remembers without end


def test_what_a_cell_does_not_know_it_refuses() -> None:
    with pytest.raises(ValueError, match="one of tanh, sigmoid, relu, got 'elu'"):
        RNN(1, 1, seeded(), activation="elu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'uniform' or 'keras', got 'zeros'"):
        GRU(1, 1, seeded(), init="zeros")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CELLS)
def test_a_model_on_the_meta_device_is_counted_and_draws_nothing(name: str) -> None:
    generator = seeded()
    before = generator.get_state()
    with torch.device("meta"):
        encoder = Encoder(
            3, maker(name), Loop(), Streams(0), hidden_size=1000, num_layers=2, device=CPU, dtype=torch.float32
        )
        head, table = linear(1000, 7, generator), embedding(50, 3, generator)
    assert all(p.is_meta for module in (encoder, head, table) for p in module.parameters())
    assert torch.equal(before, generator.get_state())
    cells = [maker(name)(size, 1, seeded()) for size in (3, 1000)]
    expected = sum(eval(formula(cell), {"D": size, "H": 1000}) for cell, size in zip(cells, (3, 1000), strict=True))
    assert num_parameters(encoder) == expected


@pytest.mark.parametrize("name", ["lstm_layer_norm", "gru_layer_norm"])
def test_the_gains_of_layer_normalization_start_as_asked(name: str) -> None:
    cell = dict(maker(name)(3, 5, seeded(), recurrent_gain=0.25).named_parameters())
    assert {key: set(cell[key].tolist()) for key in ("gain_x", "gain_h")} == {"gain_x": {1.0}, "gain_h": {0.25}}
    assert (dict(maker(name)(3, 5, seeded()).named_parameters())["gain_h"] == 0.1).all()
