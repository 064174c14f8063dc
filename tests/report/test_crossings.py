"""Where the faster one changes: known answers, and what holds of any line and any map."""

import itertools

import made_timings
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_timings import timing

from gru_bench.report.crossings import Crossing, crossings, edges, in_words
from gru_bench.report.regime_maps import COLORS, GREY, Map, axes_of, cell_text, color_limit, draw_maps, maps_of
from gru_bench.report.timings import Timing
from gru_bench.report.view import View

NAMES = {"first": "GRU", "second": "LSTM"}
FINDINGS = st.sampled_from(["first", "second", "noise"])


def timed(*rows: dict[str, object]) -> list[Timing]:
    return View(made_timings.alone(rows)).timings


def test_the_order_changes_between_two_measured_points() -> None:
    line = [(1, "first"), (20, "first"), (50, "noise"), (100, "second"), (200, "first")]
    assert crossings(line) == [Crossing(20, 100, "first", "second", (50,)), Crossing(100, 200, "second", "first")]
    assert in_words(line, NAMES, "T") == "GRU at T 1 to 20, inside noise at T 50, LSTM at T 100, GRU at T 200"


def test_noise_at_the_ends_crosses_nothing() -> None:
    assert crossings([(1, "noise"), (2, "first"), (3, "noise")]) == []


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(FINDINGS, max_size=12))
def test_crossings_alternate_and_are_as_many_as_the_changes(findings: list[str]) -> None:
    found = crossings(list(enumerate(findings)))
    decided = [one for one in findings if one != "noise"]
    assert len(found) == sum(a != b for a, b in itertools.pairwise(decided))
    assert all(findings[int(one.low)] == one.before != one.after == findings[int(one.high)] for one in found)
    assert all(one.high <= two.low for one, two in itertools.pairwise(found))


def test_the_line_of_a_map_runs_along_the_edges_between_winners() -> None:
    """Columns 0 and 1, rows 0 and 1: the GRU below left alone, noise above right."""
    findings = {(0, 0): "first", (1, 0): "second", (0, 1): "second", (1, 1): "noise"}
    assert edges(findings) == [((0.5, -0.5), (0.5, 0.5)), ((-0.5, 0.5), (0.5, 0.5))]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(FINDINGS, min_size=12, max_size=12))
def test_an_edge_of_the_line_parts_opposite_neighbours(findings: list[str]) -> None:
    cells = {(i % 4, i // 4): finding for i, finding in enumerate(findings)}
    for (x0, y0), (x1, y1) in edges(cells):
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        step = (0.5, 0) if x0 == x1 else (0, 0.5)
        both = [cells[round(middle[0] + side * step[0]), round(middle[1] + side * step[1])] for side in (-1, 1)]
        assert sorted(both) == ["first", "second"]


def test_the_axes_are_the_sizes_that_differ() -> None:
    assert axes_of(timed(timing(steps=1), timing(steps=9), timing(batch=1))) == ("steps", "batch")
    assert axes_of(timed(timing(steps=1), timing(steps=9), timing(hidden_size_asked=8))) == (
        "steps",
        "hidden_size_asked",
    )
    assert axes_of(timed(timing(batch=1), timing(hidden_size_asked=8))) == ("hidden_size_asked", "batch")


def test_a_map_for_each_choice_of_the_rest_and_only_measured_cells() -> None:
    rows = [timing(threads=t, steps=s, batch=b) for t in (1, 2) for s, b in ((10, 1), (100, 1), (100, 8))]
    maps = maps_of(timed(*rows), "steps", "batch")
    assert [one.name for one in maps] == ["1 thread", "2 threads"]
    assert set(maps[0].cells) == {(0, 0), (1, 0), (1, 1)}
    assert [(at, [x for x, _ in points]) for at, points in maps[0].lines()] == [(1.0, [10.0, 100.0]), (8.0, [100.0])]


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.3, "G 1.30"), (0.5, "L 2.00"), (1.004, "1.00"), (12.0, "G 12"), (0.2, "L 5.0")]
)
def test_what_a_square_says(ratio: float, text: str) -> None:
    (one,) = timed(timing(ratio=ratio))
    assert cell_text(one) == text


def test_equal_factors_have_equally_strong_colours_and_noise_is_grey() -> None:
    found = timed(*(timing(ratio=ratio, steps=i) for i, ratio in enumerate((2.0, 0.5, 1.0))))
    assert color_limit(found) == pytest.approx(2.0)
    one = maps_of(found, "steps", "batch")
    figure = draw_maps({"view": one})
    squares = [tuple(patch.get_facecolor()) for patch in figure.axes[0].patches]
    assert squares[0] == pytest.approx(COLORS(1.0))
    assert squares[1] == pytest.approx(COLORS(0.0))
    assert squares[2][:3] == pytest.approx((float(GREY),) * 3)


def test_the_figure_draws_the_line_and_says_what_marks_mean() -> None:
    found = timed(*(timing(ratio=ratio, steps=i) for i, ratio in ((1, 2.0), (20, 0.5))))
    figure = draw_maps({"view": maps_of(found, "steps", "batch")})
    (line,) = figure.axes[0].lines
    assert np.asarray(line.get_xdata()).tolist() == [0.5, 0.5]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["G: GRU faster, so many times", "L: LSTM faster, so many times", "the order changes"]
    assert isinstance(maps_of(found, "steps", "batch")[0], Map)
