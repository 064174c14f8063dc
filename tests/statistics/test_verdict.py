import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import Estimate, Uncertain, crossed, seeds_only
from gru_bench.statistics.looks import nominal_level
from gru_bench.statistics.planning import power_difference, power_equivalence, seeds_needed
from gru_bench.statistics.success import SuccessDifference
from gru_bench.statistics.verdict import Verdict, decide


def around(value: float, spread: float = 1.0, seeds: int = 8) -> Estimate:
    """An estimate with a known mean and standard deviation over seeds."""
    se = spread / math.sqrt(seeds)
    return Estimate(value, se, seeds - 1.0, seeds, None, se, math.nan, "t over seeds")


def one(estimate: Uncertain, margin: float | None, **options) -> Verdict:
    return decide({"task": estimate}, {"task": margin}, **options)["task"]


def test_the_three_answers_and_their_order() -> None:
    # half of the 90 % interval is 1.895 * 0.1 / sqrt(8) = 0.067, of the 95 % interval 0.084
    assert one(around(0.0, 0.1), 0.1).answer == "equivalent"
    assert one(around(0.2, 0.1), 0.1).answer == "first"
    assert one(around(-0.2, 0.1), 0.1).answer == "second"
    assert one(around(0.06, 0.1), 0.1).answer == "undecided"
    # clear of zero and inside the margin: the difference does not matter, and that comes first
    small = one(around(0.1, 0.1), 0.2)
    assert small.interval.clear_of()
    assert small.answer == "equivalent"


def test_exceeds_the_margin_only_with_the_whole_interval() -> None:
    assert one(around(0.2, 0.1), 0.1).exceeds_margin is True
    assert one(around(-0.2, 0.1), 0.1).exceeds_margin is True
    assert one(around(0.15, 0.1), 0.1).exceeds_margin is False
    assert one(around(0.2, 0.1), None).exceeds_margin is None


def test_below_five_seeds_nothing_is_decided() -> None:
    for estimate in (around(5.0, 0.1, seeds=4), around(0.0, 0.001, seeds=4), SuccessDifference(4, 0, 4, 4)):
        verdict = one(estimate, 0.1)
        assert verdict.answer == "undecided"
        assert verdict.reason.startswith("4 of at least 5 seeds")
        assert verdict.adjusted_p == 1.0
    needed = one(around(5.0, 0.1, seeds=4), 0.1).seeds_needed
    assert needed is not None
    assert needed.typical == 5


def test_without_a_margin_nothing_is_equivalent() -> None:
    verdict = one(around(0.0, 0.001), None)
    assert verdict.answer == "undecided"
    assert "no margin" in verdict.reason
    assert all(math.isnan(share) for share in verdict.shares)
    assert one(around(0.2, 0.1), None).answer == "first"


def test_what_is_exactly_equal_is_equivalent() -> None:
    assert one(seeds_only(np.zeros(5)), 0.1).answer == "equivalent"
    assert one(crossed(np.zeros((5, 30))), 0.1).answer == "equivalent"


def test_no_difference_on_forty_examples_does_not_show_that_a_hundredth_is_excluded() -> None:
    verdict = one(crossed(np.zeros((8, 40))), 0.01)
    assert verdict.answer == "undecided"
    assert verdict.seeds_needed is None
    assert "more test examples" in verdict.reason
    assert one(crossed(np.zeros((8, 400))), 0.01).answer == "equivalent"


@pytest.mark.parametrize(
    ("estimate", "reason"),
    [
        (seeds_only([1.0, math.inf, 1.0, 1.0, 2.0, 1.0]), "not a finite number"),
        (seeds_only([1.0, math.nan, 1.0, 1.0, 2.0, 1.0]), "not a finite number"),
        (seeds_only(np.full(8, 0.3)), "all 8 seeds gave the same difference"),
    ],
)
def test_what_says_nothing_is_undecided_with_a_reason(estimate: Estimate, reason: str) -> None:
    verdict = one(estimate, 0.1)
    assert verdict.answer == "undecided"
    assert reason in verdict.reason
    assert verdict.seeds_needed is None
    assert verdict.exceeds_margin is False


def test_holm_over_the_family() -> None:
    # t = 3.0 on 7 degrees of freedom: p = 0.020, enough alone and not among three
    estimates = {"a": around(3 / math.sqrt(8)), "b": around(0.0), "c": around(0.1)}
    assert one(estimates["a"], 0.2).answer == "first"
    family = decide(estimates, dict.fromkeys(estimates, 0.2))
    assert family["a"].answer == "undecided"
    assert family["a"].adjusted_p == pytest.approx(3 * family["a"].p)
    assert family["a"].interval.level == pytest.approx(1 - 0.05 / 3)
    # the interval that shows equivalence is not adjusted for the family
    assert family["b"].equivalence.level == pytest.approx(0.9)
    # with a second clear difference the step down gives the first more room
    estimates["b"] = around(4.0)
    assert decide(estimates, dict.fromkeys(estimates, 0.2))["a"].interval.level == pytest.approx(1 - 0.05 / 2)


def test_a_comparison_that_cannot_be_decided_still_counts() -> None:
    estimates = {"a": around(3 / math.sqrt(8)), "b": seeds_only([math.nan] * 6), "c": around(9.0, seeds=4)}
    assert decide(estimates, dict.fromkeys(estimates, 0.2))["a"].adjusted_p == pytest.approx(
        3 * estimates["a"].p_value()
    )


def test_looks_widen_both_intervals() -> None:
    verdict = one(around(0.5), 0.2, looks=4)
    assert verdict.interval.level == pytest.approx(1 - nominal_level(0.05, 4))
    assert verdict.equivalence.level == pytest.approx(1 - nominal_level(0.1, 4))
    by_key = decide({"a": around(0.5), "b": around(0.5)}, {"a": 0.2, "b": 0.2}, looks={"a": 1, "b": 4})
    assert by_key["a"].adjusted_p < by_key["b"].adjusted_p
    assert by_key["a"].p == by_key["b"].p


ESTIMATES = st.lists(
    st.one_of(
        st.builds(around, st.floats(-3, 3), st.floats(0.05, 2), st.integers(2, 40)),
        st.builds(lambda a, b: SuccessDifference(a, b, 9, 9), st.integers(0, 9), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=50)
@given(ESTIMATES, st.integers(1, 8))
def test_answer_interval_and_adjusted_p_agree(estimates: list[Uncertain], looks: int) -> None:
    family = dict(enumerate(estimates))
    for key, verdict in decide(family, dict.fromkeys(family), looks=looks, plan=False).items():
        if abs(verdict.adjusted_p - 0.05) > 1e-6 and estimates[key].num_seeds >= 5:
            assert (verdict.answer != "undecided") == (verdict.adjusted_p < 0.05) == verdict.interval.clear_of()


@settings(deadline=None, max_examples=30)
@given(ESTIMATES, st.floats(0.05, 1))
def test_swapping_the_cells_swaps_the_answer(estimates: list[Uncertain], margin: float) -> None:
    def swapped(estimate: Uncertain) -> Uncertain:
        if isinstance(estimate, SuccessDifference):
            return SuccessDifference(estimate.solved_second, estimate.solved_first, 9, 9)
        return dataclasses.replace(estimate, value=-estimate.value)

    family = dict(enumerate(estimates))
    margins = dict.fromkeys(family, margin)
    there = decide(family, margins, plan=False)
    back = decide({key: swapped(estimate) for key, estimate in family.items()}, margins, plan=False)
    other = {"first": "second", "second": "first"}
    assert [other.get(verdict.answer, verdict.answer) for verdict in there.values()] == [
        v.answer for v in back.values()
    ]


def test_power_of_a_textbook_t_test() -> None:
    # Cohen's d = 0.5, n = 34, two-sided 5 %: power 0.8078 (G*Power's example of a paired t test)
    assert power_difference(around(0.5, 1.0, 34), 0.05) == pytest.approx(0.8078, abs=2e-4)
    assert power_difference(around(0.0, 1.0, 34), 0.05) == pytest.approx(0.025, abs=1e-4)


def test_power_counts_only_what_is_not_equivalent() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(1.2, 1, (40_000, 6))
    mean, se = draws.mean(axis=1), draws.std(axis=1, ddof=1) / math.sqrt(6)
    equivalent = np.abs(mean) + 2.0150 * se < 1.2  # t(0.95; 5)
    found = (mean > 2.5706 * se) & ~equivalent  # t(0.975; 5)
    assert power_difference(around(1.2, 1.0, 6), 0.05, 1.2, 0.1) == pytest.approx(found.mean(), abs=0.008)
    assert power_equivalence(around(1.2, 1.0, 6), 1.2, 0.1) == pytest.approx(equivalent.mean(), abs=0.004)


def test_power_of_equivalence_against_a_simulation() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.1, 1, (20_000, 20))
    half = 1.7291 * draws.std(axis=1, ddof=1) / math.sqrt(20)  # t(0.95; 19)
    inside = (np.abs(draws.mean(axis=1)) + half < 0.8).mean()
    assert power_equivalence(around(0.1, 1.0, 20), 0.8, 0.1) == pytest.approx(inside, abs=0.01)


def test_seeds_needed_have_the_power_announced() -> None:
    verdict = one(around(0.5, 1.0, 8), 0.05)
    needed = verdict.seeds_needed
    assert verdict.answer == "undecided"
    assert needed is not None
    assert needed.typical == 34
    assert needed.low < needed.typical < needed.high
    assert power_difference(around(0.5, 1.0, 33), 0.05) < 0.8 <= power_difference(around(0.5, 1.0, 34), 0.05)


def test_a_small_difference_needs_seeds_for_equivalence() -> None:
    # no difference seen: the way to a decision is equivalence, at the usual sample size for d = margin
    needed = one(around(0.0, 1.0, 8), 0.5).seeds_needed
    assert needed is not None

    def decided(seeds: int) -> float:
        truth = around(0.0, 1.0, seeds)
        return power_equivalence(truth, 0.5, 0.1) + power_difference(truth, 0.05, 0.5, 0.1)

    assert decided(needed.typical - 1) < 0.8 <= decided(needed.typical)
    assert power_equivalence(around(0.0, 1.0, needed.typical), 0.5, 0.1) > 0.78


def test_seeds_do_not_help_where_the_examples_leave_it_open() -> None:
    rng = np.random.default_rng(0)
    table = 0.1 * rng.normal(size=(8, 1)) + 3 * rng.normal(size=(1, 50)) + 0.1 * rng.normal(size=(8, 50))
    verdict = one(crossed(table), 0.3)
    assert verdict.answer == "undecided"
    assert verdict.seeds_needed is None
    assert "more test examples are needed" in verdict.reason


def test_a_vanishing_difference_without_margin_never_ends() -> None:
    needed, why = seeds_needed(around(1e-9), None, level=0.05, equivalence_level=0.1)
    assert needed is None
    assert "more than 10000 seeds" in why


def test_shares_solved_say_how_many_seeds() -> None:
    verdict = one(SuccessDifference(7, 4, 8, 8), 0.2)
    assert verdict.answer == "undecided"
    assert verdict.seeds_needed is not None
    assert 8 < verdict.seeds_needed.low <= verdict.seeds_needed.typical <= verdict.seeds_needed.high < 100
    assert one(SuccessDifference(8, 0, 8, 8), 0.2).answer == "first"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: decide({"a": around(0.0)}, {}), r"no margin for \['a'\]"),
        (lambda: one(around(0.0), -0.1), "margin=-0.1"),
        (lambda: one(around(0.0), 0.1, alpha=5), "alpha=5"),
    ],
)
def test_bad_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
