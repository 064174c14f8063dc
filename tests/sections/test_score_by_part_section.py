"""The section on parts of the test data."""

import dataclasses

import frames
import pandas as pd
import pytest
from rendering import render

from gru_bench.store.read import Results

OPTIONS = {"without": ["length"], "most_values": 3}


def sliced(slices: dict[str, float], *, name: str = "attractors", metric: str = "mse") -> Results:
    """Two cells and two seeds; the gru is better by 1, and each second seed by 0.5, on every part."""
    runs, values = [], []
    for cell, better in (("lstm", 0.0), ("gru", 1.0)):
        for seed in (0, 1):
            row = frames.run_row(cell, seed)
            row["job"] = len(runs)
            runs.append(row)
            values.append(frames.value_row(row["run_id"], "test", "mse", 9.0))
            values += [
                frames.value_row(
                    row["run_id"], "test", metric, score + better + seed / 2, slice=name, slice_value=value
                )
                for value, score in slices.items()
            ]
            values.append(frames.value_row(row["run_id"], "valid", metric, 77.0, slice=name, slice_value="valid"))
    return frames.make_results(runs, values, [])


def rows(markdown: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line]
    return {line[0]: line[1:] for line in lines}


def test_each_part_is_a_column_in_the_order_of_its_number() -> None:
    section = render("score_by_part", sliced({"10": 3.0, "2": 2.0}), **OPTIONS)
    assert "### adding (generated data): mse by attractors" in section.markdown
    found = rows(section.markdown)
    assert found["cell"] == ["attractors 2", "attractors 10"]
    assert found["lstm"] == ["2.25 ± 0.35", "3.25 ± 0.35"]
    assert found["gru"] == ["3.25 ± 0.35", "4.25 ± 0.35"]
    assert list(section.figures) == ["score_by_part"]
    assert [text.get_text() for text in section.figures["score_by_part"].axes[0].get_xticklabels()] == ["2", "10"]


def test_a_metric_beside_the_primary_one_is_named() -> None:
    assert (
        "accuracy by word"
        in render("score_by_part", sliced({"known": 1.0}, name="word", metric="accuracy"), **OPTIONS).markdown
    )


def test_ranges_stand_at_their_lower_end() -> None:
    section = render("score_by_part", sliced({"31+": 1.0, "10-12": 1.0, "1-9": 1.0}), **OPTIONS)
    assert rows(section.markdown)["cell"] == ["attractors 1-9", "attractors 10-12", "attractors 31+"]
    # parts that have an order are joined by a line
    assert all(len(line.get_xdata()) == 3 for line in section.figures["score_by_part"].axes[0].lines[:1])
    assert section.figures["score_by_part"].axes[0].lines[0].get_linestyle() != "None"


def test_too_many_values_are_said() -> None:
    told = render("score_by_part", sliced({str(n): 1.0 for n in range(5)}), **OPTIONS).markdown
    assert rows(told)["cell"] == ["attractors 0", "attractors 1", "attractors 2"]
    assert "2 more values of attractors: see `results.csv`." in told


@pytest.mark.parametrize("results", [frames.small(), sliced({})])
def test_without_parts_there_is_nothing_to_say(results: Results) -> None:
    assert render("score_by_part", results, **OPTIONS).markdown == ""


def with_guess(results: Results, guess: dict[str, float], run_id: str) -> Results:
    rows = [
        frames.value_row(run_id, "test", "trivial_mse", score, slice="attractors", slice_value=value)
        for value, score in guess.items()
    ]
    return dataclasses.replace(results, values=pd.concat([results.values, pd.DataFrame(rows)], ignore_index=True))


def test_the_trivial_guess_stands_below_and_is_dashed() -> None:
    results = sliced({"2": 2.0, "10": 3.0})
    for run_id in results.runs["run_id"]:
        results = with_guess(results, {"2": 5.0}, run_id)
    section = render("score_by_part", results, **OPTIONS)
    assert rows(section.markdown)["trivial guess"] == ["5.00", "–"]
    assert "trivial_mse" not in section.markdown
    figure = section.figures["score_by_part"]
    assert "trivial guess" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert "trivial guess" not in rows(render("score_by_part", sliced({"2": 2.0}), **OPTIONS).markdown)


def test_a_guess_on_which_the_runs_do_not_agree_is_not_shown() -> None:
    results = sliced({"2": 2.0})
    for run_id, guess in zip(results.runs["run_id"], (5.0, 5.0, 5.0, 6.0), strict=True):
        results = with_guess(results, {"2": guess}, run_id)
    assert "trivial guess" not in rows(render("score_by_part", results, **OPTIONS).markdown)
