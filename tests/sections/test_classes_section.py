"""Classes: precision, recall, F1 and confusions with known answers, for few classes and many, and for old runs."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from made_scores import results, runs_of

from gru_bench.compare.confusion import confused
from gru_bench.report.given import as_text
from gru_bench.report.markdown import Section
from gru_bench.report.view import View
from gru_bench.sections.classes import render
from gru_bench.tasks.objectives.confusion import confusion

LIMITS: dict[str, Any] = {"most_cells": 3, "most_classes": 5, "most_in_table": 3, "most_pairs": 4}
TRUTH = np.array([0] * 8 + [1] * 2)


def table(predicted: list[int], truth: np.ndarray = TRUTH, classes: tuple[str, ...] = ("ham", "spam")) -> Any:
    found = confusion(truth, np.array(predicted), classes)
    return {name: np.array(column, dtype=object if name != "count" else np.int64) for name, column in found.items()}


def viewed(tables: dict[str, list[Any]], examples: dict[str, Any] | None = None) -> View:
    """One task; of each cell a table a seed."""
    runs, values = runs_of("a", {cell: [0.8] * len(of_cell) for cell, of_cell in tables.items()})
    kept = {run["run_id"]: tables[run["cell"]][run["seed"]] for run in runs}
    made = results((runs, values), tables={run["run_id"]: examples for run in runs} if examples else None)
    return View(dataclasses.replace(made, confusions=kept.get))


def cells(section: Section, start: str) -> list[list[str]]:
    lines = [line for line in section.markdown.splitlines() if line.startswith(start)]
    return [[text.strip() for text in line.strip("|").split("|")] for line in lines]


def test_scores_of_each_class_by_hand() -> None:
    # seed 0: 6 of 8 ham found, 1 of 2 spam; seed 1: 8 of 8 and 0 of 2
    made = viewed({"gru": [table([0] * 6 + [1] * 2 + [1, 0]), table([0] * 10)]})
    (task,) = made.tasks
    found = confused(made, task.groups[0])
    assert found is not None
    assert found.names == ["ham", "spam"]
    assert found.counts.tolist() == [[[6, 2], [1, 1]], [[8, 0], [2, 0]]]
    scores = found.scores()
    assert scores["precision"][0].tolist() == pytest.approx([6 / 7, 1 / 3])
    assert scores["recall"][0].tolist() == pytest.approx([6 / 8, 1 / 2])
    assert scores["F1"][0].tolist() == pytest.approx([12 / 15, 2 / 5])
    assert np.isnan(scores["precision"][1, 1])  # never predicted
    assert scores["F1"][1, 1] == 0
    section = render(made, **LIMITS)
    ham, spam = (row for row in cells(section, "|") if row[2:3] == ["gru"])
    assert ham[:6] == ["ham", "8", "gru", "0.829", "0.875", "0.844"]
    assert spam[:6] == ["spam", "2", "gru", "0.333", "0.250", "0.200"]
    assert ham[6].endswith(" to 1.00")
    counts = [row for row in cells(section, "|") if row[0] == "gru"]
    assert counts == [["gru", "ham", "7 (88 %)", "1 (12 %)"], ["gru", "spam", "1.5 (75 %)", "0.5 (25 %)"]]
    assert list(section.figures) == ["classes_a"]


def test_many_classes_have_their_most_confused_pairs_alone() -> None:
    names = tuple(f"c{i}" for i in range(8))
    truth = np.repeat(np.arange(8), np.arange(8, 0, -1))
    guesses = truth.copy()
    guesses[:3] = 1  # three of the eight of c0
    guesses[8] = 2  # one of the seven of c1
    section = render(
        viewed({"gru": [table(guesses.tolist(), truth, names)], "lstm": [table(truth.tolist(), truth, names)]}),
        **LIMITS,
    )
    assert not section.figures
    assert "8 classes" in section.markdown
    pairs = [row for row in cells(section, "| c") if len(row) == 4 and row[1].startswith("c")]
    assert pairs == [["c0", "c1", "0 (0 %)", "3 (38 %)"], ["c1", "c2", "0 (0 %)", "1 (14 %)"]]
    assert len({row[0] for row in cells(section, "| c") if row[2] in ("gru", "lstm")}) == LIMITS["most_classes"]


def test_cells_stand_side_by_side_reference_cells_first_and_the_rest_is_counted() -> None:
    one = [table([0] * 10)]
    section = render(viewed({"gru_article": one, "rnn": one, "lstm": one, "gru": one}), **LIMITS)
    assert [row[2] for row in cells(section, "| ham")][:3] == ["rnn", "lstm", "gru"]
    assert "3 of 4 rows are shown" in section.markdown


def test_names_of_classes_are_text_whatever_they_hold() -> None:
    odd = ("a|b *c*", "=1+1\n<img>")
    section = render(viewed({"gru": [table([0] * 10, classes=odd)]}), **LIMITS)
    assert "*c*" not in section.markdown
    assert "<img>" not in section.markdown
    assert "a|b *c*" in as_text(section.markdown)


def test_runs_of_older_versions_know_their_classes_by_number() -> None:
    examples = {"label": TRUTH, "prediction": np.array([0] * 9 + [1]), "correct": np.ones(10)}
    section = render(viewed({"gru": [None]}, examples), **LIMITS)
    assert [row[:2] for row in cells(section, "| class ")][1:] == [["class 0", "8"], ["class 1", "2"]]


def test_nothing_is_said_of_runs_without_classes() -> None:
    assert render(viewed({"gru": [None]}), **LIMITS).markdown == ""
    assert render(viewed({"gru": [None]}, {"correct": np.ones(3)}), **LIMITS).markdown == ""


def test_a_confusion_has_a_row_for_each_pair_that_occurs() -> None:
    found = confusion(torch.tensor([2, 0, 2, 1]).numpy(), torch.tensor([2, 1, 2, 1]).numpy(), ["x", "y", "z"])
    assert list(zip(*found.values(), strict=True)) == [("x", "y", 1), ("y", "y", 1), ("z", "z", 2)]
