import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import Estimate, crossed, seeds_only
from gru_bench.statistics.intervals import t_interval

TABLES = arrays(np.float64, (4, 6), elements=st.integers(-50, 50).map(float)).filter(
    lambda table: np.ptp(table.mean(axis=1)) > 0
)


def test_seeds_only_is_the_paired_t_test() -> None:
    first, second = np.array([0.91, 0.88, 0.93, 0.9, 0.95]), np.array([0.89, 0.88, 0.9, 0.91, 0.9])
    estimate = seeds_only(first - second)
    assert estimate.p_value() == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert estimate.p_value(0.01, "less") == pytest.approx(
        stats.ttest_1samp(first - second, 0.01, alternative="less").pvalue
    )
    expected = t_interval(first - second, 0.9)
    assert (estimate.interval(0.9).low, estimate.interval(0.9).high) == pytest.approx((expected.low, expected.high))
    assert (estimate.num_seeds, estimate.num_examples) == (5, None)
    assert math.isnan(estimate.example_se)


def test_crossed_by_hand() -> None:
    # means of seeds 2 and 5, of examples 2, 3 and 5.5; residuals ± (0.5, 0.5, -1)
    estimate = crossed([[1, 2, 3], [3, 4, 8]])
    assert estimate.value == pytest.approx(3.5)
    assert estimate.seed_se**2 == pytest.approx(4.5 / 2)
    assert estimate.example_se**2 == pytest.approx(3.25 / 3 - 1.5 / 6)
    assert estimate.se**2 == pytest.approx(2.25 + 5 / 6)
    # t(0.975; 1) = 12.7062, t(0.975; 2) = 4.3027
    assert estimate.interval(0.95).high - 3.5 == pytest.approx(
        (12.7062 * 2.25 + 4.30265 * 5 / 6) / math.sqrt(2.25 + 5 / 6), rel=1e-5
    )


def test_crossed_finds_both_parts_of_a_simulated_table() -> None:
    rng = np.random.default_rng(0)
    seeds, examples = [], []
    for _ in range(300):
        table = 0.5 * rng.normal(size=(8, 1)) + 4 * rng.normal(size=(1, 50)) + 3 * rng.normal(size=(8, 50))
        estimate = crossed(table + 1)
        seeds.append(estimate.seed_se**2)
        examples.append(estimate.example_se**2)
    assert np.mean(seeds) == pytest.approx((0.25 + 9 / 50) / 8, rel=0.1)
    assert np.mean(examples) == pytest.approx(16 / 50, rel=0.1)


def test_without_noise_of_examples_it_is_the_interval_over_seeds() -> None:
    by_seed = np.array([0.1, 0.4, -0.2, 0.3])
    table = np.repeat(by_seed[:, None], 7, axis=1)
    assert crossed(table).interval(0.95).low == pytest.approx(t_interval(by_seed).low)


def test_seeds_that_agree_leave_the_examples() -> None:
    table = np.tile([1.0, 2.0, 3.0, 6.0], (5, 1))
    estimate = crossed(table)
    assert "examples alone (all 5 seeds agree)" in estimate.method
    expected = t_interval(table[0])
    assert (estimate.interval(0.95).low, estimate.interval(0.95).high) == pytest.approx((expected.low, expected.high))


def test_no_spread_at_all_is_no_certainty() -> None:
    for estimate in (crossed(np.full((8, 20), 0.3)), seeds_only(np.full(8, 0.3)), seeds_only([0.3])):
        assert estimate.value == pytest.approx(0.3)
        assert not estimate.interval(0.95).known
        assert estimate.p_value() == 1.0
        assert all(math.isnan(share) for share in estimate.shares(0.1))


def test_every_difference_zero_is_equal() -> None:
    for estimate in (crossed(np.zeros((6, 9))), seeds_only(np.zeros(6))):
        assert estimate.interval(0.9).inside(1e-9)
        assert estimate.p_value() == 1.0
        assert estimate.shares(0.1) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(("examples", "inside", "outside"), [(40, 0.07, 0.06), (2000, 0.0015, 0.0013)])
def test_answers_that_are_all_alike_are_no_proof_of_equality(examples: int, inside: float, outside: float) -> None:
    """Of 40 examples that both get right or wrong alike, any share up to about 3 / 40 may differ in truth."""
    estimate = crossed(np.zeros((8, examples)), right_or_wrong=True)
    assert estimate.se == pytest.approx(
        math.sqrt(2) / (examples + 2)
    )  # Bonett and Price (2012) with no discordant pair
    assert estimate.value == 0
    assert estimate.interval(0.95).inside(inside)
    assert not estimate.interval(0.95).inside(outside)
    assert estimate.p_value() == 1.0
    assert estimate.with_seeds(30).se == pytest.approx(estimate.se)  # more seeds do not help


def test_one_answer_that_differs_counts_for_one_each_way_at_least() -> None:
    one = np.zeros((5, 100))
    one[:, 3] = 1
    assert crossed(one, right_or_wrong=True).example_se == pytest.approx(math.sqrt(2) / 102)
    one[1:, 3] = 0  # in one seed alone
    estimate = crossed(one, right_or_wrong=True)
    assert estimate.example_se == pytest.approx(math.sqrt(2) / 102)
    assert estimate.seed_se == pytest.approx(0.002)


def test_where_enough_examples_differ_nothing_is_added() -> None:
    table = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], p=[0.05, 0.85, 0.1], size=(6, 300))
    assert crossed(table, right_or_wrong=True) == crossed(table)


def test_nan_and_infinity_are_unknown() -> None:
    table = np.random.default_rng(0).normal(size=(6, 4))
    table[2, 1] = math.inf
    for estimate in (crossed(table), seeds_only([1.0, math.nan, 2.0])):
        assert math.isnan(estimate.value)
        assert not estimate.interval(0.95).known


@given(TABLES)
def test_swapping_the_cells_flips_the_signs(table: np.ndarray) -> None:
    one, other = crossed(table), crossed(-table)
    assert other.interval(0.95).low == pytest.approx(-one.interval(0.95).high)
    assert other.p_value() == pytest.approx(one.p_value())
    assert other.p_value(3.0, "less") == pytest.approx(one.p_value(-3.0, "greater"))
    assert other.shares(2.0) == pytest.approx(one.shares(2.0)[::-1], abs=1e-12)


@given(TABLES, st.floats(0.001, 1000))
def test_the_unit_does_not_matter(table: np.ndarray, unit: float) -> None:
    one, scaled = crossed(table), crossed(unit * table)
    assert scaled.p_value() == pytest.approx(one.p_value(), rel=1e-6)
    assert scaled.shares(unit) == pytest.approx(one.shares(1.0), abs=1e-6)


@given(TABLES, st.floats(0.3, 0.9999))
def test_interval_and_p_agree(table: np.ndarray, level: float) -> None:
    estimate = crossed(table)
    ends = estimate.interval(level)
    for end in (ends.low, ends.high):
        assert estimate.p_value(end) == pytest.approx(1 - level, rel=1e-5)
    assert sum(estimate.shares(1.0)) == pytest.approx(1)


def test_more_seeds_leave_the_noise_of_the_examples() -> None:
    rng = np.random.default_rng(1)
    estimate = crossed(rng.normal(size=(6, 1)) + 5 * rng.normal(size=(1, 40)) + rng.normal(size=(6, 40)))
    assert estimate.with_seeds(6).interval(0.95) == estimate.interval(0.95)
    many = estimate.with_seeds(100_000)
    assert many.se == pytest.approx(estimate.example_se, rel=0.01)
    assert many.df == pytest.approx(39, rel=0.01)


def test_factors_are_the_chi_square_interval_of_a_variance() -> None:
    low, high = Estimate(0.0, 1.0, 9.0, 10, None, 1.0, math.nan, "t").factors(0.95)
    assert (low, high) == pytest.approx((9 / 19.023, 9 / 2.7004), rel=1e-4)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: crossed([1.0, 2.0]), "seeds x test examples"),
        (lambda: seeds_only([[1.0], [2.0]]), "vector"),
        (lambda: seeds_only([1.0, 2.0]).p_value(0.0, "bigger"), "two-sided, greater or less"),
    ],
)
def test_misshapen_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
