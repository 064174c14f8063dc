"""How much work fits into the time: known answers, and what holds for any pilot."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.answer.plan_text import brief, hours_for, left_out
from gru_bench.answer.sizing import (
    CONTENTION,
    LADDER,
    PAIR_S,
    REPORT_S,
    START_S,
    Size,
    middle_of,
    rates_around,
    round_s,
    sized,
    timing_s,
    total_s,
)

SECONDS = st.floats(0.1, 1e5)
RUNS = st.dictionaries(st.sampled_from(["lstm", "gru", "rnn", "mgu"]), SECONDS, min_size=2)
WORKERS = st.integers(1, 64)


def test_known_sizes() -> None:
    """Runs of 10 s, one at a time: 5 seeds of both take 100 s, and a start and the report on top."""
    run_s = {"lstm": 10.0, "gru": 10.0}
    least = START_S + 100 + REPORT_S
    assert total_s(LADDER[0], run_s, 1) == pytest.approx(least)
    assert sized(run_s, 1, least).size == LADDER[0]
    assert sized(run_s, 1, least).fits
    assert not sized(run_s, 1, least - 1).fits
    # one pair in four situations more, then 3 trials of both and the start of their sweep
    assert sized(run_s, 1, least + 4 * PAIR_S).size == Size(1, 0, 5, True)
    assert sized(run_s, 1, least + 4 * PAIR_S + START_S + 59).size == Size(1, 0, 5, True)
    assert sized(run_s, 1, least + 4 * PAIR_S + START_S + 60).size == Size(3, 1, 5, True)
    assert sized(run_s, 1, 1e6).size == Size(5, 2, 8, True)


def test_two_workers_halve_what_is_to_be_done_but_for_the_last_run() -> None:
    assert round_s({"lstm": 10.0, "gru": 10.0}, 5, 2) == pytest.approx(CONTENTION * (50 + 5))


def test_three_cells_are_three_pairs_to_time() -> None:
    assert timing_s(LADDER[1], 3) == 3 * timing_s(LADDER[1], 2) == 12 * PAIR_S
    assert timing_s(LADDER[0], 3) == 0


def test_a_given_rate_is_not_tuned() -> None:
    found = sized({"lstm": 1.0, "gru": 1.0}, 1, 1e6, tunes=False)
    assert found.size.trials == 0
    assert found.size == found.fullest


def test_no_more_seeds_than_are_allowed() -> None:
    found = sized({"lstm": 1.0, "gru": 1.0}, 1, 1e6, max_seeds=5)
    assert found.size == found.fullest == Size(5, 2, 5, True)


def test_each_step_of_the_ladder_does_what_the_one_before_does() -> None:
    for less, more in itertools.pairwise(LADDER):
        assert less.trials <= more.trials
        assert less.seeds <= more.seeds
        assert less.timed <= more.timed
        assert set(rates_around(0.002, less.rates)) <= set(rates_around(0.002, more.rates))


@given(RUNS, WORKERS, SECONDS)
def test_it_never_plans_beyond_the_time(run_s: dict[str, float], workers: int, seconds: float) -> None:
    found = sized(run_s, workers, seconds)
    assert found.seconds == total_s(found.size, run_s, workers)
    assert found.fits == (found.seconds <= seconds)
    assert found.fits or found.size == LADDER[0]


@given(RUNS, WORKERS, SECONDS, SECONDS)
def test_more_time_is_never_less_work(run_s: dict[str, float], workers: int, one: float, other: float) -> None:
    few, many = (sized(run_s, workers, seconds) for seconds in sorted((one, other)))
    assert LADDER.index(few.size) <= LADDER.index(many.size)
    assert few.seconds <= many.seconds


@given(RUNS, WORKERS, SECONDS)
def test_the_hours_that_a_plan_names_hold_all_of_it(run_s: dict[str, float], workers: int, seconds: float) -> None:
    found = sized(run_s, workers, seconds)
    enough = 3600 * float(hours_for(found.fullest_s))
    assert sized(run_s, workers, enough).size == found.fullest
    assert enough <= 1.11 * max(found.fullest_s, 1.0)


@given(st.lists(st.floats(1e-5, 10), min_size=1), st.sampled_from([1, 3, 5]))
def test_rates_ascend_around_the_middle(rates: list[float], number: int) -> None:
    middle = middle_of(rates)
    assert min(rates) * (1 - 1e-9) <= middle <= max(rates) * (1 + 1e-9)
    tried = rates_around(middle, number)
    assert tried == sorted(set(tried))
    assert len(tried) == number
    assert tried[number // 2] == pytest.approx(middle, rel=0.01)


def test_known_rates() -> None:
    assert rates_around(middle_of([0.002]), 5) == [0.0005, 0.001, 0.002, 0.004, 0.008]
    assert rates_around(middle_of([0.001, 0.004, 0.004]), 3) == [0.0005, 0.002, 0.008]


def test_words() -> None:
    assert left_out(Size(3, 1, 5, False), LADDER[-1]) == (
        "3 trials of learning rates for each cell instead of 10, 5 seeds to begin with instead of 8, speed is not timed"
    )
    assert left_out(LADDER[-1], LADDER[-1]) == ""
    assert [brief(3.2), brief(130), brief(7000)] == ["4 s", "3 min", "2 h"]
    assert [hours_for(3600), hours_for(3601), hours_for(90)] == ["1", "1.1", "0.025"]
    assert [hours_for(3600 * 99.5), hours_for(3600 * 111)] == ["100", "120"]
