"""The sections of a report: known answers on frames made by hand, and what must never be averaged."""

import dataclasses
import importlib
import math
import random
from pathlib import Path
from typing import Any

import frames
import pandas as pd
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import NAMES, node, part_size, render, with_facts, with_values

from gru_bench.config.check import check_node
from gru_bench.report import figures
from gru_bench.report import markdown as base
from gru_bench.report.view import View
from gru_bench.store.read import Results

NOT_SECTIONS = {"__init__"}


def empty() -> Results:
    return frames.make_results([], [])


# every section, found on disk


def test_modules_and_yaml_match_one_to_one() -> None:
    modules = {path.stem for path in (REPOSITORY / "gru_bench" / "sections").glob("*.py")} - NOT_SECTIONS
    assert modules == set(NAMES)
    assert {node(name)["_target_"] for name in NAMES} == {f"gru_bench.sections.{name}.render" for name in NAMES}


def test_orders_are_distinct() -> None:
    orders = [node(name)["order"] for name in NAMES]
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_fits_its_function(name: str) -> None:
    options = node(name)
    assert options.pop("_partial_") is True
    del options["order"]
    check_node(options, name)


@pytest.mark.parametrize("name", NAMES)
def test_first_line_of_yaml_describes_it(name: str) -> None:
    first = (REPOSITORY / "conf" / "section" / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


@pytest.mark.parametrize("name", NAMES)
def test_docstring_says_which_question_is_answered(name: str) -> None:
    assert "Answer: " in (importlib.import_module(f"gru_bench.sections.{name}").render.__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_no_runs_nothing_to_say(name: str) -> None:
    section = render(name, empty())
    assert (section.markdown, section.figures) == ("", {})


@pytest.mark.parametrize("name", NAMES)
def test_runs_that_left_nothing_but_their_plan(name: str) -> None:
    planned = [{"job": 0, "task": "adding", "cell": "gru", "seed": 0, "status": "missing", "experiment": "quick"}]
    section = render(name, frames.make_results(planned, []))
    assert not section.figures
    if name in ("summary", "faults"):
        assert "adding" in section.markdown


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_which_nearly_nothing_is_known(name: str) -> None:
    """Plain frames without the reader's types and most of its columns."""
    runs = pd.DataFrame([{"run_id": "a", "task": "t", "cell": "c", "status": "failed"}, {"run_id": "b"}])
    values = pd.DataFrame({"run_id": [], "split": [], "metric": [], "value": []})
    curves = pd.DataFrame({"run_id": [], "metric": [], "step": [], "value": []})
    render(name, Results(runs=runs, values=values, curves=curves))


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_shown_and_every_shown_figure_is_there(name: str) -> None:
    section = render(name, frames.small())
    shown = {part.split(")")[0] for part in section.markdown.split("](figures/")[1:]}
    assert shown == {f"{figure}.png" for figure in section.figures}


@pytest.mark.parametrize("name", NAMES)
def test_order_of_rows_changes_no_byte_of_markdown(name: str) -> None:
    results = frames.realistic(2, ("lstm", "gru", "gru_article"))
    assert render(name, frames.shuffled(results, 1)).markdown == render(name, results).markdown


@pytest.mark.parametrize("name", NAMES)
def test_results_are_not_changed(name: str) -> None:
    results, before = frames.small(), frames.small()
    render(name, results)
    for field in dataclasses.fields(Results):
        pd.testing.assert_frame_equal(getattr(results, field.name), getattr(before, field.name))


def test_order_of_rows_changes_no_byte_of_a_figure(tmp_path: Path) -> None:
    for folder, results in {"a": frames.small(), "b": frames.shuffled(frames.small(), 3)}.items():
        (tmp_path / folder).mkdir()
        for name in ("summary", "learning_curves", "score_by_length"):
            for key, figure in render(name, results).figures.items():
                figures.save(figure, tmp_path / folder, key)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_generated_data_is_said_wherever_scores_are_shown() -> None:
    for name in ("summary", "score_by_length"):
        assert "adding (generated data)" in render(name, frames.small()).markdown
    assert "adding is made by a generator" in render("limits", frames.small()).markdown
    real = frames.small()
    real.runs["generated"] = False
    for name in NAMES:
        assert "(generated data)" not in render(name, real).markdown


# what may be averaged


def cell(table: str, row: str, column: str) -> str:
    """One cell of a markdown table."""
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    header = next(line for line in lines if any(f"{name} ".startswith(f"{column} ") for name in line))
    at = next(i for i, name in enumerate(header) if f"{name} ".startswith(f"{column} "))
    return next(line for line in lines if row in line)[at]


def scored(runs: list[dict[str, Any]], scores: list[float]) -> Results:
    values = [frames.value_row(run["run_id"], "test", "mse", s) for run, s in zip(runs, scores, strict=True)]
    return frames.make_results(runs, values)


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


# known answers


def test_summary_of_known_numbers() -> None:
    section = render("summary", frames.small()).markdown
    assert cell(section, "rnn", "mse") == "0.160"
    assert cell(section, "rnn", "sd") == "0.014"  # |0.15 - 0.17| / sqrt(2)
    assert cell(section, "rnn", "range") == "0.150 .. 0.170"
    assert cell(section, "gru", "not finished") == "2"
    assert cell(section, "gru", "sd") == base.UNKNOWN
    assert cell(section, "trivial guess", "mse") == "0.167"
    assert "mse (squared error) ↓" in section
    assert "beats the trivial guess by 0.165 (a useful model beats it by at least 0.1)" in section
    assert "**" not in section  # no winner is set in bold


@pytest.mark.parametrize(
    ("scores", "higher", "sentence"),
    [
        ([0.05, 0.15], False, "The best mean beats the trivial guess by 0.15 (a"),
        ([0.15, 0.19], False, "No cell learned this task: the best mean beats the trivial guess by 0.05 only"),
        ([0.25, 0.3], False, "No cell learned this task: no mean beats the trivial guess"),
        ([0.25, 0.35], True, "The best mean beats the trivial guess by 0.15 (a"),
        ([0.15, 0.1], True, "No cell learned this task: no mean"),
    ],
)
def test_the_trivial_guess_and_its_margin(scores: list[float], higher: bool, sentence: str) -> None:
    runs = [frames.run_row(name, 0, primary_higher_is_better=higher) for name in ("rnn", "gru")]
    results = scored(runs, scores)
    results.values.loc[len(results.values)] = frames.value_row("adding-rnn-0", "test", "trivial_mse", 0.2)
    assert (
        sentence.replace("0.15 (a", "0.150 (a").replace("0.05 only", "0.0500 only")
        in render("summary", results).markdown
    )


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([0.0005, 0.001], "Every family is at the ceiling (at most 0.001)"),
        ([0.0005, 0.01], "At the ceiling (at most 0.001): rnn. The other"),
        ([0.5, 0.5], None),
    ],
)
def test_the_ceiling(scores: list[float], sentence: str | None) -> None:
    results = scored([frames.run_row("rnn", 0), frames.run_row("gru", 0)], scores)
    markdown = render("summary", results).markdown
    assert sentence in markdown if sentence else "ceiling" not in markdown


def test_unequal_settings_of_two_cells_are_said() -> None:
    runs = [frames.run_row("rnn", 0), frames.run_row("lstm", 1, backend="vendor")]
    section = render("summary", scored(runs, [1.0, 1.0])).markdown
    assert "The rows differ in backend: loop (rnn), vendor (lstm)." in section
    assert "not all stand on the same seeds" in section


def test_infinite_scores_are_shown_as_such() -> None:
    runs = [frames.run_row("rnn", 0), frames.run_row("rnn", 1)]
    section = render("summary", scored(runs, [math.inf, 0.1]))
    assert cell(section.markdown, "rnn", "mse") == "inf"
    assert set(section.figures) == {"summary"}


def test_score_by_length_of_known_numbers() -> None:
    section = render("score_by_length", frames.small()).markdown
    assert cell(section, "rnn", "length 10") == "0.0800 ± 0.0071"
    assert cell(section, "gru", "length 50") == "0.00200"
    assert section.index("length 10") < section.index("length 50")
    assert cell(section, "trivial guess", "length 10") == "0.143"
    assert "The summary's scores are those of length 50." in section
    assert render("score_by_length", frames.small(), slices=["lag"]).markdown == ""


def test_each_seed_is_drawn_to_its_own_end_and_the_mean_where_all_are_there() -> None:
    from gru_bench.sections.learning_curves import shared_steps, task_curves

    results = frames.small()
    extra = pd.DataFrame(frames.curve_rows("adding-rnn-0", "valid/mse", {900: 0.1}))
    results = dataclasses.replace(results, curves=pd.concat([results.curves, extra], ignore_index=True))
    (task,) = View(results).tasks
    curves = task_curves(results.curves, task)
    assert list(curves) == ["rnn", "gru"]
    assert {seed: list(found.index) for seed, found in curves["rnn"].items()} == {
        0: [100, 300, 500, 900],
        1: [100, 300, 500],
    }
    assert list(shared_steps(curves["rnn"]).index) == [100, 300, 500]
    ax = render("learning_curves", results).figures["learning_curves"].axes[0]
    ends = [list(line.get_xdata())[-1] for line in ax.lines]
    assert ends == [900, 500, 500, 500, 500]  # two seeds of the rnn and their mean, one of the gru and its
    assert ax.lines[2].get_ydata()[-1] == pytest.approx(0.16)


def own_data() -> Results:
    """Six short runs: three stay at the guess of 0.425, five are ended by patience, and one is still improving."""
    facts = {"primary_metric": "accuracy", "primary_unit": "share", "primary_higher_is_better": True}
    rows, values = [], []
    for name, scores in {"lstm": [0.425, 0.825, 0.45], "gru": [0.775, 0.425, 0.425]}.items():
        for seed, score in enumerate(scores):
            late = (name, seed) == ("gru", 0)
            stopped = "max_steps=100" if late else "patience=2"
            rows.append(frames.run_row(name, seed, "own", **facts, beats_trivial_by=0.1, stopped=stopped))
            run = rows[-1]["run_id"]
            found = {("test", "accuracy"): score, ("test", "trivial_accuracy"): 0.425}
            found |= {("train", "steps"): 100 if late else 30, ("train", "best_step"): 100 if late else 10}
            values += [frames.value_row(run, split, metric, value) for (split, metric), value in found.items()]
    return frames.make_results(rows, values)


def test_how_runs_ended_stands_under_the_tasks_table() -> None:
    summary = render("summary", own_data()).markdown
    assert "- Still improving at the last evaluation: 1 of 6 runs (gru 1): " in summary
    assert "- Ended by patience: 5 of 6 runs (lstm 3, gru 2): " in summary
    assert "- Never left the trivial guess: 3 of 6 runs (lstm 1, gru 2): " in summary


def test_endings_that_no_run_has_or_that_are_not_known_are_not_mentioned() -> None:
    results = frames.small()
    assert "Still improving at the last evaluation: 3 of 3 runs" in render("summary", results).markdown
    plain = dataclasses.replace(results, values=results.values.query("metric == 'mse'"))
    summary = render("summary", plain).markdown
    for what in ("Still improving", "patience", "Never left"):
        assert what not in summary


def test_article_shows_its_own_task_only() -> None:
    assert render("article", frames.small()).markdown == ""
    runs = [frames.run_row("lstm", seed, "event_order") for seed in (0, 1)]
    values = []
    for run, accuracy in zip(runs, (0.8, 0.9), strict=True):
        unit = {"unit": "share of sequences", "higher_is_better": True}
        values += [
            frames.value_row(run["run_id"], "test", "accuracy", accuracy, **unit),
            frames.value_row(run["run_id"], "test", "trivial_accuracy", 0.25, **unit),
        ]
    section = render("article", frames.make_results(runs, values)).markdown
    assert cell(section, "lstm", "accuracy (share of sequences) ↑") == "0.850 ± 0.071"
    assert cell(section, "trivial guess", "accuracy") == "0.250"
    assert "loss" not in section.split("|", 1)[1]  # not measured, no column


def test_the_level_without_memory_of_order_is_drawn_and_named() -> None:
    facts = {"primary_metric": "accuracy", "primary_unit": "share", "primary_higher_is_better": True}
    runs = [frames.run_row("lstm", seed, "event_order", **facts) for seed in (0, 1)]
    values = []
    for run, accuracy in zip(runs, (0.8, 0.9), strict=True):
        values.append(frames.value_row(run["run_id"], "test", "accuracy", accuracy))
        for distance in ("5-20", "21-40"):
            part = {"slice": "distance", "slice_value": distance}
            values.append(frames.value_row(run["run_id"], "test", "accuracy", accuracy, **part))
            values.append(part_size(run["run_id"], "distance", distance, 500))
    results = frames.make_results(runs, values)
    section = render("article", results)
    assert "Dotted, at 0.75: without memory of order. A model without memory of order" in section.markdown
    assert cell(section.markdown.split("### accuracy by distance")[1], "lstm", "distance 21-40") == "0.850 ± 0.071"
    figure = section.figures["article"]
    assert 0.75 in [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert "without memory of order (0.75)" in [text.get_text() for text in figure.legends[0].get_texts()]
    without = render("article", results, level=None)
    assert "Dotted" not in without.markdown
    assert 0.75 not in [line.get_ydata()[0] for line in without.figures["article"].axes[0].lines]
    assert render("score_by_length", results).markdown == ""  # it stands in the article's section


def test_cost_lists_medians_and_ranks_nothing() -> None:
    results = with_facts(frames.small(), shared=False)
    fast = (results.values["run_id"] == "adding-rnn-1") & (results.values["metric"] == "train_s")
    results.values.loc[fast, "value"] = 4.5
    section = render("cost", results)
    assert cell(section.markdown, "rnn", "tokens/s") == "123,000"
    assert "~" not in section.markdown
    assert not section.figures
    assert "not a ranking" in section.markdown
    assert cell(section.markdown, "rnn", "training s") == "3.50 (2.50 .. 4.50)"
    assert cell(section.markdown, "gru", "kernel") == "ATen loop"
    assert cell(section.markdown, "gru", "shared machine") == "no"


@pytest.mark.parametrize("shared", [True, pd.NA, [False, True, True, True, True]])
def test_times_on_a_shared_machine_have_one_digit(shared: Any) -> None:
    results = with_facts(frames.small(), shared=shared)
    slow = (results.values["run_id"] == "adding-rnn-1") & (results.values["metric"] == "train_s")
    results.values.loc[slow, "value"] = 7.3
    section = render("cost", results).markdown
    assert cell(section, "rnn", "training s") == "~2 .. 7"
    assert cell(section, "rnn", "tokens/s") == "~100,000"
    assert cell(section, "rnn", "peak tensor MiB") == "1.50"
    assert "shared the machine with other work" in section


def test_a_kernel_that_disagrees_with_the_reference_is_marked() -> None:
    results = frames.small()
    results.runs["parity"] = ["red" if cell == "gru" else "passed" for cell in results.runs["cell"]]
    section = render("cost", results).markdown
    assert "disagrees" in cell(section, "gru", "kernel")
    assert cell(section, "rnn", "kernel") == "ATen loop"


def test_faults_give_each_run_its_reason() -> None:
    section = render("faults", frames.small()).markdown
    assert "2 of 5 planned runs did not finish" in section
    assert cell(section, "failed", "reason") == "Diverged: loss is nan at step 12"
    assert cell(section, "missing", "reason") == "was planned and left no run"
    assert "Diverged…" in render("faults", frames.small(), longest_reason=9).markdown


def test_no_faults_is_one_line() -> None:
    runs = [frames.run_row("rnn", seed) for seed in (0, 1)]
    assert render("faults", frames.make_results(runs, [])).markdown == "All 2 planned runs finished."


def test_environment_warns_where_runs_differ() -> None:
    assert "Warning" not in render("environment", frames.small()).markdown
    mixed = frames.small()
    mixed.runs.loc[0, "env_torch"] = "2.12.0"
    mixed.runs.loc[1, "dirty"] = True
    section = render("environment", mixed).markdown
    assert "2 different values of torch" in section
    assert "uncommitted changes; their commit is not the code that ran" in section


def test_environment_traces_rows_to_run_ids() -> None:
    section = render("environment", frames.realistic()).markdown
    for run in frames.realistic().runs.query("status == 'finished'")["run_id"]:
        assert run[:8] in section


def test_limits_are_computed() -> None:
    few = render("limits", frames.small()).markdown
    assert "n is 1 to 2 seeds a row. Below 5 no difference" in few
    assert "adding 4,353 to 12,993" in few
    assert "3 of 3 runs were still improving at the last evaluation" in few
    assert "gru on adding" in few
    many = render("limits", frames.realistic(5, ("rnn", "gru"))).markdown
    assert "n is 5 seeds a row. Differences are shown, not tested" in many
    assert "On 7 of 7 tasks" in many


DISCLOSURE = "Sizes, steps and learning rates of the shipped tasks, those with trials and those without, were chosen"


@pytest.mark.parametrize("source", ["trials", "family", "task", None])
def test_that_settings_were_chosen_by_looking_at_these_cells_is_always_said(source: str | None) -> None:
    assert DISCLOSURE in render("limits", with_facts(frames.small(), learning_rate_from=source)).markdown


def test_limits_count_where_rates_come_from() -> None:
    results = frames.realistic(2, ("rnn", "gru"))
    adding = results.runs["task"] == "adding"
    gru = results.runs["cell"] == "gru"
    sources = [("family" if a and g else "trials" if a else "task") for a, g in zip(adding, gru, strict=True)]
    text = render("limits", with_facts(results, learning_rate_from=sources)).markdown
    assert "Learning rates of 14 rows: the best of the row's own trials at these settings (1), its family's" in text
    assert "not tuned for the cell (1), the task's one rate for all cells (12)." in text
    assert "On adding the rates were not chosen alike for all rows" in text
    assert "On copy_memory, event_order, language_modeling" in text
    trials = [5 if g else 4 for g in gru]
    text = render("limits", with_facts(results, learning_rate_from="trials", learning_rate_trials=trials)).markdown
    assert "language_modeling, language_modeling_char, sentiment, translation the rates were not chosen alike" in text
    assert "share one rate" not in text


def test_limits_claim_nothing_of_rates_whose_origin_is_not_recorded() -> None:
    text = render("limits", with_facts(frames.small(), learning_rate_trials=5)).markdown
    assert "Learning rates of 2 rows: of no recorded origin (2)." in text
    for claim in ("best", "share one rate", "chosen alike"):
        assert claim not in text.split("of 2 rows")[1].split("Sizes")[0]


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        (
            {"learning_rate_from": "trials", "learning_rate_trials": 6, "learning_rate_trial_seeds": 3},
            "(a) best among 6 rates by validation score, mean over 3 seeds a rate.",
        ),
        (
            {"learning_rate_from": "trials", "learning_rate_trials": 6, "learning_rate_trial_seeds": 1},
            "(a) best of one trial a rate, among 6 rates, by validation score: one trial is noisy.",
        ),
        (
            {"learning_rate_from": "family", "learning_rate_trials": 0},
            "(a) rate of its family, not tuned for this cell.",
        ),
        ({"learning_rate_from": "fallback"}, "(a) rate not tuned for this cell."),
        ({"learning_rate_from": "user"}, "(a) given by hand."),
        ({"learning_rate_from": "task"}, "(a) one rate for all cells of the task, tuned for none of them."),
        (
            {"learning_rate_from": "other settings", "learning_rate_trials": 6},
            "(a) best of this cell's own trials at other settings, not tuned for these.",
        ),
    ],
)
def test_a_rate_is_called_best_only_where_it_is(facts: dict[str, Any], note: str) -> None:
    summary = render("summary", with_facts(frames.small(), **facts)).markdown
    assert f"- Learning rates: {note}\n" in summary
    assert cell(summary, "rnn", "learning rate") == "0.003 (a)"


def test_each_row_has_the_mark_of_its_own_rate() -> None:
    results = frames.small()
    gru = results.runs["cell"] == "gru"
    extra = ["0.05 for lstm and gru alone" if g else "" for g in gru]
    sources = ["user" if g else "trials" for g in gru]
    facts = {"learning_rate_trials": 6, "learning_rate_trial_seeds": 2, "learning_rate_extra": extra}
    summary = render("summary", with_facts(results, learning_rate_from=sources, **facts)).markdown
    assert cell(summary, "rnn", "learning rate") == "0.003 (a)"
    assert cell(summary, "gru", "learning rate") == "0.003 (b)"
    assert "mean over 2 seeds a rate; (b) given by hand." in summary
    assert "Beyond the common grid of rates, more was tried for gru: 0.05 for lstm and gru alone." in summary


def test_nothing_is_claimed_of_a_rate_whose_origin_is_not_recorded() -> None:
    summary = render("summary", with_facts(frames.small(), learning_rate_trials=5)).markdown
    assert "Learning rates:" not in summary
    assert cell(summary, "rnn", "learning rate") == "0.003"


@pytest.mark.parametrize(
    ("sizes", "sentence", "other"),
    [
        ({"adding": (64, 64)}, "Every cell got the same hidden size; but equal", "differ in hidden size"),
        ({"adding": (32, 64)}, "Rows of one task differ in hidden size (adding 32, 64)", "got the same hidden size"),
        ({"adding": (32, 32), "b": (64, 64)}, "got the same hidden size on each task;", "differ in hidden size"),
        ({"adding": (32, 32), "b": (32, 64)}, "differ in hidden size (b 32, 64)", "got the same hidden size"),
    ],
)
def test_one_hidden_size_is_claimed_only_where_it_is_true(
    sizes: dict[str, tuple[int, int]], sentence: str, other: str
) -> None:
    rows = [
        frames.run_row(name, 0, task, hidden_size=size, hidden_size_asked=size)
        for task, both in sizes.items()
        for name, size in zip(("rnn", "gru"), both, strict=True)
    ]
    text = render("limits", frames.make_results(rows, [])).markdown
    assert sentence in text
    assert other not in text


# how numbers, tables and figures are written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 6, "0.167"),
        (0.1, "0.100"),
        (0.9996, "1.00"),
        (99.96, "100"),
        (12345.0, "12,300"),
        (0.0001234, "0.000123"),
        (0.00001234, "1.23e-05"),
        (-2.5, "-2.50"),
        (0.0, "0"),
        (math.inf, "inf"),
        (math.nan, base.UNKNOWN),
        (None, base.UNKNOWN),
        (pd.NA, base.UNKNOWN),
    ],
)
def test_numbers_have_three_digits(value: Any, text: str) -> None:
    assert base.number(value) == text


@given(st.floats(1e-9, 1e9), st.integers(1, 6))
def test_a_written_number_is_close_to_the_measured_one(value: float, digits: int) -> None:
    written = float(base.number(value, digits).replace(",", ""))
    assert abs(written - value) <= 0.5000001 * 10.0 ** (math.floor(math.log10(value)) - digits + 1)


def test_tables_are_aligned_and_cells_stay_in_their_column() -> None:
    lines = base.table(["a", "number"], [["x|y\nz", "1"], ["long text", "23"]], {"number"}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| --------- | -----: |"
    assert lines[2] == "| x\\|y z    |      1 |"


def test_each_cell_has_its_own_look_in_the_hue_of_its_family() -> None:
    results = frames.realistic(1, ("rnn", "lstm", "gru", "gru_article", "gru_reset_before", "rnn_article"))
    looks = figures.looks(View(results))
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)
    alone = figures.looks(View(frames.realistic(1, ("gru", "gru_article"))))
    assert all(alone[name] == looks[name] for name in alone)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=14))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_no_legend_is_cut_off(lengths: list[int]) -> None:
    from matplotlib.lines import Line2D

    with figures.style():
        figure, _ = figures.panels(1, 2, 1.0)
        figures.legend_below(figure, [Line2D([], [], label="m" * (length // 2) + "i" * length) for length in lengths])
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
    longest = max(lengths) * 1.5
    assert box.width <= figure.bbox.width or longest > 80  # one column is all that can be done


def test_user_settings_of_matplotlib_do_not_matter() -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.titlesize": 40}):
        with figures.style():
            assert matplotlib.rcParams["axes.titlesize"] == 10
        assert matplotlib.rcParams["font.size"] == 30


def test_log_axes_only_where_numbers_span_decades() -> None:
    assert figures.wants_log("mse", [0.001, 0.1], [], 20)
    assert not figures.wants_log("mse", [0.05, 0.1], [], 20)
    assert figures.wants_log("perplexity", [100, 110], ["perplexity"], 20)
    assert not figures.wants_log("perplexity", [0, 110], ["perplexity"], 20)
    assert not figures.wants_log("mse", [math.nan], ["mse"], 20)


def test_balanced_accuracy_stands_beside_accuracy_where_it_was_measured() -> None:
    results = own_data()
    summary = render("summary", results).markdown
    assert "balanced" not in summary
    more = []
    for run, value in zip(results.runs["run_id"], [0.5, 0.8, 0.5, 0.7, 0.5, 0.5], strict=True):
        guess = {"balanced_accuracy": value, "trivial_balanced_accuracy": 0.5}
        more += [frames.value_row(run, "test", metric, score) for metric, score in guess.items()]
    summary = render("summary", with_values(results, *more)).markdown
    assert "| balanced_accuracy ↑ |" in summary
    assert cell(summary, "trivial guess", "balanced_accuracy") == "0.500"
    assert cell(summary, "lstm", "balanced_accuracy") == "0.500 (median)"  # of .5, .8, .5: one seed learned the task
    assert cell(summary, "lstm", "n") == "3"


def test_a_test_set_that_was_chosen_otherwise_than_validation_is_said() -> None:
    results = frames.small()
    sentence = "The test rows were selected differently from the validation rows: sentences of two attractors alone."
    assert (
        sentence in render("summary", with_facts(results, test_selection="sentences of two attractors alone")).markdown
    )
    assert "selected differently" not in render("summary", results).markdown


def perplexities(guess: float) -> Results:
    facts = {"primary_metric": "perplexity", "primary_unit": "perplexity"}
    rows = [frames.run_row(name, 0, "words", **facts) for name in ("rnn", "lstm", "gru")]
    values = []
    for row, score in zip(rows, (110.0, 105.0, 100.0), strict=True):
        found = {"perplexity": score, "trivial_perplexity": guess}
        values += [frames.value_row(row["run_id"], "test", metric, value) for metric, value in found.items()]
    return frames.make_results(rows, values)


def test_a_far_trivial_guess_does_not_press_the_cells_together() -> None:
    ax = render("summary", perplexities(640.0)).figures["summary"].axes[0]
    assert ax.get_xlim()[1] < 130
    assert "guess 640 →" in [text.get_text() for text in ax.texts]
    ax = render("summary", perplexities(12.0)).figures["summary"].axes[0]
    assert ax.get_xlim()[0] > 90
    assert "← guess 12.0" in [text.get_text() for text in ax.texts]


def test_a_near_trivial_guess_is_drawn_to_scale() -> None:
    ax = render("summary", perplexities(115.0)).figures["summary"].axes[0]
    assert ax.get_xlim()[1] > 115
    assert 115.0 in [line.get_xdata()[0] for line in ax.lines]
    assert not ax.texts


# all or nothing


def all_or_nothing(scores: dict[str, list[float]], **facts: Any) -> Results:
    """Recall on a task whose trivial guess is 0.1 and whose margin is 0.3, one run a seed."""
    usual = {"primary_metric": "recall", "primary_unit": "share", "primary_higher_is_better": True}
    usual |= {"beats_trivial_by": 0.3} | facts
    rows, values = [], []
    for name, by_seed in scores.items():
        for seed, score in enumerate(by_seed):
            rows.append(frames.run_row(name, seed, "copy_memory", **usual))
            run_id = rows[-1]["run_id"]
            found = {"recall": score, "trivial_recall": 0.1}
            values += [frames.value_row(run_id, "test", metric, value) for metric, value in found.items()]
            part = {"slice": "length", "slice_value": "10"}
            values.append(frames.value_row(run_id, "test", "recall", score, **part))
    return frames.make_results(rows, values)


def test_seeds_that_split_show_their_median_and_how_many_learned() -> None:
    results = all_or_nothing({"rnn": [0.0, 0.82, 0.12, 0.10, 0.74], "gru": [0.9, 0.8, 1.0, 0.9, 0.9]})
    section = render("summary", results)
    assert cell(section.markdown, "rnn", "recall") == "0.120 (median)"
    assert cell(section.markdown, "rnn", "sd") == "2 of 5 seeds"
    assert cell(section.markdown, "gru", "recall") == "0.900"
    assert cell(section.markdown, "gru", "sd") == "0.071"
    assert "Split over seeds" in section.markdown
    assert "rnn (2 of 5)" in section.markdown
    hollow = [line.get_xdata()[0] for line in section.figures["summary"].axes[0].lines if line.get_mfc() == "white"]
    assert hollow == [0.12]
    by_length = render("score_by_length", results)
    assert cell(by_length.markdown, "rnn", "length 10") == "0.120 (median)"
    assert cell(by_length.markdown, "gru", "length 10") == "0.900 ± 0.071"
    drawn = {line.get_mfc(): line.get_ydata()[0] for line in by_length.figures["score_by_length"].axes[0].lines[:3]}
    assert drawn["white"] == 0.12


def test_whether_seeds_split_is_not_claimed_where_the_margin_or_the_guess_is_not_known() -> None:
    scores = {"rnn": [0.0, 0.82, 0.12]}
    for results in (
        all_or_nothing(scores, beats_trivial_by=None),
        all_or_nothing(scores, primary_higher_is_better=None),
        dataclasses.replace(
            all_or_nothing(scores), values=all_or_nothing(scores).values.query("metric != 'trivial_recall'")
        ),
    ):
        summary = render("summary", results).markdown
        assert cell(summary, "rnn", "recall") == "0.313"
        assert "Split over seeds" not in summary


def test_a_task_that_some_seeds_learned_is_not_said_to_be_learned_by_no_cell() -> None:
    summary = render("summary", all_or_nothing({"rnn": [0.05, 0.82, 0.12]})).markdown
    assert "No cell learned this task with most of its seeds: the best mean or median beats" in summary
    assert "No cell learned this task:" not in summary


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_row_is_split_where_some_seeds_learned_and_some_did_not(scores: list[float]) -> None:
    view = View(all_or_nothing({"rnn": scores}))
    found = view.outcomes(view.tasks[0])["rnn"]
    learned = [score - 0.1 >= 0.3 for score in scores]
    assert found.num_learned == sum(learned)
    assert found.is_split == (any(learned) and not all(learned))
    assert min(scores) - 1e-12 <= found.typical <= max(scores) + 1e-12
