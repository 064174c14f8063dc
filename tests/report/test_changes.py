"""What changed between two results: known answers of Welch's interval, of each verdict, and bad input."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import frames
import numpy as np
import pandas as pd
import pytest
from rendering import scored, with_facts, write

from gru_bench.compare.changes import changes
from gru_bench.errors import UserError
from gru_bench.report.rules import CHECKS, Rules, hold
from gru_bench.report.view import View
from gru_bench.statistics.welch import welch
from gru_bench.store.read import Results
from gru_bench.store.results_csv import read_csv

BASE = [0.100, 0.102, 0.098, 0.101, 0.099]
"""Mean squared errors of five seeds; the margin of the rows is 0.01, and lower is better."""


def results(by_cell: dict[str, list[float]], first_seed: int = 0, **facts: Any) -> Results:
    runs = [frames.run_row(cell, first_seed + i, **facts) for cell, found in by_cell.items() for i in range(len(found))]
    return scored(runs, [score for found in by_cell.values() for score in found])


def answers(old: Results, new: Results, **options: Any) -> dict[str, str]:
    found = changes(View(old, **options), View(new, **options))
    return {row.row: row.answer for row in found.rows}


def test_welch_of_a_known_sample() -> None:
    """By the formulas of Welch and Satterthwaite, and against scipy."""
    found = welch([1, 2, 3, 4], [2, 4, 9])
    assert found.value == -2.5
    assert found.se == pytest.approx(math.sqrt(5 / 12 + 13 / 3))
    slack = (5 / 12) ** 2 / 3 + (13 / 3) ** 2 / 2
    assert found.df == pytest.approx((5 / 12 + 13 / 3) ** 2 / slack)
    from scipy import stats

    known = stats.ttest_ind([1, 2, 3, 4], [2, 4, 9], equal_var=False)
    assert found.p_value() == pytest.approx(known.pvalue)
    interval, expected = found.interval(0.95), known.confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0, 3.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_welch_does_not_bound_what_has_no_spread(first: list[float], second: list[float]) -> None:
    assert welch(first, second).p_value() == 1.0


def test_each_answer() -> None:
    noise = np.array([0.001, -0.001, 0.0005, -0.0005, 0.0])
    old = results({"rnn": BASE, "lstm": BASE, "gru": BASE, "gru_article": BASE})
    base = np.array(BASE)
    new = results(
        {
            "rnn": list(base + 0.05 + noise),
            "lstm": list(base - 0.05 + noise),
            "gru": list(base + 0.001 + noise),
            "gru_article": list(base + 0.02 + 40 * noise),
        }
    )
    expected = {"rnn": "worse", "lstm": "improved", "gru": "within margin", "gru_article": "undecided"}
    assert answers(old, new) == expected
    assert changes(View(old), View(new)).num_worse == 1
    backwards = {"worse": "improved", "improved": "worse"}
    assert answers(new, old) == {row: backwards.get(answer, answer) for row, answer in expected.items()}


def test_scores_on_other_data_are_neither_worse_nor_improved() -> None:
    old, new = results({"gru": BASE}), results({"gru": [2 * score for score in BASE]}, data_fingerprint="other")
    assert answers(old, new) == {"gru": "other data"}
    assert answers(old, results({"gru": [2 * score for score in BASE]})) == {"gru": "worse"}


def test_the_direction_of_the_metric_decides() -> None:
    higher = {"primary_higher_is_better": True}
    old, new = results({"gru": BASE}, **higher), results({"gru": [1 + x * y for x, y in enumerate(BASE)]}, **higher)
    (row,) = changes(View(old), View(new)).rows
    assert row.answer == "improved"
    assert row.difference > 0


def test_other_seeds_are_compared_without_pairs() -> None:
    (row,) = changes(View(results({"gru": BASE})), View(results({"gru": [x + 0.05 for x in BASE]}, 7))).rows
    assert row.answer == "worse"
    assert any("Welch" in note for note in row.notes)
    (row,) = changes(View(results({"gru": BASE})), View(results({"gru": BASE}))).rows
    assert any("paired" in note for note in row.notes)


def test_a_row_without_a_finite_score_is_worse() -> None:
    old = results({"gru": BASE})
    assert answers(old, results({"gru": [*BASE[:4], math.inf]})) == {"gru": "worse"}
    assert answers(old, with_facts(old, status="failed")) == {"gru": "worse"}
    assert answers(with_facts(old, status="failed"), old) == {"gru": "improved"}


def test_rows_are_matched_by_key_then_settings_then_cell() -> None:
    old = with_facts(results({"gru": BASE, "lstm": BASE}), group_key="")
    new = results({"gru": BASE, "rnn": BASE}, learning_rate=0.1)
    found = changes(View(old), View(new))
    assert [row.row for row in found.rows] == ["gru"]
    assert "learning_rate: 0.003, now 0.1" in found.rows[0].notes
    assert found.only_old == ["adding lstm"]
    assert found.only_new == ["adding rnn"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"task": "other"}, "no common task and cell"),
        ({"margin": 0.02}, "the margin changed (0.01 in OLD, 0.02 in NEW)"),
    ],
)
def test_results_that_cannot_be_compared(facts: dict[str, Any], message: str) -> None:
    old = results({"gru": BASE})
    with pytest.raises(UserError) as caught:
        answers(old, with_facts(old, **facts))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_margin_and_no_direction() -> None:
    for facts, message in (({"margin": math.nan}, "no margin"), ({"primary_higher_is_better": pd.NA}, "no direction")):
        bad = with_facts(results({"gru": BASE}), **facts)
        with pytest.raises(UserError, match=message):
            answers(bad, bad)


def test_a_changed_margin_may_be_accepted() -> None:
    old = results({"gru": BASE})
    assert answers(old, with_facts(old, margin=0.02), accept=frozenset({"margins"})) == {"gru": "within margin"}


def test_equal_code_is_seldom_told_apart() -> None:
    """At most 5 % of pairs of results of the same code, of 12 rows each, hold any row that is worse or improved."""
    rng = np.random.default_rng(3)
    cells = [f"cell_{i}" for i in range(12)]

    def draw() -> Results:
        return results({cell: list(0.1 + 0.05 * rng.standard_normal(5)) for cell in cells})

    told = sum(bool({"worse", "improved"} & set(answers(draw(), draw()).values())) for _ in range(20))
    assert told <= 4  # more than 4 of 20 at 5 % has a chance of 0.3 %


# results.csv read back


def test_results_csv_is_read_back(tmp_path: Path) -> None:
    whole = frames.small()
    write(tmp_path, whole)
    found = read_csv(tmp_path / "results.csv")
    assert len(found.runs) == len(whole.runs)
    assert len(found.values) == len(whole.values)
    assert (found.runs.dtypes == whole.runs.dtypes).all()
    by = ["run_id", "split", "metric", "slice", "slice_value"]
    values = [frame.sort_values(by, ignore_index=True)["value"] for frame in (found.values, whole.values)]
    pd.testing.assert_series_equal(*values)
    assert len(View(found).tasks[0].groups) == len(View(whole).tasks[0].groups)


@pytest.mark.parametrize(
    ("text", "message"), [("a,b\n1,2\n", "has no column run_id"), ("", "cannot be read"), ('"', "cannot be read")]
)
def test_another_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_csv(tmp_path / "other.csv")


# rules


def broken(found: Results, **rules: Any) -> dict[str, str]:
    return {held.rule: "; ".join(held.places) for held in hold(View(found), Rules(**rules)) if held.places}


def test_every_rule_has_a_check() -> None:
    assert list(vars(Rules())) == list(CHECKS)


@pytest.mark.parametrize(
    ("rules", "facts", "place"),
    [
        ({"seeds_at_least": 6}, {}, "adding gru has 5"),
        ({"margins_stated": True}, {"margin": math.nan}, "adding gru: 5 runs without"),
        ({"one_margin": True}, {"margin": [0.01] * 9 + [0.02]}, "adding has 0.01, 0.02"),
        ({"one_machine": True}, {"machine": ["a"] * 9 + ["b"]}, "2 of them: a, b"),
        ({"one_commit": True}, {"git_commit": ["a"] * 9 + [""]}, "not known for 1 run"),
        ({"nothing_dirty": True}, {"dirty": [False] * 9 + [True]}, "1 run"),
        ({"all_finished": True}, {"status": ["finished"] * 9 + ["failed"]}, "1 failed"),
        ({"same_seeds": True}, {"status": ["finished"] * 9 + ["failed"]}, "adding have different seeds"),
        ({"one_data": True}, {"data_fingerprint": ["a"] * 9 + ["b"]}, "adding has 2 fingerprints"),
        ({"parity_passed": True}, {"parity": "red"}, "adding gru: 5 runs"),
        ({"equal_settings": True}, {"backend": ["loop"] * 5 + ["bptt"] * 5}, "backend: "),
        ({"rates_tuned": ["gru"]}, {"learning_rate_from": "family"}, "adding gru: family"),
        ({"equal_trials": ["lstm", "gru"]}, {"learning_rate_trials": [5] * 5 + [6] * 5}, "gru 6 rates"),
        ({"beats_trivial": True}, {}, "adding: not known"),
    ],
)
def test_a_rule_says_where_it_is_broken(rules: dict[str, Any], facts: dict[str, Any], place: str) -> None:
    whole = results({"lstm": BASE, "gru": BASE})
    found = broken(with_facts(whole, **facts), **rules)
    assert list(found) == list(rules)
    assert place in found[next(iter(rules))]


def test_rules_hold_where_nothing_is_wrong() -> None:
    facts = {"parity": "passed", "learning_rate_from": "trials", "learning_rate_trials": 5}
    whole = with_facts(results({"lstm": BASE, "gru": BASE}), **facts)
    on = dataclasses.asdict(Rules()) | dict.fromkeys(CHECKS, True)
    on |= {"seeds_at_least": 5, "rates_tuned": ["lstm", "gru"], "equal_trials": ["lstm", "gru"], "beats_trivial": False}
    assert broken(whole, **on) == {}
