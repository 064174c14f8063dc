import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gru_bench.errors import UserError
from gru_bench.statistics.inputs import paired
from gru_bench.statistics.intervals import BCA_FROM, Interval, bca_interval, mean_interval, t_interval

DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Crossed less self-fertilized maize, in eighths of an inch (Fisher, *The Design of Experiments*, chapter 3)."""

SPREAD = st.lists(st.integers(-1000, 1000), min_size=3, max_size=12).filter(lambda values: len(set(values)) > 1)


def test_t_by_hand() -> None:
    # mean 3, standard deviation sqrt(2.5), t(0.975; 4) = 2.776
    interval = t_interval([1, 2, 3, 4, 5])
    assert interval.low == pytest.approx(3 - 2.776445 * math.sqrt(2.5 / 5), abs=1e-6)
    assert interval.high == pytest.approx(3 + 2.776445 * math.sqrt(2.5 / 5), abs=1e-6)
    assert (interval.level, interval.method) == (0.95, "t")


def test_t_of_darwins_maize() -> None:
    interval = t_interval(DARWIN)
    assert interval.low == pytest.approx(0.03, abs=0.01)
    assert interval.high == pytest.approx(41.84, abs=0.01)


def test_bca_agrees_with_its_definition() -> None:
    values = np.array([1.0, 1.2, 0.9, 1.4, 5.0, 1.1, 1.3, 0.8, 2.5, 1.05])
    interval = bca_interval(values, 0.9, np.random.default_rng(0), resamples=20_000)
    means = np.random.default_rng(1).choice(values, (20_000, 10)).mean(axis=1)
    bias = stats.norm.ppf((means < values.mean()).mean())
    centred = values - values.mean()
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.05, 0.95])
    ends = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    assert [interval.low, interval.high] == pytest.approx(ends, abs=0.03)
    assert interval.high - values.mean() > values.mean() - interval.low  # it follows the skew


def test_the_method_is_chosen_by_the_number_of_seeds_and_named() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=BCA_FROM)
    assert mean_interval(values, 0.95, rng).method == "BCa"
    assert mean_interval(values[:-1], 0.95, rng) == t_interval(values[:-1])


def test_the_same_generator_gives_the_same_interval() -> None:
    first, again = (bca_interval(DARWIN, 0.95, np.random.default_rng(7), 500) for _ in range(2))
    assert first == again
    assert first != bca_interval(DARWIN, 0.95, np.random.default_rng(8), 500)


@given(SPREAD, st.floats(0.01, 100), st.floats(-50, 50))
def test_t_moves_with_units_and_origin(values: list[int], unit: float, origin: float) -> None:
    plain, moved = t_interval(values), t_interval(unit * np.array(values) + origin)
    assert moved.low == pytest.approx(unit * plain.low + origin, rel=1e-6, abs=1e-6)
    assert moved.high == pytest.approx(unit * plain.high + origin, rel=1e-6, abs=1e-6)


@settings(max_examples=10)
@given(SPREAD)
def test_bca_moves_with_units(values: list[int]) -> None:
    plain = bca_interval(values, 0.9, np.random.default_rng(0), 300)
    scaled = bca_interval(4.0 * np.array(values), 0.9, np.random.default_rng(0), 300)
    assert (scaled.low, scaled.high) == pytest.approx((4 * plain.low, 4 * plain.high))


@pytest.mark.parametrize("values", [[0.3], [0.1 + 0.2, 0.3, 0.3]])
@pytest.mark.parametrize("method", ["t", "bca"])
def test_what_has_no_spread_bounds_nothing(values: list[float], method: str) -> None:
    rng = np.random.default_rng(0)
    interval = t_interval(values) if method == "t" else bca_interval(values, 0.95, rng, 100)
    assert not interval.known
    assert interval.method.startswith("unknown: ")
    assert not interval.clear_of()
    assert not interval.inside(1e9)


def test_inside_and_clear() -> None:
    interval = Interval(-0.5, 1.0, 0.95, "t")
    assert interval.inside(1.1)
    assert not interval.inside(1.0)
    assert not interval.inside(0.7)
    assert not interval.clear_of()
    assert not interval.clear_of(1.0)
    assert interval.clear_of(1.1)
    assert interval.clear_of(-0.6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: t_interval([]), "one value for each seed"),
        (lambda: t_interval([[1.0, 2.0]]), r"shape \(1, 2\)"),
        (lambda: t_interval([1.0, math.nan, 2.0]), "1 of 3 values are not finite"),
        (lambda: t_interval([1.0, 2.0], 95), "0.95"),
        (lambda: paired([1.0, 2.0], [1.0]), "unpaired seeds: 2 values of the first and 1"),
    ],
)
def test_misshapen_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
