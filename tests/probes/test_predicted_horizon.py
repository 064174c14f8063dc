"""How far back inputs are seen: on a leaky integrator, whose answer is known, and on cells that are not affine."""

import math
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gru_bench.backends.loop import Loop
from gru_bench.cells.base import Cell, State
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.models.encoder import Encoder
from gru_bench.models.streams import Streams
from gru_bench.models.tagger import Tagger
from gru_bench.probes.base import Findings, Subject
from gru_bench.probes.predicted_horizon import MeasuredHorizon, PredictedHorizon, is_affine, lags_below, largest
from gru_bench.tasks.base import Goal
from gru_bench.tasks.generated.parity import Parity

GOAL = Goal(margin=0.1, beats_trivial_by=0.1, ceiling=1.0)


class Leaky(Cell):
    """Every unit: h = decay * h + W x."""

    family: ClassVar[str] = "rnn"
    gates: ClassVar[tuple[str, ...]] = ("x",)
    decay: float = 0.9

    def step(self, gx_BG: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH = self.decay * state[0] + gx_BG
        return h_BH, (h_BH,)


def leaky(decay: float) -> type[Leaky]:
    return type("Leaky", (Leaky,), {"decay": decay})


def subject(
    cell: Any, *, steps: int = 40, beyond: int = 80, num_layers: int = 1, bidirectional: bool = False
) -> Subject:
    task = Parity(None, levels=[steps], beyond=[beyond], num_eval=800, batch_size=200, goal=GOAL)
    task.load()

    def build(input_size: int, streams: Streams, /, **options: Any) -> Encoder:
        place = {"device": torch.device("cpu"), "dtype": torch.float32}
        return Encoder(input_size, cell, Loop(), streams, hidden_size=5, num_layers=num_layers, **place, **options)

    model = Tagger(
        task.sizes(), build, Streams(0), embedding_size=None, bidirectional=bidirectional, dropout=0.0, init="uniform"
    )
    return Subject(model.eval(), task, lambda: model, 0)


def measured(probe: MeasuredHorizon, looked_at: Subject) -> Findings:
    assert probe.refusal(looked_at) is None
    return probe.measure(looked_at, "end")


def of(findings: Findings, metric: str) -> dict[str, float]:
    return {f.slice_value: f.value for f in findings.values if f.metric == metric}


@pytest.mark.parametrize("decay", [0.8, 0.95])
def test_a_leaky_integrator_sees_as_far_as_its_decay_says(decay: float) -> None:
    # of independent bits, the one k steps back has the share decay^2k of the sum of all
    findings = measured(PredictedHorizon(examples=800, share=0.01), subject(leaky(decay)))
    for metric, steps in (("visible_share", 80), ("predicted_share", 40)):
        whole = (1 - decay ** (2 * steps)) / (1 - decay**2)
        for lag, share in of(findings, metric).items():
            if decay ** (2 * int(lag)) / whole > 1e-3:
                assert share == pytest.approx(decay ** (2 * int(lag)) / whole, rel=0.15)
    expected = math.floor(math.log(0.01 * whole) / (2 * math.log(decay)))
    assert of(findings, "predicted_horizon_steps")[""] == pytest.approx(expected, abs=1)
    lags = lags_below(80)
    seen = of(findings, "visible_horizon_steps")[""]
    assert seen in lags
    # the lags looked at are a fifth apart
    assert 0.75 * expected - 1 <= seen <= expected + 1
    assert of(findings, "longest_visible_lag_steps") == {"": 79}


def test_a_counter_sees_for_ever() -> None:
    findings = measured(PredictedHorizon(examples=400, share=0.005), subject(leaky(1.0)))
    assert of(findings, "predicted_horizon_steps") == {"": math.inf}
    assert of(findings, "visible_horizon_steps") == {"": math.inf}
    assert of(findings, "visible_share")["79"] == pytest.approx(1 / 80, rel=0.3)


def test_a_cell_without_memory_sees_the_last_input_alone() -> None:
    findings = measured(PredictedHorizon(examples=400, share=0.01), subject(leaky(0.0)))
    assert of(findings, "predicted_horizon_steps") == of(findings, "visible_horizon_steps") == {"": 0}
    assert of(findings, "visible_share")["0"] == pytest.approx(1.0, rel=0.1)


def test_other_cells_have_a_measured_horizon_alone() -> None:
    for cell in (GRU, LSTM):
        looked_at = subject(cell)
        why = PredictedHorizon(examples=8, share=0.01).refusal(looked_at)
        assert why == f"{cell.__name__} is not affine in its state, unit by unit; valid for it: measured_horizon"
    findings = measured(MeasuredHorizon(examples=400, share=0.01), looked_at)
    assert 0 <= of(findings, "visible_horizon_steps")[""] < 79
    assert not of(findings, "predicted_horizon_steps")


def test_refusals_say_what_is_needed() -> None:
    probe = PredictedHorizon(examples=8, share=0.01)
    assert "num_layers=2" in str(probe.refusal(subject(leaky(0.9), num_layers=2)))
    assert "read in one direction" in str(probe.refusal(subject(leaky(0.9), bidirectional=True)))


@pytest.mark.parametrize("cell", [GRU, LSTM, RNN])
def test_no_cell_with_a_recurrent_product_is_affine(cell: Any) -> None:
    made = cell(3, 4, torch.Generator().manual_seed(0))
    assert len(made.states) > 1 or not is_affine(made)


@given(st.integers(1, 3000))
def test_lags_reach_from_none_to_the_longest(steps: int) -> None:
    lags = lags_below(steps)
    assert lags[0] == 0
    assert lags[-1] == steps - 1
    assert all(0 < b - a <= max(1, a / 4) for a, b in pairwise(lags))


@given(st.integers(0, 10**6))
def test_the_largest_lag_is_found(last: int) -> None:
    assert largest(lambda lag: 1.0 if lag <= last else 0.0, 0.5) == last
