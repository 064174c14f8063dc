"""Curves, lengths, the article, cost, faults and environment: known answers on frames made by hand."""

import dataclasses
from typing import Any

import frames
import pandas as pd
import pytest
from rendering import cell, part_size, render, with_facts

from gru_bench.report.markdown import UNKNOWN
from gru_bench.report.view import View


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
    thin = [[segment[-1][0] for segment in row.get_segments()] for row in ax.collections]
    assert thin == [[900, 500], [500]]  # two seeds of the rnn, one of the gru
    assert [list(line.get_xdata())[-1] for line in ax.lines] == [500, 500]
    assert ax.lines[0].get_ydata()[-1] == pytest.approx(0.16)


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


def test_times_of_runs_that_took_their_steps_together_are_not_shown() -> None:
    section = render("cost", with_facts(frames.small(), shared=False, seeds_in_batch=5)).markdown
    assert cell(section, "rnn", "training s") == cell(section, "rnn", "tokens/s") == UNKNOWN
    assert cell(section, "rnn", "peak tensor MiB") == "1.50"
    assert "the times are left out: they were trained together" in section
    assert "left out" not in render("cost", with_facts(frames.small(), shared=False, seeds_in_batch=pd.NA)).markdown
    view = View(with_facts(frames.small(), shared=False, seeds_in_batch=5))
    assert not [key for key in view.measured if key[0] == "speed" and key[1] != "flops_per_token"]
