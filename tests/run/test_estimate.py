"""The arithmetic of ``gru-bench plan``: steps, seconds, and a safe number of workers, by hand."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.run.estimate import (
    Pace,
    Span,
    from_runs,
    number_of_steps,
    run_seconds,
    safe_workers,
    spread,
    sweep_seconds,
    workers_by_cores,
)
from gru_bench.training.schedules import Limits

SECONDS = st.floats(0.001, 1e6)


def even(seconds: float) -> Span:
    return Span(seconds, seconds, seconds)


@pytest.mark.parametrize(
    ("limits", "epoch_steps", "steps"),
    [
        (Limits(max_steps=100), None, 100),
        (Limits(max_epochs=3), 20, 60),
        (Limits(max_steps=100, max_epochs=3), 20, 60),
        (Limits(max_steps=50, max_epochs=3), 20, 50),
        (Limits(max_epochs=3), None, None),
        (Limits(max_seconds=5.0), 20, None),
    ],
)
def test_the_first_limit_counts(limits: Limits, epoch_steps: int | None, steps: int | None) -> None:
    assert number_of_steps(limits, epoch_steps) == steps


def test_a_run_is_its_beginning_its_steps_its_evaluations_and_the_test() -> None:
    pace = Pace(2.0, Span(0.1, 0.2, 0.4), 3.0)
    # 100 steps with an evaluation every 25: four of them, and the test
    assert run_seconds(pace, Limits(max_steps=100), 25) == Span(2 + 10 + 15, 2 + 20 + 15, 2 + 40 + 15)
    # the last step is evaluated as well
    found = run_seconds(pace, Limits(max_steps=101), 100)
    assert found is not None
    assert astuple(found) == pytest.approx((2 + 10.1 + 9, 2 + 20.2 + 9, 2 + 40.4 + 9))


def test_epochs_are_counted_in_the_data() -> None:
    pace = Pace(0.0, even(0.5), 1.0, epoch_steps=10)
    assert run_seconds(pace, Limits(max_epochs=4), None) == even(40 * 0.5 + 4 + 1)
    assert run_seconds(Pace(0.0, even(0.5), 1.0), Limits(max_epochs=4), None) is None


def test_seconds_limit_the_steps_alone() -> None:
    pace = Pace(1.0, even(0.5), 2.0)
    # 10 s are 20 steps: two evaluations and the test, which the limit leaves out
    assert run_seconds(pace, Limits(max_seconds=10.0), 10) == even(1 + 10 + 3 * 2)
    assert run_seconds(pace, Limits(max_steps=4, max_seconds=10.0), 10) == even(1 + 2 + 2 * 2)


def test_an_evaluation_that_did_not_end_widens_the_span() -> None:
    found = run_seconds(Pace(0.0, even(1.0), None, evaluate_at_least_s=5.0), Limits(max_steps=10), 10)
    assert found == Span(10 + 2 * 5, 10 + 2 * 10, 10 + 2 * 20)


def test_quartiles_without_the_first_step() -> None:
    assert spread([100.0, 1.0, 2.0, 3.0, 4.0, 5.0]) == Span(2.0, 3.0, 4.0)
    assert spread([7.0]) == even(7.0)
    assert from_runs([3.0, 1.0, 5.0]) == Span(1.0, 3.0, 5.0)
    for nothing in (spread, from_runs):
        with pytest.raises(ValueError, match="no"):
            nothing([])


def test_a_sweep_takes_at_least_its_longest_run() -> None:
    runs = [(even(10.0), 3), (even(40.0), 1), (even(1000.0), 0)]
    assert sweep_seconds(runs, 1) == even(70.0)
    assert sweep_seconds(runs, 2) == even(40.0)
    assert sweep_seconds(runs[:1], 2) == even(15.0)
    assert sweep_seconds([], 2) == even(0.0)


@given(st.lists(st.tuples(SECONDS, st.integers(1, 50)), min_size=1), st.integers(1, 64))
def test_more_workers_are_never_slower_nor_better_than_perfect(runs: list[tuple[float, int]], workers: int) -> None:
    spans = [(even(seconds), number) for seconds, number in runs]
    one, several = sweep_seconds(spans, 1).likely, sweep_seconds(spans, workers).likely
    assert one / workers <= several * (1 + 1e-9)
    assert several <= one * (1 + 1e-9)


@pytest.mark.parametrize(
    ("cores", "others", "threads", "workers"),
    [(8, 0.0, 1, 8), (8, 0.2, 1, 8), (8, 0.5, 1, 7), (8, 4.0, 1, 4), (8, 0.0, 3, 2), (2, 2.0, 1, 1), (2, 9.0, 4, 1)],
)
def test_only_free_cores_are_given_away(cores: int, others: float, threads: int, workers: int) -> None:
    assert workers_by_cores(cores, others, threads) == workers


def test_the_tightest_limit_is_named() -> None:
    memory = safe_workers(8, peak=1000, free=5000, runs=100)
    assert (memory.workers, memory.by_memory, memory.reason) == (4, 4, "memory")
    assert safe_workers(8, peak=10, free=5000, runs=100).reason == "cores"
    few = safe_workers(8, peak=None, free=5000, runs=3)
    assert (few.workers, few.reason) == (3, "runs")
    assert safe_workers(8, peak=10, free=5000, runs=100, cards=2).workers == 2
    none = safe_workers(8, peak=10_000, free=5000, runs=100)
    assert (none.workers, none.by_memory, none.reason) == (1, 0, "memory")


@given(st.integers(1, 64), st.integers(1, 2**40), st.integers(0, 2**42), st.integers(0, 1000))
def test_workers_fit_into_memory_or_there_is_one(by_cores: int, peak: int, free: int, runs: int) -> None:
    found = safe_workers(by_cores, peak, free, runs)
    assert 1 <= found.workers <= by_cores
    assert found.workers == 1 or found.workers * peak <= free
