"""Cells against a bag of words: made scores with known answers, and what the report says of them first."""

import dataclasses
from typing import Any

import frames
import numpy as np
import pytest
from made_scores import noisy, results, runs_of

from gru_bench.compare.bag_of_words import card, held, warning
from gru_bench.report.baselines import of_task
from gru_bench.report.view import View
from gru_bench.sections.summary import task_table
from gru_bench.sections.verdict import render
from gru_bench.store.read import Results
from gru_bench.store.schema import BASELINE_COLUMNS

SEEDS = 6


def baseline(task: str, test: float, valid: float = 0.7, **facts: Any) -> list[dict[str, Any]]:
    """The scores of a bag of words on a task's data."""
    shared = {
        "run_id": f"bag-{task}",
        "baseline": "bag_of_words",
        "task": task,
        "data_fingerprint": f"{task}0123456789",
    }
    scores = {"test": {"accuracy": test, "balanced_accuracy": test / 2}, "valid": {"accuracy": valid}}
    return [
        shared | {"split": split, "metric": metric, "value": value} | facts
        for split, of_split in scores.items()
        for metric, value in of_split.items()
    ]


def viewed(found: Results, *baselines: list[dict[str, Any]]) -> View:
    rows = [row for one in baselines for row in one]
    return View(dataclasses.replace(found, baselines=frames.typed(rows, BASELINE_COLUMNS)))


def test_each_row_of_a_task_is_held_against_the_one_on_its_data() -> None:
    scores = {
        "lstm": noisy(0.90, SEEDS, 0.002, 1),
        "gru": noisy(0.80, SEEDS, 0.002, 2),
        "rnn": noisy(0.85, SEEDS, 0.002, 3),
        "mgu": noisy(0.86, SEEDS, 0.2, 4),
    }
    made = viewed(results(runs_of("a", scores), runs_of("b", scores)), baseline("a", 0.85))
    answers = {one.group.cell: (one.task.task, one.verdict.answer, one.beats) for one in held(made)}
    assert answers == {
        "lstm": ("a", "first", True),
        "gru": ("a", "second", False),
        "rnn": ("a", "equivalent", False),
        "mgu": ("a", "undecided", False),
    }
    assert warning(made) == ""
    lines = card(made).splitlines()
    assert [line.split("|")[-2].strip() for line in lines if line.startswith("| a")] == [
        "no: no difference that matters",
        "yes",
        "no: it is worse",
        "not shown",
    ]


@pytest.mark.parametrize(
    ("spread", "says"),
    [(0.002, "no cell beats a bag of words"), (0.2, "no cell is shown to beat a bag of words")],
)
def test_the_report_says_first_where_none_beats_it(spread: float, says: str) -> None:
    scores = {"lstm": noisy(0.80, SEEDS, 0.002, 1), "gru": noisy(0.84, SEEDS, spread, 2)}
    made = viewed(results(runs_of("a", scores)), baseline("a", 0.85, seconds=72.4))
    first = render(made, most_margins=1000).markdown.split("\n\n")[0]
    assert first == f"**On a {says}: that has accuracy 0.850 after 72 s of training, and gru, the best cell, 0.840.**"


def test_nothing_is_said_without_one() -> None:
    found = results(runs_of("a", {"gru": [0.8] * 5, "lstm": [0.7] * 5}))
    made = viewed(found)
    assert (held(made), warning(made), card(made)) == ([], "", "")
    assert "bag of words" not in render(made, most_margins=1000).markdown


def test_it_stands_beside_the_trivial_guess_with_its_second_metric() -> None:
    runs, values = runs_of("a", {"gru": [0.8] * 5})
    values += [frames.value_row(run["run_id"], "test", "balanced_accuracy", 0.6) for run in runs]
    made = viewed(results((runs, values)), baseline("a", 0.85))
    (task,) = made.tasks
    assert [one.run_id for one in of_task(made.baselines, task)] == ["bag-a"]
    last = task_table(made, task, made.outcomes(task), {"accuracy": "balanced_accuracy"}).splitlines()[-1]
    assert [text.strip() for text in last.split("|")[1:7]] == ["", "bag of words", "0.850", "", "", "0.425"]


def test_of_several_on_the_same_data_the_one_that_validates_best_counts() -> None:
    found = results(runs_of("a", {"gru": noisy(0.8, SEEDS, 0.002, 1)}))
    weighted = baseline("a", 0.9, valid=0.6, run_id="weighted", class_weights="balanced")
    (one,) = held(viewed(found, weighted, baseline("a", 0.7, valid=0.8)))
    assert one.baseline.run_id == "bag-a"


def test_other_data_is_another_matter() -> None:
    found = results(runs_of("a", {"gru": noisy(0.8, SEEDS, 0.002, 1)}))
    assert held(viewed(found, baseline("a", 0.5, data_fingerprint="elsewhere"))) == []


def test_rows_that_both_saw_are_paired() -> None:
    """300 rows: what a seed or the bag gets wrong is kept, so that the noise of the rows is in the interval."""
    drawn = np.random.default_rng(0)
    bag_N = (drawn.random(300) < 0.6).astype(np.int64)
    cells_SN = np.stack([np.maximum(bag_N, drawn.random(300) < 0.5) for _ in range(SEEDS)]).astype(np.int64)
    runs, values = runs_of("a", {"gru": cells_SN.mean(axis=1).tolist()})
    tables = {run["run_id"]: {"correct": row_N} for run, row_N in zip(runs, cells_SN, strict=True)}
    tables["bag-a"] = {"correct": bag_N}
    (one,) = held(viewed(results((runs, values), tables=tables), baseline("a", float(bag_N.mean()))))
    assert one.estimate.num_examples == 300
    assert one.estimate.value == pytest.approx(float((cells_SN - bag_N).mean()))
    assert one.beats
    alone = results((runs, values), tables={"bag-a": tables["bag-a"]})
    (other,) = held(viewed(alone, baseline("a", float(bag_N.mean()))))
    assert other.estimate.num_examples is None
    assert other.estimate.se < one.estimate.se
