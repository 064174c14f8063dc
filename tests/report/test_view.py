"""The view: what may be averaged, which rows there are and what they are called."""

import random

import frames
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import cell, render, scored, with_values

from gru_bench.report.groups import drawn_rows, not_drawn
from gru_bench.report.view import View
from gru_bench.store.read import Results


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 99))
def test_n_counts_distinct_seeds(seeds: list[int], shuffle: int) -> None:
    runs = [frames.run_row("gru", seed, run_id=f"r{i}") for i, seed in enumerate(seeds)]
    random.Random(shuffle).shuffle(runs)
    view = View(scored(runs, [0.1] * len(runs)))
    (task,) = view.tasks
    assert len(view.seed_values(task.groups[0], "mse")) == len(set(seeds))


def test_a_seed_that_ran_twice_weighs_once() -> None:
    runs = [frames.run_row("gru", seed, run_id=f"r{i}") for i, seed in enumerate([0, 0, 1])]
    summary = render("summary", scored(runs, [1.0, 3.0, 5.0])).markdown
    assert (cell(summary, "gru", "mse"), cell(summary, "gru", "n")) == ("3.50", "2")
    assert cell(summary, "gru", "range") == "2.00 .. 5.00"


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    st.sampled_from(["backend", "budget", "dtype", "learning_rate", "batch_size", "hidden_size", "data_source"]),
    st.integers(0, 99),
)
def test_unequal_group_keys_are_never_averaged(column: str, shuffle: int) -> None:
    numbers = {"learning_rate": (0.1, 0.2), "batch_size": (8, 16), "hidden_size": (8, 16)}
    options = numbers.get(column, ("one", "two"))
    runs = [
        frames.run_row("gru", seed, run_id=f"r{k}{seed}", group_key=f"key{k}", **{column: options[k]})
        for k in (0, 1)
        for seed in (0, 1)
    ]
    results = frames.shuffled(scored(runs, [1.0, 1.0, 9.0, 9.0]), shuffle)
    view = View(results)
    (task,) = view.tasks
    means = [view.seed_values(group, "mse").mean() for group in task.groups]
    labels = [group.label for group in task.groups]
    assert sorted(means) == [1.0, 9.0]
    assert len(set(labels)) == 2
    if column != "data_source":  # not among the settings that label: the key's beginning stands for it
        assert all(f"{column} " in label for label in labels)


def test_equal_columns_fall_back_to_the_key() -> None:
    runs = [frames.run_row("gru", 0, run_id=f"r{k}", group_key=f"{k}abcdefgh") for k in (0, 1)]
    (task,) = View(scored(runs, [1.0, 2.0])).tasks
    assert [group.label for group in task.groups] == ["gru (key 0abcde)", "gru (key 1abcde)"]


def test_a_missing_job_stands_with_the_row_that_its_plan_fits() -> None:
    runs = [frames.run_row("gru", 0, run_id=b, group_key=b, backend=b) for b in ("loop", "vendor")]
    missing = {"task": "adding", "cell": "gru", "seed": 1, "status": "missing", "backend": "vendor"}
    (task,) = View(frames.make_results([*runs, missing], [])).tasks
    assert {group.label: len(group.runs) for group in task.groups} == {
        "gru (backend loop)": 1,
        "gru (backend vendor)": 2,
    }
    (task,) = View(frames.make_results([*runs, missing | {"backend": None}], [])).tasks
    assert len(task.groups) == 3


def test_families_in_order_and_the_reference_cell_first() -> None:
    cells = ["gru_article", "gru", "lstm", "attention", "rnn_article", "rnn"]
    (task,) = View(frames.make_results([frames.run_row(cell, 0) for cell in cells], [])).tasks
    expected = ["rnn", "rnn_article", "lstm", "gru", "gru_article", "attention"]
    assert [group.cell for group in task.groups] == expected


def test_two_metrics_of_one_task_are_two_tables() -> None:
    runs = [frames.run_row("gru", 0, run_id="a"), frames.run_row("rnn", 0, run_id="b", primary_metric="recall")]
    assert [task.metric for task in View(frames.make_results(runs, [])).tasks] == ["mse", "recall"]


def guessed(guesses: list[float], data: list[str]) -> Results:
    """One run of the gru per guess that was recorded, each with a score of 0.1."""
    runs = [frames.run_row("gru", seed, data_fingerprint=name, group_key=name) for seed, name in enumerate(data)]
    values = [
        frames.value_row(run["run_id"], "test", "trivial_mse", guess) for run, guess in zip(runs, guesses, strict=True)
    ]
    return with_values(scored(runs, [0.1] * len(runs)), *values)


@pytest.mark.parametrize("shuffle", range(4))
def test_every_trivial_guess_that_runs_of_one_data_recorded_is_shown(shuffle: int) -> None:
    results = frames.shuffled(guessed([0.2, 0.3, 0.2, 0.3, 0.3, 0.3], ["d"] * 6), shuffle)
    (task,) = View(results).tasks
    assert task.trivial == [
        ("trivial guess (as 2 of 6 runs recorded it)", 0.2),
        ("trivial guess (as 4 of 6 runs recorded it)", 0.3),
    ]
    assert task.trivial_value is None
    summary = render("summary", results).markdown
    assert (
        "- Runs of this table recorded different trivial guesses: its definition changed between versions." in summary
    )
    assert cell(summary, "trivial guess (as 4 of 6 runs recorded it)", "mse") == "0.300"


@pytest.mark.parametrize(
    ("guesses", "data", "labels"),
    [
        ([0.2, 0.2], ["abcdefgh", "ijklmnop"], ["trivial guess"]),
        ([0.2, 0.2 + 1e-16 * 3], ["d", "d"], ["trivial guess"]),  # rounding
        ([0.3, 0.2], ["abcdefgh", "ijklmnop"], ["trivial guess (data abcdef)", "trivial guess (data ijklmn)"]),
        ([0.3, 0.2], ["d", "d"], ["trivial guess (as 1 of 2 runs recorded it)"] * 2),
        (
            [0.3, 0.2, 0.3],
            ["abcdefgh", "abcdefgh", ""],
            [
                "trivial guess (data unknown)",
                "trivial guess (data abcdef, as 1 of 2 runs recorded it)",
                "trivial guess (data abcdef, as 1 of 2 runs recorded it)",
            ],
        ),
    ],
)
def test_trivial_guesses_are_labelled_by_what_differs(guesses: list[float], data: list[str], labels: list[str]) -> None:
    (task,) = View(guessed(guesses, data)).tasks
    assert [label for label, _ in task.trivial] == labels
    assert bool(task.remarks) == any("recorded" in label for label in labels)


@pytest.mark.parametrize("shuffle", range(3))
@pytest.mark.parametrize(("higher", "ceiling"), [(True, 0.99), (False, 0.9)])
def test_the_strictest_of_different_goals_is_used(higher: bool, ceiling: float, shuffle: int) -> None:
    goals = [(0.02, 0.1, 0.9), (0.01, 0.3, 0.95), (0.05, 0.2, 0.99), (None, None, None)]
    runs = [
        frames.run_row(
            "gru", seed, primary_higher_is_better=higher, margin=margin, beats_trivial_by=beats, ceiling=solved
        )
        for seed, (margin, beats, solved) in enumerate(goals)
    ]
    results = frames.shuffled(scored(runs, [0.5] * 4), shuffle)
    (task,) = View(results).tasks
    assert (task.margin, task.beats_trivial_by, task.ceiling) == (0.01, 0.3, ceiling)
    note = "- Runs of this table have different goals; the strictest is used."
    assert note in render("summary", results).markdown
    assert note not in render("summary", scored(runs[:1] + runs[3:], [0.5, 0.5])).markdown


def test_goals_that_no_run_recorded_are_not_known() -> None:
    run = frames.run_row("gru", 0, margin=None, beats_trivial_by=None, ceiling=None)
    (task,) = View(scored([run], [0.5])).tasks
    assert (task.margin, task.beats_trivial_by, task.ceiling, task.remarks) == (None, None, None, [])


def test_a_figure_shows_as_many_rows_as_can_be_told_apart() -> None:
    runs = [
        frames.run_row(cell, 0, run_id=f"{cell}-{size}", group_key=f"{cell}-{size}", hidden_size=size, config_key="")
        for cell in ("rnn", "gru")
        for size in range(20)
    ]
    (task,) = View(frames.make_results(runs, [])).tasks
    shown = drawn_rows(task.groups)
    assert [group.cell for group in shown] == ["rnn"] * 12 + ["gru"] * 12
    assert not_drawn([task]).startswith("The figure shows 24 of 40 rows")
    (few,) = View(frames.small()).tasks
    assert drawn_rows(few.groups) == few.groups
    assert not_drawn([few]) == ""
