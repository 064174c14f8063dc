import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gru_bench.errors import UserError
from gru_bench.statistics.across import (
    critical_difference,
    hierarchical,
    leave_one_out,
    leave_one_seed_out,
    probability_of_improvement,
)
from gru_bench.statistics.crossed import crossed, seeds_only

BCG = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ],
    dtype=float,
)
"""Thirteen trials of the BCG vaccine (Colditz et al. 1994): ill and well with the vaccine, ill and well without."""


def test_hierarchical_of_the_bcg_trials() -> None:
    ill, well, ill_without, well_without = BCG.T
    effects = np.log(ill / (ill + well)) - np.log(ill_without / (ill_without + well_without))
    variances = 1 / ill - 1 / (ill + well) + 1 / ill_without - 1 / (ill_without + well_without)
    estimate = hierarchical(effects, np.sqrt(variances))
    # metafor: rma(yi, vi, method = "REML", test = "knha")
    assert estimate.value == pytest.approx(-0.7145, abs=1e-4)
    assert estimate.tau**2 == pytest.approx(0.3132, abs=1e-4)
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((-1.1082, -0.3209), abs=2e-3)
    assert estimate.num_tasks == 13


def test_effects_that_agree_are_no_surer_than_their_errors() -> None:
    estimate = hierarchical([0.5, 0.5, 0.5, 0.5], [0.2] * 4)
    assert estimate.tau == 0
    assert estimate.interval.high - 0.5 == pytest.approx(stats.t.ppf(0.975, 3) * 0.1)


def test_hierarchical_of_tasks_on_which_nothing_differs() -> None:
    estimate = hierarchical([0.0, 0.0], [0.0, 0.0])
    assert (estimate.value, estimate.tau, estimate.num_tasks) == (0.0, 0.0, 2)
    assert not estimate.interval.known


def test_one_task_says_nothing_of_tasks() -> None:
    estimate = hierarchical([0.5], [0.1])
    assert estimate.value == 0.5
    assert not estimate.interval.known


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 3)), min_size=2, max_size=8), st.floats(0.01, 50))
def test_hierarchical_moves_with_sign_and_unit(tasks: list[tuple[float, float]], unit: float) -> None:
    effects, errors = np.array(tasks).T
    one, flipped = hierarchical(effects, errors), hierarchical(-unit * effects, unit * errors)
    assert flipped.value == pytest.approx(-unit * one.value, rel=1e-3, abs=1e-3 * unit)
    assert flipped.interval.low == pytest.approx(-unit * one.interval.high, rel=1e-3, abs=1e-3 * unit)


def test_leave_one_out() -> None:
    tasks = {"adding": 1.0, "copy": 2.0, "words": 6.0}
    assert leave_one_out(tasks, lambda rest: sum(rest.values())) == {"adding": 8.0, "copy": 7.0, "words": 3.0}


def test_leave_one_seed_out() -> None:
    by_seed = np.array([1.0, 2.0, 6.0, 4.0])
    assert [estimate.value for estimate in leave_one_seed_out(by_seed)] == pytest.approx([4, 11 / 3, 7 / 3, 3])
    table = np.random.default_rng(0).normal(size=(4, 9))
    assert leave_one_seed_out(table)[1] == crossed(table[[0, 2, 3]])
    assert leave_one_seed_out(by_seed)[0] == seeds_only(by_seed[1:])


def test_probability_of_improvement_by_hand() -> None:
    # 1 of 4 pairs won and one tied; all pairs won
    found = probability_of_improvement([[1, 3], [5, 6]], [[3, 2.5], [1, 2]], np.random.default_rng(0))
    assert found.value == pytest.approx(((0.5 + 1) / 4 + 1) / 2)
    assert found.interval.low <= found.value <= found.interval.high
    assert found.num_tasks == 2


def test_probability_of_improvement_resamples_within_tasks() -> None:
    rng = np.random.default_rng(0)
    first, second = [rng.normal(0.5, 1, 12), rng.normal(0, 1, 9)], [rng.normal(0, 1, 10), rng.normal(0, 1, 9)]
    found = probability_of_improvement(first, second, np.random.default_rng(1))
    draws = []
    for _ in range(2000):
        tasks = []
        for one, other in zip(first, second, strict=True):
            x, y = rng.choice(one, one.size), rng.choice(other, other.size)
            tasks.append((x[:, None] > y).mean() + (x[:, None] == y).mean() / 2)
        draws.append(np.mean(tasks))
    expected = np.quantile(draws, [0.025, 0.975])
    assert (found.interval.low, found.interval.high) == pytest.approx(expected, abs=0.02)
    back = probability_of_improvement(second, first, np.random.default_rng(1))
    assert back.value == pytest.approx(1 - found.value)
    assert probability_of_improvement(first, second, np.random.default_rng(1)) == found


def test_ranks_against_scipy_and_demsar() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 8, (14, 4)) + np.array([0.0, 1.0, 3.0, 6.0])
    ranks = critical_difference(scores)
    assert ranks.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    # Demšar 2006, section 3.2.2: four classifiers on 14 data sets
    assert ranks.difference == pytest.approx(1.25, abs=0.005)
    assert ranks.mean_ranks.argmin() == 3
    assert ranks.mean_ranks.sum() == pytest.approx(10)


def test_groups_of_ranks_that_do_not_differ() -> None:
    # two cells take turns at the top, two at the bottom, on 14 tasks
    scores = np.array([[4.0, 3.0, 1.0, 2.0], [3.0, 4.0, 2.0, 1.0]] * 7)
    assert critical_difference(scores).together == [(0, 1), (2, 3)]
    assert critical_difference(np.ones((5, 3))).p == 1.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hierarchical([1.0, 2.0], [1.0]), "2 effects and 1 standard errors"),
        (lambda: hierarchical([1.0, math.inf], [1.0, 1.0]), "not finite"),
        (lambda: leave_one_out({"adding": 1}, len), "at least two items"),
        (lambda: leave_one_seed_out([1.0]), "at least two seeds"),
        (lambda: probability_of_improvement([[1.0]], [], np.random.default_rng(0)), "1 and 0 tasks"),
        (lambda: critical_difference([[1.0, 2.0], [2.0, 1.0]]), "three cells"),
        (lambda: critical_difference([[1.0, 2.0, math.nan], [2.0, 1.0, 3.0]]), "a score is missing"),
    ],
)
def test_bad_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_nothing_bounds_a_chance_where_all_runs_of_one_win() -> None:
    found = probability_of_improvement([[2.0, 3.0, 4.0]], [[0.0, 1.0, 0.5]], np.random.default_rng(0))
    assert found.value == 1
    assert not found.interval.known
