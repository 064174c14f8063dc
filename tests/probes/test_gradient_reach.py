"""How far a gradient reaches: closed forms, real cells against a graph cut by hand, and what the curve is read as."""

import math
from typing import cast

import numpy as np
import pytest
import torch
from conftest import yaml_names
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cells import maker
from probed import ADDING, TRANSLATION, Counter, H, Leak, Memory, NoCell, subject_of, value_of, values_of

from gru_bench.models.encoder import Encoder, MakeCell, last_output
from gru_bench.probes import steps
from gru_bench.probes.base import Findings, Subject
from gru_bench.probes.gradient_reach import GradientReach, by_lag, fits, gradients, horizon, kept_lags

pytestmark = pytest.mark.usefixtures("hydra_conf")


def reach(cell: MakeCell, *overrides: str) -> Findings:
    return GradientReach(examples=4, steps=100, text_steps=20, threshold=0.01).measure(
        subject_of(cell, *overrides), "end"
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_a_leak_loses_a_constant_share_at_every_step(layers: int) -> None:
    # of two layers only the upper one's state matters to the last output directly; both are leaks, so the sum has the
    # closed form of a cascade: the lower one's share is what the upper one still passes on, (k) ways through W
    found = reach(Leak, *ADDING, f"num_layers={layers}")
    g = found.tables["end"]["gradient"]
    if layers == 1:
        assert g == pytest.approx([0.5**k for k in range(30)], rel=1e-5)
        assert value_of(found, "half_life_steps_end") == pytest.approx(1, rel=1e-4)
        assert value_of(found, "exponential_r2_end") == pytest.approx(1)
        assert value_of(found, "horizon_steps_end") == 6  # 1/64 is left after 6, 1/128 after 7
        assert value_of(found, "longest_lag_steps_end") == 29
    else:
        subject = subject_of(Leak, *ADDING, "num_layers=2")
        encoder = cast(Encoder, steps.encoder_of(subject.model))
        W = cast(torch.Tensor, encoder.stacks[0].cells[1].W).detach()  # type: ignore[union-attr, index]
        v = torch.randn(H, generator=torch.Generator().manual_seed(subject.seed))
        lower = float((W.T @ v).norm() / v.norm())
        expected = [0.5**k * math.hypot(1, k * lower) for k in range(30)]
        assert g == pytest.approx(expected, rel=1e-5)
    assert found.tables["end"]["lag"] == list(range(30))
    values = values_of(found, "gradient_end", "lag")
    assert [int(lag) for lag in values] == [*range(9), 10, 12, 15, 18, 22, 27, 29]
    assert values == {str(lag): g[lag] for lag in kept_lags(30)}


def test_a_counter_forgets_nothing() -> None:
    found = reach(Counter)
    assert set(values_of(found, "gradient_end", "lag").values()) == {1.0}
    assert value_of(found, "half_life_steps_end") == math.inf
    assert value_of(found, "horizon_steps_end") == math.inf
    assert value_of(found, "power_law_exponent_end") == 0


def test_the_share_of_each_state_is_what_flows_along_it_alone() -> None:
    found = reach(Memory)
    whole, h, c = (found.tables["end"][f"gradient{name}"] for name in ("", "_h", "_c"))
    assert c[1:] == pytest.approx([0.5**k for k in range(1, 30)], rel=1e-5)
    assert h[1:] == [0] * 29
    assert (h[0], c[0], whole[0]) == (1, 0, 1)
    lstm = gradients(steps.run(subject_of(maker("lstm")), 4, 100), 0)
    assert bool((lstm["h"][:-1] > 0).all())
    torch.testing.assert_close(lstm["h"].square() + lstm["c"].square(), lstm[""].square())
    assert not values_of(reach(maker("gru")), "gradient_h_end", "lag")  # one state is the whole


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize(
    "overrides",
    [(*ADDING, "num_layers=2"), (*TRANSLATION, "model.bidirectional=true"), (*ADDING, "model.bidirectional=true")],
    ids=["layers", "ragged", "both"],
)
def test_real_cells_against_a_sequence_cut_in_two(name: str, overrides: tuple[str, ...]) -> None:
    """The state after t steps is given to the rest of the sequence as a number of its own, and differentiated."""
    subject = subject_of(maker(name), *overrides)
    run = steps.run(subject, 4, 100)
    norms_TB = gradients(run, subject.seed)[""]
    encoder = cast(Encoder, steps.encoder_of(subject.twin()))
    x_TBD, lengths_B = _inputs(subject)
    stack = encoder.stacks[0]  # of one layer and both directions: the forward one
    v_H = torch.randn(H, generator=torch.Generator().manual_seed(subject.seed))
    for row, length in enumerate(lengths_B.tolist()):
        for lag in (1, 3):
            at = length - lag
            one = x_TBD[:length, row : row + 1]
            _, state = stack(one[:at])
            state = tuple(s_LBH.detach().requires_grad_() for s_LBH in state)
            h_TBH, _ = stack(one[at:], state)
            found = torch.autograd.grad((h_TBH[-1] @ v_H).sum(), state)
            expected = math.sqrt(sum(float(g.square().sum()) for g in found)) / float(v_H.norm())
            assert float(norms_TB[at - 1, row]) == pytest.approx(expected, rel=1e-4)


def _inputs(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    twin = subject.twin()
    encoder = cast(Encoder, steps.encoder_of(twin))
    return steps.inputs_of(twin, encoder, subject, 4, 100)


@pytest.mark.parametrize("name", yaml_names("cell"))
def test_every_cell_has_an_answer_at_every_lag(name: str) -> None:
    found = reach(maker(name))
    g = values_of(found, "gradient_end", "lag")
    assert g["0"] == 1
    assert all(0 <= share < math.inf for share in g.values())
    assert value_of(found, "longest_lag_steps_end") == 29


def test_the_longest_examples_are_read_and_of_them_the_last_steps() -> None:
    subject = subject_of(maker("gru"), *TRANSLATION)
    twin = subject.twin()
    encoder = cast(Encoder, steps.encoder_of(twin))
    whole_TBD, lengths_B = steps.inputs_of(twin, encoder, subject, 3, 100)
    assert lengths_B.tolist() == sorted(lengths_B.tolist(), reverse=True)
    longest = max(int(batch.lengths.max()) for batch in subject.task.batches("valid") if batch.lengths is not None)
    assert int(lengths_B.max()) == longest == len(whole_TBD)
    cut_TBD, cut_B = steps.inputs_of(twin, encoder, subject, 3, 2)
    assert cut_B.tolist() == [2, 2, 2]
    for row, length in enumerate(lengths_B.tolist()):
        torch.testing.assert_close(cut_TBD[:, row], whole_TBD[length - 2 : length, row])
    h_TBH, _ = encoder(whole_TBD, None, lengths_B)
    torch.testing.assert_close(steps.run(subject, 3, 100).last, last_output(h_TBH, lengths_B))


def test_running_text_is_read_on_over_its_pieces() -> None:
    overrides = ("task=language_modeling_char", "task.seq_len=8", "model.embedding_size=4")
    run = steps.run(subject_of(maker("gru"), *overrides), 3, 100, 20)
    assert run.lengths.tolist() == [20, 20, 20]
    assert len(run.layers[0].news) == 20


def test_a_model_without_recurrent_layers_is_refused() -> None:
    subject = subject_of(maker("gru"))
    without = Subject(NoCell(), subject.task, NoCell, 0)
    assert "no recurrent layers" in str(
        GradientReach(examples=1, steps=1, text_steps=1, threshold=0.5).refusal(without)
    )


# reading the curve


@settings(max_examples=30)
@given(st.floats(0.3, 0.999), st.integers(8, 200))
def test_an_exponential_has_its_half_life(decay: float, K: int) -> None:
    half_life, r2, _, _ = fits(decay ** np.arange(K))
    assert half_life == pytest.approx(math.log(2) / -math.log(decay), rel=1e-6)
    assert r2 == pytest.approx(1)


@settings(max_examples=30)
@given(st.floats(0.1, 4), st.integers(8, 200))
def test_a_power_law_has_its_exponent(exponent: float, K: int) -> None:
    half_life, of_exponential, found, r2 = fits(np.maximum(np.arange(K), 1.0) ** -exponent)
    assert found == pytest.approx(exponent)
    assert r2 == pytest.approx(1)
    assert of_exponential < r2
    assert half_life > 0


def test_what_grows_or_stays_has_no_half_life_and_too_little_has_no_fit() -> None:
    assert fits(1.1 ** np.arange(20))[0] == math.inf
    assert fits(np.ones(20))[0] == math.inf
    assert all(math.isnan(number) for number in fits(np.array([1, 0.5, 0.25])))
    assert all(math.isnan(number) for number in fits(np.zeros(20)))
    # what has fallen below what float32 holds is left out
    vanished = np.where(np.arange(300) < 90, 0.5 ** np.arange(300.0), 0)
    assert fits(vanished)[0] == pytest.approx(1)


def test_the_horizon_is_the_largest_lag_with_enough_left() -> None:
    assert horizon(np.array([1, 0.5, 0.001, 0.02, 0.001]), 0.01) == 3
    assert horizon(np.array([1, 0.5, 0.02]), 0.01) == math.inf
    assert horizon(np.array([1, 0.001]), 0.01) == 0
    # back above it at the longest lag: nobody knows how far that goes on
    assert horizon(np.array([1, 0.5, 0.005, 0.02, 0.03]), 0.01) == math.inf
    assert math.isnan(horizon(np.full(5, math.nan), 0.01))
    assert math.isnan(horizon(np.array([1, math.nan, 0.02]), 0.01))


def test_lags_count_back_from_each_examples_own_end() -> None:
    norms_TB = torch.arange(12.0).view(4, 3)
    found = by_lag(norms_TB, torch.tensor([4, 3, 1]))
    # half of three is two: three lags, of the two examples that reach them
    np.testing.assert_array_equal(found, [[9, 7], [6, 4], [3, 1]])


@settings(max_examples=30)
@given(st.integers(1, 2000))
def test_long_lags_are_thinned_out_and_the_longest_is_kept(K: int) -> None:
    lags = kept_lags(K)
    assert lags[: min(K, 9)] == list(range(min(K, 9)))
    assert lags[-1] == K - 1
    assert lags == sorted(set(lags))
    assert len(lags) < 10 + 4 * math.log2(max(K / 8, 2))
