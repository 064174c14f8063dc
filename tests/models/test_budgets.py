"""Hidden sizes at equal parameters, arithmetic and state, against numbers that can be worked out by hand."""

from functools import cache, partial
from typing import Any

import pytest
import torch
from conftest import composed
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.config.check import check, construct
from gru_bench.models.budgets import Budget, Flops, Hidden, Parameters, State
from gru_bench.models.encoder import MakeCell
from gru_bench.run.build import ModelBuilder, Place, make_cell


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


# the whole model of a language task, whose tied embedding may need a projection

SIZES = st.integers(1, 300)
CELLS = st.sampled_from(["rnn", "lstm", "gru"])


@cache
def language_model(budget: str, tied: bool, cell: str = "lstm") -> tuple[ModelBuilder, MakeCell, Budget]:
    """The model of ``task=wikitext2``, with an embedding of 40 and 50 words."""
    overrides = [f"budget={budget}", f"model.tied={str(tied).lower()}", f"cell={cell}", "model.embedding_size=40"]
    _, node = check(composed("task=wikitext2", *overrides))
    place = Place(torch.device("cpu"), torch.float32)
    return ModelBuilder(node, {"vocab_size": 50}, place), make_cell(node), construct(node["budget"])


@settings(deadline=None, max_examples=15, derandomize=True)
@given(size=SIZES, tied=st.booleans(), cell=CELLS)
@pytest.mark.usefixtures("hydra_conf")
def test_a_larger_size_has_more_parameters(size: int, tied: bool, cell: str) -> None:
    builder, maker, _ = language_model("parameters", tied, cell)
    assert builder.count(maker, size) < builder.count(maker, size + 1)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(size=SIZES, tied=st.booleans(), cell=CELLS)
@pytest.mark.usefixtures("hydra_conf")
def test_the_solved_size_is_the_nearest_and_the_reference_keeps_its_own(size: int, tied: bool, cell: str) -> None:
    builder, maker, budget = language_model("parameters", tied, cell)
    solved = budget.solve(size, maker, builder.count)
    if cell == "lstm":
        assert solved == size
    wanted = builder.count(LSTM, size)
    distances = [abs(builder.count(maker, near) - wanted) for near in (max(1, solved - 1), solved, solved + 1)]
    assert min(distances) == distances[1]


@pytest.mark.usefixtures("hydra_conf")
def test_the_embeddings_own_size_is_no_exception() -> None:
    """The reference got 236 units where 256 were asked for: its model had no projection at 256 alone."""

    def solved(cell: str) -> tuple[int, int]:
        _, node = check(composed("task=wikitext2", "budget=parameters", f"cell={cell}"))
        builder = ModelBuilder(node, {"vocab_size": 5000}, Place(torch.device("cpu"), torch.float32))
        size = construct(node["budget"]).solve(256, make_cell(node), builder.count)
        return size, builder.count(make_cell(node), size)

    # V (E + 1) + 4 H (E + H + 1) + E (H + 1), with E = H = 256
    assert solved("lstm") == (256, 5000 * 257 + 4 * 256 * 513 + 256 * 257)
    # a unit more of a GRU is 2,565 parameters more
    assert abs(solved("gru")[1] - solved("lstm")[1]) <= 2565 / 2


@pytest.mark.parametrize(
    ("budget", "size", "has_projection"),
    [("hidden", 40, False), ("hidden", 41, True), ("parameters", 40, True), ("parameters", 41, True)],
)
@pytest.mark.usefixtures("hydra_conf")
def test_a_projection_is_there_for_all_cells_or_for_none(budget: str, size: int, has_projection: bool) -> None:
    for cell in ("rnn", "lstm", "gru"):
        builder, maker, _ = language_model(budget, True, cell)
        model: Any = builder.build(maker, Loop(), size, seed=0)
        assert isinstance(model.projection, torch.nn.Linear) == has_projection


def test_a_model_whose_parts_depend_on_the_size_leaves_the_reference_as_it_is() -> None:
    def jumping(make: MakeCell, size: int) -> int:
        return cell_count(make, size) - 5000 * (size == 100)

    assert Parameters(reference=LSTM).solve(100, LSTM, jumping) == 100


# equal arithmetic


def test_arithmetic_of_a_layer_leaves_its_biases_out() -> None:
    cell = GRU(5, 7, torch.Generator())
    assert Flops(reference=LSTM).count(cell) == 2 * 3 * 7 * (5 + 7)
    assert Hidden().count(cell) == 3 * 7 * (5 + 7 + 1) + 7


@pytest.mark.parametrize(("cell", "factor"), [(LSTM, 1.0), (GRU, 1.208), (RNN, 2.372)])
def test_known_ratios_to_the_lstm_where_inputs_are_as_many_as_its_units(cell: MakeCell, factor: float) -> None:
    budget = Flops(reference=LSTM)

    def count(make: MakeCell, size: int) -> int:
        with torch.device("meta"):
            return budget.count(make(128, size, torch.Generator("cpu")))

    # gates * G * (128 + G) = 4 * 128 * 256
    assert budget.solve(128, cell, count) / 128 == pytest.approx(factor, abs=0.005)


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize(("tied", "extra"), [(False, 0), (True, 40 * 24)])
def test_a_language_model_multiplies_in_its_layers_and_its_output(tied: bool, extra: int) -> None:
    builder, _, _ = language_model("flops", tied)
    read_by = 40 if tied else 24  # the projection stands between
    assert builder.count(LSTM, 24) == builder.flops_a_token(LSTM, 24)
    assert builder.count(LSTM, 24) == 2 * (4 * 24 * (40 + 24) + extra + 50 * read_by)


@pytest.mark.usefixtures("hydra_conf")
@settings(deadline=None, max_examples=5, derandomize=True)
@given(size=SIZES, cell=CELLS)
def test_no_other_size_comes_closer_in_arithmetic(size: int, cell: str) -> None:
    builder, maker, budget = language_model("flops", True, cell)
    solved = budget.solve(size, maker, builder.count)
    wanted = builder.flops_a_token(LSTM, size)
    distances = [abs(builder.flops_a_token(maker, near) - wanted) for near in (max(1, solved - 1), solved, solved + 1)]
    assert min(distances) == distances[1]
    assert cell != "lstm" or solved == size


@pytest.mark.usefixtures("hydra_conf")
@pytest.mark.parametrize(
    ("task", "sizes", "products"),
    [
        # 2 features; what follows the pooling is used once a sequence
        ("adding", {"input_size": 2, "num_outputs": 1}, 4 * 8 * (2 + 8)),
        # both directions of the source, the target's layer, W_a, W_c, and the output; what joins the directions is not
        (
            "translation model.embedding_size=6 model.bidirectional=true model.attention=luong",
            {"source_vocab_size": 30, "target_vocab_size": 20},
            2 * 4 * 8 * (6 + 8) + 4 * 8 * (6 + 8) + 8 * 16 + (16 + 8) * 8 + 8 * 20,
        ),
    ],
)
def test_what_is_used_once_a_sequence_is_no_tokens_arithmetic(task: str, sizes: dict[str, int], products: int) -> None:
    _, node = check(composed(*f"task={task} num_layers=1 budget=flops".split()))
    builder = ModelBuilder(node, sizes, Place(torch.device("cpu"), torch.float32))
    assert builder.count(LSTM, 8) == 2 * products


# equal state


@pytest.mark.parametrize(("cell", "size"), [(LSTM, 100), (GRU, 200), (RNN, 200), (partial(GRU, init="keras"), 200)])
def test_a_cell_with_one_state_gets_twice_the_lstms_units(cell: MakeCell, size: int) -> None:
    assert State(reference=LSTM).solve(100, cell, cell_count) == size


@pytest.mark.parametrize(("asked", "size"), [(1, 1), (2, 1), (3, 2), (4, 3), (100, 67)])
def test_state_that_cannot_be_equal_is_as_near_as_it_gets(asked: int, size: int) -> None:
    class ThreeStates(Cell):
        family, gates, states = "other", ("h",), ("h", "c", "m")

    # 2 floats a unit against 3: 200 floats are nearest to 67 * 3 = 201
    assert State(reference=LSTM).solve(asked, ThreeStates, cell_count) == size


@pytest.mark.parametrize(("cell", "units"), [("lstm", 24), ("gru", 48), ("rnn", 48)])
@pytest.mark.usefixtures("hydra_conf")
def test_the_yaml_gives_each_cells_layers_as_many_floats(cell: str, units: int) -> None:
    builder, maker, budget = language_model("state", True, cell)
    size = budget.solve(24, maker, builder.count)
    assert size == units
    model: Any = builder.build(maker, Loop(), size, seed=0)
    _, state = model.encoder(torch.zeros(3, 2, 40))
    assert sum(part.shape[-1] for part in state) == 2 * 24
    assert isinstance(model.projection, torch.nn.Linear)  # whether there is one must not depend on the size
