"""Ratios of paired times: known answers, what does not change them, and how often the interval covers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.errors import UserError
from gru_bench.statistics.ratios import FEWEST, LEAST_FLOOR, Ratio, finding, floor_of, paired_ratio

TIMES = st.lists(st.floats(1e-6, 10), min_size=FEWEST, max_size=60)


def made(low: float, high: float) -> Ratio:
    return Ratio(math.sqrt(low * high), low, high, 30, 7)


def autocorrelated(rounds: int, rho: float, rng: np.random.Generator) -> np.ndarray:
    """Logarithms with standard deviation 0.02, each resembling the one before."""
    noise = rng.standard_normal(rounds + 30)
    for place in range(1, noise.size):
        noise[place] = rho * noise[place - 1] + math.sqrt(1 - rho**2) * noise[place]
    return 0.02 * noise[30:]


def test_times_that_differ_by_a_factor_have_that_ratio_and_no_width() -> None:
    first = list(np.random.default_rng(0).uniform(0.5, 2, 30))
    found = paired_ratio(first, [1.03 * time for time in first])
    assert (found.value, found.low, found.high) == pytest.approx((1.03, 1.03, 1.03))
    assert (found.num_rounds, found.block) == (30, 7)  # 2 x 30^(1/3) = 6.2


def test_a_quarter_of_the_rounds_at_either_end_may_be_anything() -> None:
    second = [2.0] * 30
    second[3], second[17], second[20], second[29] = 5e9, 1e-9, 70.0, 3.0
    assert paired_ratio([1.0] * 30, second).value == pytest.approx(2)


def test_the_interval_of_known_rounds() -> None:
    # logarithms -1 and 1 by turns: every block of 2 k rounds has mean 0, one of 2 k + 1 nearly so
    by_turns = [math.exp(0.01 * (-1) ** number) for number in range(40)]
    in_stretches = [math.exp(0.01 * (1 if number < 20 else -1)) for number in range(40)]
    calm, drifting = (paired_ratio([1.0] * 40, second) for second in (by_turns, in_stretches))
    assert calm.value == pytest.approx(1)
    assert drifting.value == pytest.approx(1)
    # the same values: what tells them apart is their order
    assert math.log(drifting.high) > 4 * math.log(calm.high) > 0


@given(TIMES, st.integers(0, 3), st.floats(0.1, 10))
def test_swapping_the_two_inverts_and_units_do_not_matter(first: list[float], seed: int, unit: float) -> None:
    second = first[::-1]
    found, swapped = paired_ratio(first, second, seed=seed), paired_ratio(second, first, seed=seed)
    assert (1 / swapped.value, 1 / swapped.high, 1 / swapped.low) == pytest.approx((found.value, found.low, found.high))
    scaled = paired_ratio([unit * time for time in first], [unit * time for time in second], seed=seed)
    assert (scaled.low, scaled.high) == pytest.approx((found.low, found.high))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_interval_covers_though_rounds_resemble_their_neighbours(rho: float) -> None:
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(200):
        found = paired_ratio([1.0] * 30, list(1.5 * np.exp(autocorrelated(30, rho, rng))))
        hits.append(found.low <= 1.5 <= found.high)
    assert np.mean(hits) >= 0.90  # 0.95 less two standard errors, and what is short at 0.6
    assert np.mean(hits) < 1


@pytest.mark.parametrize(
    ("ratio", "floor", "said"),
    [
        (made(1.02, 1.04), 1.01, "first"),
        (made(1.005, 1.04), 1.01, "noise"),
        (made(0.96, 0.98), 1.01, "second"),
        (made(0.96, 0.995), 1.01, "noise"),
        (made(0.9, 1.2), 1.01, "noise"),
        (made(1.02, 1.04), 1.03, "noise"),
    ],
)
def test_a_finding_is_clear_of_the_floor(ratio: Ratio, floor: float, said: str) -> None:
    assert finding(ratio, floor) == said


def test_the_floor_is_the_end_furthest_from_one() -> None:
    assert floor_of(made(0.98, 1.01)) == pytest.approx(1 / 0.98)
    assert floor_of(made(0.99, 1.04)) == 1.04
    assert floor_of(made(1.0, 1.0)) == LEAST_FLOOR


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0] * 30, [1.0] * 29, "unpaired rounds: 30 times of the first and 29 of the second"),
        ([1.0] * 5, [1.0] * 5, f"5 rounds: a ratio needs at least {FEWEST}"),
        ([1.0] * 30, [0.0] * 30, "times: every round's time must be a positive, finite number of seconds"),
        ([math.nan] * 30, [1.0] * 30, "times: every round's time must be a positive, finite number of seconds"),
    ],
)
def test_what_is_no_pair_of_times_is_refused(first: list[float], second: list[float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        paired_ratio(first, second)
    assert str(caught.value) == message


def test_other_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="level=95"):
        paired_ratio([1.0] * 30, [1.0] * 30, level=95)
    with pytest.raises(UserError, match=r"floor=0\.9: a factor of at least 1"):
        finding(made(1.0, 1.1), 0.9)
