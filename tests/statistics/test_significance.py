import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_intervals import DARWIN

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import seeds_only
from gru_bench.statistics.significance import EXACT_UP_TO, holm, holm_levels, permutation_p, tost, wilcoxon_p

FAMILY = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(lambda values: dict(enumerate(values)))


def test_wilcoxon_of_scipys_documentation() -> None:
    differences = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]
    assert wilcoxon_p(differences) == pytest.approx(0.041259765625)
    assert wilcoxon_p([0.0, 0.0, 0.0]) == 1.0
    assert wilcoxon_p([*differences, 0.0]) == wilcoxon_p(differences)


def test_fishers_permutation_test_of_darwins_maize() -> None:
    # 863 of 32,768 in each tail
    assert len(DARWIN) <= EXACT_UP_TO
    assert permutation_p(DARWIN, np.random.default_rng(0)) == pytest.approx(2 * 863 / 32768)


def test_flips_at_random_come_close_to_all_flips() -> None:
    values = np.random.default_rng(0).normal(0.45, 1, EXACT_UP_TO)
    exact = permutation_p(values, np.random.default_rng(0))
    # a pair of equal and opposite values more does not move the sum, and is past the exact limit
    many = np.concatenate([values, [1e-9, -1e-9]])
    sampled = permutation_p(many, np.random.default_rng(1))
    assert exact < 0.5
    assert sampled == pytest.approx(exact, abs=0.015)
    assert permutation_p(np.ones(40), np.random.default_rng(0), 999) == 1 / 1000


def test_few_seeds_cannot_give_a_small_p() -> None:
    assert permutation_p([1.0, 1.1, 0.9, 1.2, 1.0], np.random.default_rng(0)) == 2 / 2**5


def test_tost_is_the_larger_of_two_one_sided_p() -> None:
    estimate = seeds_only([0.1, -0.2, 0.05, 0.3, -0.1])
    assert tost(estimate, 0.5) == max(estimate.p_value(-0.5, "greater"), estimate.p_value(0.5, "less"))
    # the 90 % interval ends at the margin exactly where its p is 5 %
    ends = estimate.interval(0.9)
    assert tost(estimate, max(-ends.low, ends.high)) == pytest.approx(0.05)


def test_holm_by_hand() -> None:
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never below the one before
    assert holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(holm(p)) == list(p)
    # d at alpha / 4, a at alpha / 3, c fails at alpha / 2, and b with it
    assert holm_levels(p) == pytest.approx({"d": 0.05 / 4, "a": 0.05 / 3, "c": 0.025, "b": 0.025})


@given(FAMILY, st.floats(0.001, 0.2))
def test_a_level_rejects_what_the_adjusted_p_rejects(p: dict[int, float], alpha: float) -> None:
    adjusted, levels = holm(p), holm_levels(p, alpha)
    for key in p:
        if abs(adjusted[key] - alpha) > 1e-9:
            assert (p[key] <= levels[key]) == (adjusted[key] <= alpha)
        assert alpha / len(p) * 0.999 <= levels[key] <= alpha


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tost(seeds_only([1.0, 2.0]), 0.0), "margin=0.0"),
        (lambda: holm({"adding": 1.2}), "'adding': 1.2"),
        (lambda: wilcoxon_p([[1.0]]), "vector"),
    ],
)
def test_bad_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
