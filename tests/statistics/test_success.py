import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gru_bench.errors import UserError
from gru_bench.statistics.success import SuccessDifference, boschloo, newcombe, survival, wilson

PUBLISHED = [
    # Newcombe 1998, "Interval estimation for the difference between independent proportions", table II, method 10
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (6, 7, 2, 7, 0.0582, 0.8062),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (0, 10, 0, 10, -0.2775, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0000),
    (10, 10, 0, 10, 0.6075, 1.0000),
]

COUNTS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda nums: st.tuples(st.integers(0, nums[0]), st.integers(0, nums[1]), st.just(nums[0]), st.just(nums[1]))
)


@pytest.mark.parametrize(("a", "m", "b", "n", "low", "high"), PUBLISHED)
def test_newcombes_table(a: int, m: int, b: int, n: int, low: float, high: float) -> None:
    interval = newcombe(a, m, b, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("solved", "num", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval(solved: int, num: int, low: float, high: float) -> None:
    interval = wilson(solved, num)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)


def test_boschloo_of_scipys_example() -> None:
    # 74 of 100 computer scientists and 31 of 73 others would, by scipy's own documentation
    assert boschloo(74, 100, 31, 73, "greater") == pytest.approx(
        stats.boschloo_exact([[74, 31], [26, 42]], alternative="greater").pvalue
    )
    assert boschloo(5, 5, 5, 5, "two-sided") == 1.0
    assert boschloo(0, 5, 0, 5, "two-sided") == 1.0


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.5, 0.999))
def test_interval_and_p_never_contradict(counts: tuple[int, int, int, int], level: float) -> None:
    difference = SuccessDifference(*counts)
    p = difference.p_value()
    if abs(p - (1 - level)) > 1e-6:
        assert difference.interval(level).clear_of() == (p < 1 - level)


@settings(max_examples=40, deadline=None)
@given(COUNTS)
def test_swapping_the_cells_flips_the_signs(counts: tuple[int, int, int, int]) -> None:
    a, b, m, n = counts
    one, other = SuccessDifference(a, b, m, n), SuccessDifference(b, a, n, m)
    assert other.value == -one.value
    assert other.interval(0.9).low == pytest.approx(-one.interval(0.9).high)
    assert other.p_value() == pytest.approx(one.p_value(), abs=1e-4)
    assert other.shares(0.2) == pytest.approx(one.shares(0.2)[::-1], abs=2e-3)
    assert other.p_value(0.3, "less") == pytest.approx(one.p_value(-0.3, "greater"), abs=1e-9)


def test_one_sided_p_is_where_the_interval_ends() -> None:
    difference = SuccessDifference(9, 3, 10, 10)
    ends = difference.interval(0.95)
    assert difference.p_value(ends.low, "greater") == pytest.approx(0.025, rel=1e-6)
    assert difference.p_value(ends.high, "less") == pytest.approx(0.025, rel=1e-6)
    assert difference.p_value(ends.high, "greater") == pytest.approx(0.975, rel=1e-6)


def test_shares_against_draws_from_the_posterior() -> None:
    rng = np.random.default_rng(0)
    draws = rng.beta(8.5, 0.5, 200_000) - rng.beta(3.5, 5.5, 200_000)
    expected = ((draws < -0.2).mean(), (abs(draws) <= 0.2).mean(), (draws > 0.2).mean())
    assert SuccessDifference(8, 3, 8, 8).shares(0.2) == pytest.approx(expected, abs=0.004)


def test_all_solved_by_both_is_not_certain() -> None:
    difference = SuccessDifference(8, 8, 8, 8)
    assert difference.interval(0.95).high == pytest.approx(0.3244, abs=1e-4)
    assert difference.p_value() == 1.0
    assert difference.with_seeds(8).se > 0


REMISSION = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
"""Weeks of remission under 6-MP (Freireich et al. 1963), the standard example of Kaplan and Meier's estimate."""


def test_kaplan_meier_of_freireichs_data() -> None:
    steps = [float(week.rstrip("+")) for week in REMISSION.split()]
    solved = [not week.endswith("+") for week in REMISSION.split()]
    curve = survival(steps, solved)
    assert curve.steps.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert curve.unsolved == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=5e-4)
    assert curve.median == 23
    # R: survfit(Surv(week, event) ~ 1, conf.type = "log-log")
    assert (curve.interval.low, curve.interval.high) == (13, math.inf)
    assert (curve.num_solved, curve.num_seeds) == (9, 21)
    data = stats.CensoredData.right_censored(steps, [not event for event in solved])
    assert curve.unsolved == pytest.approx(stats.ecdf(data).sf.evaluate(curve.steps))


def test_survival_where_all_or_none_solve() -> None:
    none = survival([100, 100, 100], [False, False, False])
    assert (none.median, none.interval.low, none.num_solved) == (math.inf, math.inf, 0)
    every = survival([10, 20, 30, 40, 50, 60, 70, 80], [True] * 8)
    assert every.median == 40
    assert every.unsolved[-1] == 0
    assert every.interval.low <= 40 <= every.interval.high < math.inf


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: wilson(6, 5), "6 of 5 seeds solved"),
        (lambda: SuccessDifference(0, 0, 0, 5), "at least one seed"),
        (lambda: survival([1, 2], [True]), "2 counts of steps and 1 outcomes"),
    ],
)
def test_impossible_counts_are_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_interval_of_the_median_is_finite_where_enough_seeds_solved_it() -> None:
    assert survival([200.0] * 8, [True] * 8).interval.high == 200
    assert survival([200.0] * 5, [True] * 5).interval.high == math.inf  # the share unsolved may still be 0.52
