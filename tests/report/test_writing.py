"""How numbers, tables and figures are written."""

import math
from typing import Any

import frames
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.report import figures
from gru_bench.report import markdown as base
from gru_bench.report.view import View


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
