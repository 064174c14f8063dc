"""The section on parts of the test data."""

import dataclasses

import frames
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendering import part_size, render, with_values

from gru_bench.store.read import Results

OPTIONS = {"without": ["length"], "most_values": 3, "fewest_examples": 30, "mergeable": ["mse"]}


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


def test_too_many_values_are_counted() -> None:
    text = render("score_by_part", sliced({str(n): 1.0 for n in range(5)}), **OPTIONS).markdown
    assert rows(text)["cell"] == ["attractors 0", "attractors 1", "attractors 2"]
    assert "2 more values of attractors: see `results.csv`." in text


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


# how many examples stand behind a part


def sized(sizes: dict[str, int], metric: str = "mse") -> Results:
    """Parts with their sizes; the score of part k is k, plus 1 for the gru and 0.5 for the second seed."""
    results = sliced({value: float(value) for value in sizes}, metric=metric)
    rows = [part_size(run, "attractors", value, n) for run in results.runs["run_id"] for value, n in sizes.items()]
    return with_values(results, *rows)


def test_each_part_shows_its_n() -> None:
    section = render("score_by_part", sized({"1": 1200, "2": 31}), **OPTIONS)
    assert rows(section.markdown)["test examples (n)"] == ["1,200", "31"]
    ax = section.figures["score_by_part"].axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1\nn=1,200", "2\nn=31"]
    assert "by n" not in section.markdown  # sizes are no scores


def test_a_metrics_own_n_stands_before_the_one_of_the_part() -> None:
    results = sized({"1": 1200, "2": 31})
    sizes = {("mse", "1"): 700, ("accuracy", "1"): 90, ("accuracy", "2"): 80}
    more = [
        part_size(run, "attractors", value, n) | {"metric": f"n_{metric}"}
        for run in results.runs["run_id"]
        for (metric, value), n in sizes.items()
    ]
    more += [
        frames.value_row(run, "test", "accuracy", 0.5, slice="attractors", slice_value=value)
        for run in results.runs["run_id"]
        for value in "12"
    ]
    section = render("score_by_part", with_values(results, *more), **OPTIONS).markdown
    accuracy, mse = section.split("accuracy by attractors")[1].split("mse by attractors")
    assert rows(accuracy)["test examples (n)"] == ["90", "80"]
    assert rows(mse)["test examples (n)"] == ["700", "31"]
    assert section.count(" by attractors\n") == 2  # sizes are no scores
    by_length = {"slices": ["attractors"], "without": [], "fewest_examples": 30, "mergeable": []}
    assert rows(render("score_by_length", with_values(results, *more), **by_length).markdown)["test examples (n)"] == [
        "700",
        "31",
    ]


def test_a_part_that_one_metric_has_few_examples_of_is_left_out_for_that_metric_alone() -> None:
    results = sized({"1": 1200, "2": 1200})
    few = [part_size(run, "attractors", "2", 7) | {"metric": "n_mse"} for run in results.runs["run_id"]]
    section = render("score_by_part", with_values(results, *few), **OPTIONS).markdown
    assert rows(section)["cell"] == ["attractors 1"]
    assert "says little: 2 (n=7)." in section


def test_sizes_that_are_all_alike_stand_at_the_axis() -> None:
    ax = render("score_by_part", sized({"1": 40, "2": 40}), **OPTIONS).figures["score_by_part"].axes[0]
    assert ax.get_xlabel() == "attractors (n=40 each)"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2"]


def test_small_parts_are_merged_by_their_sizes() -> None:
    section = render("score_by_part", sized({"1": 500, "2": 29, "3": 1}), **OPTIONS)
    found = rows(section.markdown)
    assert found["cell"] == ["attractors 1", "other (2 parts, n=30)"]
    assert found["test examples (n)"] == ["500", "30"]
    # (29 * 2 + 1 * 3) / 30 = 2.0333 for the first seed of the lstm, and 2.5333 for the second
    assert found["lstm"] == ["1.25 ± 0.35", "2.28 ± 0.35"]
    assert "merged, weighted by their sizes: 2 (n=29), 3 (n=1)." in section.markdown
    assert [text.get_text() for text in section.figures["score_by_part"].axes[0].get_xticklabels()] == ["1"]


@pytest.mark.parametrize(
    ("sizes", "metric", "why"),
    [
        ({"1": 500, "2": 2, "3": 1}, "mse", "says little: 2 (n=2), 3 (n=1)."),
        ({"1": 500, "2": 29}, "mse", "says little: 2 (n=29)."),
        ({"1": 500, "2": 29, "3": 29}, "bleu", "so they cannot be merged: 2 (n=29)"),
    ],
)
def test_small_parts_that_cannot_be_merged_are_left_out(sizes: dict[str, int], metric: str, why: str) -> None:
    section = render("score_by_part", sized(sizes, metric), **OPTIONS)
    assert rows(section.markdown)["cell"] == ["attractors 1"]
    assert why in section.markdown


def test_parts_that_are_all_small_give_neither_table_nor_figure() -> None:
    section = render("score_by_part", sized({"1": 3}), **OPTIONS)
    assert "|" not in section.markdown
    assert not section.figures
    assert "1 (n=3)" in section.markdown


def test_unknown_sizes_are_counted_and_nothing_is_left_out() -> None:
    section = render("score_by_part", sliced({"1": 1.0, "2": 2.0}), **OPTIONS)
    assert "How many test examples each part has was not recorded by the runs of adding" in section.markdown
    assert rows(section.markdown)["cell"] == ["attractors 1", "attractors 2"]
    assert "not recorded" not in render("score_by_part", sized({"1": 99}), **OPTIONS).markdown


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(0, 9), st.integers(1, 60), min_size=1, max_size=6))
def test_no_column_stands_on_fewer_examples_than_asked(sizes: dict[int, int]) -> None:
    found = rows(render("score_by_part", sized({str(v): n for v, n in sizes.items()}), **OPTIONS).markdown)
    shown = [int(n.replace(",", "")) for n in found.get("test examples (n)", [])]
    assert all(n >= 30 for n in shown)
    assert len(shown) == len(found.get("cell", []))


def test_a_guess_far_from_all_scores_is_an_arrow_and_does_not_press_them_together() -> None:
    slices = {"1": 9.0, "2": 9.5, "3": 9.2}
    for guess, far in ((8.5, False), (1.0, True)):
        found = with_values(
            sliced(slices),
            *(
                frames.value_row(run, "test", "trivial_mse", guess, slice="attractors", slice_value=value)
                for run in (f"adding-{cell}-{seed}" for cell in ("lstm", "gru") for seed in (0, 1))
                for value in slices
            ),
        )
        lengths = {"slices": ["attractors"], "mergeable": ["mse"]}
        for name, options in (("score_by_part", OPTIONS), ("score_by_length", lengths)):
            (ax,) = render(name, found, **options).figures[name].axes
            assert (ax.get_ylim()[0] > 5) == far or not far
            assert [text.get_text() for text in ax.texts] == (["guess 1.00 ↓"] if far else [])
