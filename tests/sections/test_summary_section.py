"""The summary: scores, how runs ended, what is true of the rates, rows whose seeds split."""

import dataclasses
import itertools
import math
from typing import Any

import frames
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import cell, render, scored, with_facts, with_values

from gru_bench.report import markdown as base
from gru_bench.report.scores import Outcome
from gru_bench.report.view import View
from gru_bench.store.read import Results


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
        ([0.15, 0.19], False, "No cell learned this task: the best mean beats the trivial guess by only 0.0500"),
        ([0.25, 0.3], False, "No cell learned this task: no mean beats the trivial guess"),
        ([0.25, 0.35], True, "The best mean beats the trivial guess by 0.15 (a"),
        ([0.15, 0.1], True, "No cell learned this task: no mean"),
    ],
)
def test_the_trivial_guess_and_its_margin(scores: list[float], higher: bool, sentence: str) -> None:
    runs = [frames.run_row(name, 0, primary_higher_is_better=higher) for name in ("rnn", "gru")]
    results = scored(runs, scores)
    results.values.loc[len(results.values)] = frames.value_row("adding-rnn-0", "test", "trivial_mse", 0.2)
    assert sentence.replace("0.15 (a", "0.150 (a") in render("summary", results).markdown


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


def test_unequal_settings_of_two_cells_are_noted() -> None:
    runs = [frames.run_row("rnn", 0), frames.run_row("lstm", 1, backend="vendor")]
    section = render("summary", scored(runs, [1.0, 1.0])).markdown
    assert "The rows differ in backend: loop (rnn), vendor (lstm)." in section
    assert "not all have the same seeds" in section


def test_infinite_scores_are_shown_as_such() -> None:
    runs = [frames.run_row("rnn", 0), frames.run_row("rnn", 1)]
    section = render("summary", scored(runs, [math.inf, 0.1]))
    assert cell(section.markdown, "rnn", "mse") == "inf"
    assert set(section.figures) == {"summary"}


def own_data() -> Results:
    """Six short runs: three stay at the guess of 0.425, five are ended by patience, and one is still improving."""
    facts = {"primary_metric": "accuracy", "primary_unit": "share", "primary_higher_is_better": True}
    rows, values = [], []
    for name, scores in {"lstm": [0.425, 0.825, 0.45], "gru": [0.775, 0.425, 0.425]}.items():
        for seed, score in enumerate(scores):
            late = (name, seed) == ("gru", 0)
            stopped = "max_steps=100" if late else "patience=2"
            rows.append(frames.run_row(name, seed, "own", **facts, beats_trivial_by=0.1, ceiling=0.99, stopped=stopped))
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


@pytest.mark.parametrize(
    ("evaluations", "late"),
    [
        ({}, (3, 3)),  # no curves at all, as in old stores
        ({0: [100], 1: [100], 2: [100]}, (0, 0)),  # the last evaluation was the only one
        ({0: [100], 1: [50, 100], 2: [50, 100]}, (2, 2)),
        ({0: [100, 100], 1: [50, 100]}, (2, 2)),  # one evaluation that was recorded twice is one
    ],
)
def test_a_run_that_was_evaluated_once_is_not_called_still_improving(
    evaluations: dict[int, list[int]], late: tuple[int, int]
) -> None:
    runs = [frames.run_row("gru", seed) for seed in range(3)]
    values = [
        frames.value_row(run["run_id"], "train", metric, 100) for run in runs for metric in ("steps", "best_step")
    ]
    curves = [
        row
        for seed, steps in evaluations.items()
        for step in steps
        for row in frames.curve_rows(runs[seed]["run_id"], "valid/mse", {step: 1 / step})
    ]
    curves += [row for run in runs for row in frames.curve_rows(run["run_id"], "valid/loss", {100: 0.1})]
    view = View(frames.make_results(runs, values, curves))
    assert view.still_improving(view.tasks[0].groups[0]) == late


def test_a_score_that_was_there_before_is_no_improvement() -> None:
    runs = [frames.run_row("gru", seed) for seed in range(2)]
    values = [
        frames.value_row(run["run_id"], "train", metric, 100) for run in runs for metric in ("steps", "best_step")
    ]
    # solved at step 50; of the two equal steps the trainer keeps the one with the lower loss
    curves = frames.curve_rows(runs[0]["run_id"], "valid/mse", {25: 0.5, 50: 0.0, 100: 0.0})
    curves += frames.curve_rows(runs[1]["run_id"], "valid/mse", {25: 0.5, 50: 0.1, 100: 0.0})
    view = View(frames.make_results(runs, values, curves))
    assert view.still_improving(view.tasks[0].groups[0]) == (1, 2)


@pytest.mark.parametrize(
    ("margin", "higher", "never"),
    [
        (0.02, True, 3),  # 0.49, 0.5 and 0.51; a gain of the margin itself counts
        (0.0, True, 2),
        (None, True, 2),
        (0.02, False, 4),  # all but 0.48
    ],
)
def test_a_gain_below_the_margin_is_not_called_leaving_the_trivial_guess(
    margin: float | None, higher: bool, never: int
) -> None:
    scores = [0.49, 0.5, 0.51, 0.7, 0.52 if higher else 0.48]
    runs = [frames.run_row("gru", seed, margin=margin, primary_higher_is_better=higher) for seed in range(5)]
    guesses = [frames.value_row(run["run_id"], "test", "trivial_mse", 0.5) for run in runs]
    view = View(with_values(scored(runs, scores), *guesses))
    (task,) = view.tasks
    assert view.never_left_the_guess(task, task.groups[0]) == (never, 5)


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        (
            {"learning_rate_from": "trials", "learning_rate_trials": 6, "learning_rate_trial_seeds": 3},
            "(a) best among 6 rates by validation score, mean over 3 seeds per rate.",
        ),
        (
            {"learning_rate_from": "trials", "learning_rate_trials": 6, "learning_rate_trial_seeds": 1},
            "(a) best of one trial per rate, among 6 rates, by validation score: one trial is noisy.",
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
    assert "mean over 2 seeds per rate; (b) given by hand." in summary
    assert "Beyond the common grid of rates, more was tried for gru: 0.05 for lstm and gru alone." in summary


def test_nothing_is_claimed_of_a_rate_whose_origin_is_not_recorded() -> None:
    summary = render("summary", with_facts(frames.small(), learning_rate_trials=5)).markdown
    assert "Learning rates:" not in summary
    assert cell(summary, "rnn", "learning rate") == "0.003"


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


def test_a_test_set_that_was_chosen_otherwise_than_validation_is_noted() -> None:
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


@pytest.mark.parametrize("span", [(414.19, 414.21), (0.00011, 0.00012), (100000.0, 160000.0), (0.1, 0.9)])
def test_labels_of_ticks_do_not_overlap(span: tuple[float, float]) -> None:
    facts = {"primary_metric": "perplexity", "hidden_size": 64}
    rows, values = [], []
    for task in ("words", "letters", "sounds"):
        for name, score in zip(("rnn", "gru_reset_before"), span, strict=True):
            rows.append(frames.run_row(name, 0, task, **facts))
            values.append(frames.value_row(rows[-1]["run_id"], "test", "perplexity", score))
    figure = render("summary", frames.make_results(rows, values), log_axis_from=10.0).figures["summary"]
    figure.draw_without_rendering()
    for ax in figure.axes:
        low, high = ax.get_xlim()
        ticks = [tick for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = sorted((box.x0, box.x1) for tick in ticks if (box := tick.label1.get_window_extent()))
        assert boxes
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(boxes))


def all_or_nothing(scores: dict[str, list[float]], **facts: Any) -> Results:
    """Recall on a task whose trivial guess is 0.1 and whose ceiling is 0.98, one run a seed."""
    usual = {"primary_metric": "recall", "primary_unit": "share", "primary_higher_is_better": True}
    usual |= {"beats_trivial_by": 0.3, "margin": 0.02, "ceiling": 0.98} | facts
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


def test_whether_seeds_split_is_not_claimed_where_margin_ceiling_guess_or_direction_is_not_known() -> None:
    scores = {"rnn": [0.0, 0.82, 0.12]}
    for results in (
        all_or_nothing(scores, margin=None),
        all_or_nothing(scores, ceiling=None),
        all_or_nothing(scores, primary_higher_is_better=None),
        dataclasses.replace(
            all_or_nothing(scores), values=all_or_nothing(scores).values.query("metric != 'trivial_recall'")
        ),
    ):
        summary = render("summary", results).markdown
        assert cell(summary, "rnn", "recall") == "0.313"
        assert "Split over seeds" not in summary


def outcome_of(scores: list[float], guess: float | None, higher: bool = True, **facts: Any) -> Outcome:
    runs = [frames.run_row("rnn", seed, primary_higher_is_better=higher, **facts) for seed in range(len(scores))]
    results = scored(runs, scores)
    if guess is not None:
        guesses = [frames.value_row(run["run_id"], "test", "trivial_mse", guess) for run in runs]
        results = with_values(results, *guesses)
    view = View(results)
    return view.outcomes(view.tasks[0])["rnn"]


@pytest.mark.parametrize(
    ("scores", "higher", "guess", "margin", "ceiling", "learned"),
    [
        ([0.698, 0.701, 0.702], True, 0.5, 0.02, 0.99, None),  # around a threshold of 0.7, and alike
        ([0.68, 0.72, 0.75], True, 0.5, 0.02, 0.99, None),
        ([414.2, 413.8, 413.9], False, 914.0, 2.5, 30.0, None),
        ([0.25, 1.0, 0.26, 0.99, 1.0], True, 0.125, 0.02, 0.99, 3),
        ([0.0, 0.82, 0.12, 0.10, 0.74], True, 0.0, 0.02, 0.98, 2),
        ([0.13, 0.80, 0.86], True, 0.13, 0.02, 0.99, 2),
        ([0.17, 0.0005, 0.167], False, 0.167, 0.01, 0.001, 1),  # lower is better
        ([0.5, 0.52], True, 0.5, 0.05, 0.51, None),  # guess and ceiling nearer than the margin
        ([math.inf, math.inf, 3.0], False, 10.0, 0.1, 2.0, 1),
        ([0.5, 0.5], True, 0.5, 0.0, 0.5, None),  # no gap at all
        ([0.9], True, 0.1, 0.02, 0.99, None),
    ],
)
def test_seeds_split_at_a_gap_of_half_of_the_way_from_guess_to_ceiling(
    scores: list[float], higher: bool, guess: float, margin: float, ceiling: float, learned: int | None
) -> None:
    found = outcome_of(scores, guess, higher, margin=margin, ceiling=ceiling)
    assert (found.num_learned, found.is_split) == (learned, learned is not None)
    assert not outcome_of(scores, None, higher, margin=margin, ceiling=ceiling).is_split


def test_a_task_that_some_seeds_learned_is_not_called_learned_by_no_cell() -> None:
    summary = render("summary", all_or_nothing({"rnn": [0.05, 0.82, 0.12]})).markdown
    assert "No cell learned this task with most of its seeds: the best mean or median beats" in summary
    assert "No cell learned this task:" not in summary


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_seeds_that_lie_closer_than_half_of_the_way_to_the_ceiling_never_split(scores: list[float]) -> None:
    view = View(all_or_nothing({"rnn": scores}))
    found = view.outcomes(view.tasks[0])["rnn"]
    if max(scores) - min(scores) < 0.44:
        assert not found.is_split
    if found.num_learned is not None:
        best_first = sorted(scores, reverse=True)
        assert best_first[found.num_learned - 1] - best_first[found.num_learned] >= 0.44 - 1e-12
    assert min(scores) - 1e-12 <= found.typical <= max(scores) + 1e-12
