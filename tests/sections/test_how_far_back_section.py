"""Memory horizons: known answers from searches made by hand."""

import math
from typing import Any

import frames
import made_horizons
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_horizons import Rows, attempts, results, search
from rendering import cell, render, with_facts

from gru_bench.compare.horizons import Horizon, Order, compared, horizons, passed
from gru_bench.report.view import View
from gru_bench.sections.how_far_back import SAME_RUNS
from gru_bench.sections.memory_horizons import EDGE
from gru_bench.statistics.success import wilson


def horizon(outcome: dict[int, tuple[int, int]], name: str = "gru", **options: Any) -> Horizon:
    """The only row of a search; a lag of another cell sets how many seeds were planned."""
    full = attempts("full", 1, 10, 10)
    view = View(results(full, *search(name, outcome, **options)))
    (found,) = (one for one in horizons(view) if one.cell == name)
    return found


@pytest.mark.parametrize(
    ("outcome", "text", "beyond"),
    [
        ({50: (10, 10), 100: (9, 10), 200: (5, 8)}, "100", 200),
        ({50: (10, 10), 100: (8, 10), 200: (0, 0)}, "50", 100),
        ({50: (10, 10)}, "at least 50", None),
        ({50: (10, 10), 100: (1, 1)}, "at least 50", 100),  # cut short: 1 of 1 is no 90 %
        ({50: (0, 2)}, "not 50", 50),
        ({50: (0, 0), 100: (0, 0)}, "not 50", 50),
        ({50: (1, 2)}, "not known", 50),
        ({50: (10, 10), 100: (0, 0), 200: (10, 10)}, "at least 200", None),
    ],
)
def test_the_longest_lag_that_enough_seeds_solve(
    outcome: dict[int, tuple[int, int]], text: str, beyond: int | None
) -> None:
    found = horizon(outcome)
    assert found.text() == text
    assert (found.next.lag if found.next else None) == beyond


def test_a_lag_at_which_all_trials_failed_is_not_solved_with_0_of_them() -> None:
    tried = horizon({50: (10, 10), 100: (0, 0)}, trials=3).next
    assert tried is not None
    assert (tried.num_solved, tried.num, tried.of_trials, tried.passed) == (0, 3, True, False)
    assert tried.num_seeds == 1
    assert (tried.interval.low, tried.interval.high) == (0.0, wilson(0, 3).high)


@given(
    ok=st.integers(0, 10),
    failed=st.integers(0, 10),
)
def test_a_share_is_decided_only_when_it_cannot_change(ok: int, failed: int) -> None:
    from gru_bench.compare.horizons import Attempt

    seeds = [Attempt(i, 0.1, i < ok, 1.0) for i in range(ok + failed)]
    if not seeds:
        assert passed(seeds, [Attempt(0, 0.1, True, 1.0)], 10) is None
    elif failed > 1:
        assert passed(seeds, [], 10) is False
    else:
        assert passed(seeds, [], 10) is (True if ok + failed >= 10 else None)


def test_steps_to_solve_are_a_median_with_the_unsolved_cut_off() -> None:
    at = horizon({50: (9, 10)}, first_step=100, last_step=5000).longest
    assert at is not None
    assert at.steps.median == 500  # seeds at 100, 200 .. 900, one cut off
    assert (at.steps.num_solved, at.steps.num_seeds) == (9, 10)
    low = horizon({50: (1, 10)}, first_step=100).tried[0]
    assert math.isinf(low.steps.median)


def test_without_curves_the_best_validation_score_tells() -> None:
    found = results(*search("gru", {50: (9, 10)}))
    bare = View(frames.make_results(found.runs.to_dict("records"), found.values.to_dict("records")))
    assert [(one.num_solved, one.num) for one in horizons(bare)[0].tried] == [(9, 10)]


def test_runs_that_diverged_count_and_those_that_failed_otherwise_or_never_ended_do_not() -> None:
    ran = results(*search("gru", {50: (10, 10)}))
    for status, error, num in (
        ("failed", "Diverged: loss is nan at step 12", 10),
        ("failed", "OSError: no space left on device", 9),
        ("killed", "", 9),
    ):
        last = [run.endswith("horizon-9") for run in ran.runs["run_id"]]
        facts = {"status": ["finished", status], "error": ["", error]}
        ended = with_facts(ran, **{name: [values[one] for one in last] for name, values in facts.items()})
        assert horizons(View(ended))[0].tried[0].num == num


def test_the_lag_is_what_training_saw_whatever_the_test_goes_beyond() -> None:
    beyond = with_facts(results(*search("gru", {50: (10, 10)})), trained_to=40)
    assert horizons(View(beyond))[0].lag == 40


def test_a_cell_with_two_initial_values_is_two_rows() -> None:
    parts = [
        attempts("lstm", 50, solved, 10, settings=f"cell.forget_bias={bias}, task.lengths=[50]", group_key=f"b{bias}")
        for bias, solved in ((0.0, 10), (1.0, 3))
    ]
    for part, bias in zip(parts, (0, 1), strict=True):
        for run in part[0]:
            run["run_id"] += f"-{bias}"
        for row in (*part[1], *part[2]):
            row["run_id"] += f"-{bias}"
    found = {one.name: one.text() for one in horizons(View(results(*parts)))}
    assert found == {"lstm (cell.forget_bias=0.0)": "at least 50", "lstm (cell.forget_bias=1.0)": "not 50"}


def test_rows_of_other_sizes_and_settings_stand_apart_and_the_lag_is_none_of_them() -> None:
    parts = [
        *search("lstm", {50: (10, 10)}, hidden_size_asked=32, settings="task.lengths=[50], trainer.max_steps=900"),
        *renamed(search("lstm", {100: (3, 10)}, hidden_size_asked=64, settings="task.lengths=[100]")),
        *search("gru", {25: (10, 10)}, hidden_size_asked=32, settings="task.lengths=[25], trainer.max_steps=900"),
        *search("gru", {200: (10, 10)}, hidden_size_asked=32, settings="task.lengths=200, trainer.max_steps=900"),
    ]
    found = {one.name: (one.where, [tried.lag for tried in one.tried]) for one in horizons(View(results(*parts)))}
    small = "hidden size 32, trainer.max_steps=900"
    assert found == {
        f"gru, {small}": (small, [25, 200]),
        f"lstm, {small}": (small, [50]),
        "lstm, hidden size 64": ("hidden size 64", [100]),
    }


def renamed(parts: list[Rows]) -> list[Rows]:
    """Runs of their own, whose rows may be trained at a lag that others were trained at as well."""
    for part in parts:
        for rows in part:
            for row in rows:
                row["run_id"] += "-other"
    return parts


def test_the_search_says_how_many_seeds_and_which_share_of_them_solve_a_lag() -> None:
    stored = {"search_seeds": 10, "search_share": 0.5}
    (found,) = horizons(View(results(*search("gru", {50: (5, 10), 100: (4, 4), 200: (2, 8)}, **stored))))
    assert [tried.passed for tried in found.tried] == [True, None, False]
    assert (found.text(), found.share) == ("50", 0.5)
    # the same without these facts: as many seeds as any lag has, and nine of ten
    (found,) = horizons(View(results(*search("gru", {50: (5, 10), 100: (4, 4), 200: (2, 8)}))))
    assert [tried.passed for tried in found.tried] == [False, None, False]


def test_a_rate_at_an_end_of_the_grid_is_told() -> None:
    found = results(*search("gru", {50: (10, 10)}), *search("lstm", {50: (0, 2)}, trials=3))
    found = with_facts(found, learning_rate=[0.128 if "gru" in r else 0.002 for r in found.runs["run_id"]])
    rates = (0.002, 0.008, 0.032, 0.128)
    trials = found.runs["role"] == "trial"
    found.runs.loc[trials, "learning_rate"] = [rates[int(run[-1])] for run in found.runs.loc[trials, "run_id"]]
    page = render("memory_horizons", found).markdown
    assert cell(page, "gru", "rate") == "0.128, the largest tried"
    assert cell(page, "lstm", "rate") == "0.002, the smallest tried"
    assert EDGE in page
    assert EDGE not in render("memory_horizons", results(*search("gru", {50: (10, 10)}))).markdown


def test_the_same_runs_under_two_budgets_are_told() -> None:
    assert SAME_RUNS in render("how_far_back", made_horizons.long_range()).markdown
    parts = [
        part
        for solved, b in ((10, "parameters"), (9, "state"))
        for part in search("lstm", {50: (solved, 10)}, budget=b)
    ]
    assert SAME_RUNS not in render("how_far_back", results(*parts)).markdown
    assert SAME_RUNS not in render("how_far_back", made_horizons.long_range(("parameters",))).markdown


def test_a_search_in_which_no_trial_solved_anything_is_shown() -> None:
    never = {50: (0, 0), 100: (0, 0)}
    assert [one.text() for one in horizons(View(results(*search("gru", never))))] == ["not 50"]
    facts = {"search_seeds": 10, "search_share": 0.9}
    assert [one.text() for one in horizons(View(results(*search("gru", {50: (0, 0)}, **facts))))] == ["not 50"]


def test_a_search_for_a_rate_alone_has_no_horizon() -> None:
    found = results(attempts("gru", 50, 4, 4, role="trial", rates=(0.1, 0.2, 0.4, 0.8)))
    assert horizons(View(found)) == []
    assert render("how_far_back", found).markdown == render("memory_horizons", found).markdown == ""


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        ({100: (10, 10)}, {50: (0, 10)}, "further"),
        ({100: (10, 10)}, {100: (0, 2)}, "further"),  # p = 0.005
        ({100: (10, 10)}, {100: (0, 0)}, "undecided"),  # 0 of 4 trials, all on one seed: p = 0.035
        ({50: (0, 10)}, {100: (10, 10)}, "nearer"),
        ({100: (10, 10), 200: (10, 10)}, {100: (10, 10), 200: (4, 8)}, "further"),  # p = 0.007
        ({100: (10, 10), 200: (10, 10)}, {100: (10, 10), 200: (8, 10)}, "undecided"),  # p = 0.13
        ({100: (10, 10), 200: (0, 2)}, {100: (9, 10), 200: (0, 0)}, "alike"),
        ({100: (10, 10)}, {200: (0, 10)}, "undecided"),  # not tried at that lag
        ({100: (0, 10)}, {100: (0, 10)}, "undecided"),  # neither solves anything
        ({100: (2, 2)}, {100: (0, 10)}, "undecided"),  # two seeds show nothing
    ],
)
def test_which_cell_reaches_further(
    one: dict[int, tuple[int, int]], other: dict[int, tuple[int, int]], order: Order
) -> None:
    assert compared(horizon(one), horizon(other)) == order


def test_the_tables_and_the_figure() -> None:
    section = render("how_far_back", made_horizons.long_range())
    assert "adding, equal number of parameters: RNN 10, LSTM 100, GRU at least 600 time steps." in section.markdown
    assert cell(section.markdown, "gru_no_reset", "equal number of parameters") == "200 (9 of 10; 400: 4 of 8)"
    assert cell(section.markdown, "mingru", "equal size of state") == "not 10 (0 of 4 trials)"
    figure = section.figures["how_far_back"]
    assert len(figure.axes) == 6  # two budgets of three families
    assert {ax.get_xscale() for ax in figure.axes} == {"log"}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["rnn", "irnn", "rnn_relu"]
    whole = render("memory_horizons", made_horizons.long_range(("hidden",))).markdown
    assert cell(whole, "gru", "horizon") == "at least 600"
    assert cell(whole, "gru_no_reset", "seeds that solve it (95 %)") == "9 of 10 (60 to 98 %)"
    assert cell(whole, "gru_no_reset", "next lag tried") == "400"
    assert cell(whole, "rnn_relu", "trials") == "4 rates (0.002 .. 0.128) at 3 lags: 12 runs"
