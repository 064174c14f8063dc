"""Time scales, saturation and Jacobians: closed forms, and every cell's own word about its gates."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import yaml_names
from made_cells import build, maker, seeded
from probed import ADDING, TRANSLATION, Counter, H, Leak, Memory, subject_of, value_of, values_of

from gru_bench.cells.base import Cell, State
from gru_bench.probes import steps
from gru_bench.probes.gates import Gates, of_layer, timescale
from gru_bench.probes.jacobian import Jacobian, jacobian

pytestmark = pytest.mark.usefixtures("hydra_conf")
GATES = Gates(examples=4, steps=100)
JACOBIAN = Jacobian(examples=2, steps=100, places=3)


class Leaks(Leak):
    decays: ClassVar[tuple[float, ...]] = (0.0, 0.5, 0.9, 0.99, 1.0)


# what cells say


@pytest.mark.parametrize("name", yaml_names("cell"))
def test_a_cell_says_what_its_direct_way_is(name: str) -> None:
    """Without recurrent weights no gate depends on the old state, so the Jacobian of the memory is the direct way."""
    cell = build(name)
    with torch.no_grad():
        for parameter_name, parameter in cell.named_parameters():
            if parameter_name not in ("W", "b"):
                parameter.zero_()
    gx_BG = torch.randn(2, len(cell.gates) * cell.hidden_size, generator=seeded(2), dtype=torch.float64)
    state = tuple(torch.randn(2, cell.hidden_size, generator=seeded(3), dtype=torch.float64) for _ in cell.states)
    memory_BH = state[-1].requires_grad_()
    _, new = cell.step(gx_BG, state)
    used = new[-1].requires_grad
    (direct_BH,) = torch.autograd.grad(new[-1].sum(), memory_BH) if used else (torch.zeros_like(memory_BH),)
    values = cell.gate_values(gx_BG, state)
    assert set(cell.gating) <= set(values)
    assert all(bool(((values[gate] >= 0) & (values[gate] <= 1)).all()) for gate in cell.gating)
    kept_BH = cell.kept(values)
    if kept_BH is None:
        assert not direct_BH.any(), f"cell={name} has a direct way: declare keeps, and gating, in its class"
    else:
        torch.testing.assert_close(kept_BH, direct_BH)


@pytest.mark.parametrize(("name", "gates"), [("lstm", "ifo"), ("gru", "rz"), ("gru_reset_before", "rz")])
def test_gates_are_the_logistic_function_of_their_products(name: str, gates: str) -> None:
    cell = build(name)
    H = cell.hidden_size
    gx_BG = torch.randn(2, len(cell.gates) * H, generator=seeded(2), dtype=torch.float64)
    state = tuple(torch.randn(2, H, generator=seeded(3), dtype=torch.float64) for _ in cell.states)
    values = cell.gate_values(gx_BG, state)
    assert "".join(cell.gating) == gates
    for gate in gates:
        rows = slice(cell.gates.index(gate) * H, (cell.gates.index(gate) + 1) * H)
        torch.testing.assert_close(values[gate], torch.sigmoid(gx_BG[:, rows] + state[0] @ cell.U[rows].T))


# time scales and saturation


def test_the_time_scale_of_a_leak_is_in_closed_form() -> None:
    found = GATES.measure(subject_of(Leaks), "end")
    of_units = found.tables["end"]["timescale_steps"]
    assert of_units == pytest.approx([0, *(-1 / math.log(a) for a in (0.5, 0.9, 0.99)), math.inf], rel=1e-5)
    assert value_of(found, "timescale_steps_end") == pytest.approx(-1 / math.log(0.9), rel=1e-5)
    assert values_of(found, "timescale_steps_end", "quantile")["0.95"] == math.inf
    assert not values_of(found, "saturation_end", "gate")  # it has no gate
    np.testing.assert_array_equal(timescale(torch.tensor([math.nan])), [math.nan])


def test_an_lstm_starts_with_the_time_scale_of_its_forget_bias() -> None:
    subject = subject_of(lambda *given: maker("lstm")(*given), *ADDING)
    for module in subject.model.modules():
        if isinstance(module, Cell):
            for parameter in (module.W, module.U):
                torch.nn.init.zeros_(parameter)
            torch.nn.init.constant_(module.b[:H], -3.0)  # the input gate: shut
    found = GATES.measure(subject, "start")
    forget = 1 / (1 + math.exp(-1))
    assert value_of(found, "timescale_steps_start") == pytest.approx(-1 / math.log(forget), rel=1e-5)
    assert values_of(found, "saturation_start", "gate") == {"i": 1.0, "f": 0.0, "o": 0.0}
    assert set(found.tables["start"]) >= {"layer", "unit", "kept", "timescale_steps", "mean_i", "mean_f", "mean_o"}


def test_padding_does_not_count() -> None:
    run = steps.run(subject_of(maker("gru"), *TRANSLATION), 20, 100)
    assert len(set(run.lengths.tolist())) > 1
    gates, kept = of_layer(run.layers[0], run.lengths)
    assert kept is not None
    assert {len(kept), *(len(values) for values in gates.values())} == {int(run.lengths.sum())}


def test_a_cell_without_gates_is_refused_by_name() -> None:
    reason = GATES.refusal(subject_of(maker("rnn")))
    assert reason is not None
    assert "RNN has no gates" in reason
    assert GATES.refusal(subject_of(maker("gru_article"))) is None
    article = GATES.measure(subject_of(maker("gru_article")), "end")
    assert set(values_of(article, "saturation_end", "gate")) == {"r", "z"}
    assert not values_of(article, "timescale_steps_end")  # it keeps nothing on a direct way


# Jacobians


@pytest.mark.parametrize(("cell", "radius"), [(Leak, 0.5), (Counter, 1.0), (Memory, 0.5)])
def test_the_jacobian_of_a_leak_is_its_decay(cell: type[Cell], radius: float) -> None:
    found = JACOBIAN.measure(subject_of(cell), "end")
    assert value_of(found, "jacobian_radius_end") == pytest.approx(radius)
    assert value_of(found, "direct_share_end") == pytest.approx(radius)
    # of h and c together: both become a * c
    norm = radius * math.sqrt(2) if cell is Memory else radius
    assert value_of(found, "jacobian_norm_end") == pytest.approx(norm)
    assert sorted(set(found.tables["end"]["step"])) == [9, 19, 29]
    assert len(found.tables["end"]["norm"]) == 2 * 3


def test_the_jacobian_of_a_plain_network_is_its_weight_and_slope() -> None:
    run = steps.run(subject_of(maker("rnn")), 2, 100)
    layer = run.layers[0]
    (h_BH,) = layer.news[7]
    expected = (1 - h_BH**2)[:, :, None] * layer.cell.U
    torch.testing.assert_close(jacobian(layer, 7), expected.detach().double(), rtol=1e-4, atol=1e-6)
    found = JACOBIAN.measure(subject_of(maker("rnn")), "end")
    assert not values_of(found, "direct_share_end")


def test_the_quantiles_of_the_direct_way_are_those_of_its_units() -> None:
    found = JACOBIAN.measure(subject_of(Leaks), "end")
    assert list(values_of(found, "direct_share_end", "quantile").values()) == pytest.approx([0, 0.5, 0.9, 0.99, 1])


class Deaf(Leak):
    """Takes nothing over from the old state."""

    keeps: ClassVar[str] = ""

    def save(self, gx_BG: torch.Tensor, state: State) -> tuple[State, tuple[torch.Tensor, ...]]:
        return (gx_BG,), ()


def test_a_state_that_is_not_used_has_a_jacobian_of_zeros() -> None:
    assert value_of(JACOBIAN.measure(subject_of(Deaf), "end"), "jacobian_norm_end") == 0
