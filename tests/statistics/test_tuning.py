"""The best of k trials: against all draws written out, and against its limits."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.errors import UserError
from gru_bench.statistics.tuning import expected, expected_best, expected_difference, weights

SCORES = st.lists(st.floats(-10, 10), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(scores=SCORES)
def test_it_is_the_mean_over_all_draws(scores: list[float]) -> None:
    every = [np.mean([max(draw) for draw in itertools.product(scores, repeat=k)]) for k in range(1, len(scores) + 1)]
    np.testing.assert_allclose(expected_best(scores), every, atol=1e-12)


def test_known_answer() -> None:
    # two trials: the better one is found by 1/2 of single draws, and by 3/4 of pairs
    assert expected_best([1.0, 0.0]) == pytest.approx([0.5, 0.75])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(scores=SCORES)
def test_more_trials_never_find_less(scores: list[float]) -> None:
    found = expected_best(scores)
    assert (np.diff(found) >= -1e-12).all()
    assert found[-1] <= max(scores) + 1e-12


def test_the_chances_of_each_number_of_trials_add_up_to_one() -> None:
    np.testing.assert_allclose(weights(7).sum(axis=1), 1.0)


def test_the_interval_covers_the_true_curve() -> None:
    """Best of 3 of a uniform distribution: 3/4. Of 200 samples of 20 trials the 95 % interval covers most."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = expected(rng.uniform(size=20), rng)
        hits += found.low[2] <= 0.75 <= found.high[2]
    assert 0.85 <= hits / 200 <= 0.99


def test_a_difference_is_that_of_the_curves_and_swaps_its_sign() -> None:
    first, second = [1.0, 2.0, 3.0], [0.0, 5.0]
    found = expected_difference(first, second, np.random.default_rng(0))
    assert found.value == pytest.approx([2.0 - 2.5, expected_best(first)[1] - 3.75])
    assert expected_difference(second, first, np.random.default_rng(0)).value == pytest.approx(-found.value)
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()


@pytest.mark.parametrize("scores", [[], [float("nan")]])
def test_what_is_no_score_is_refused(scores: list[float]) -> None:
    with pytest.raises(UserError):
        expected_best(scores)
