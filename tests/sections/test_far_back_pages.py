"""The sections on long dependencies together, as pages: their wording, and gradients with known answers."""

import made_horizons
import pytest
from conftest import REPOSITORY
from rendering import cell, render, tick_labels

from gru_bench.compare.reach import rank_p, reaches
from gru_bench.report.figures import power_of_ten
from gru_bench.report.markdown import paragraphs
from gru_bench.report.view import View

GOLDEN = REPOSITORY / "tests" / "golden" / "far_back.md"
SHOWN = ("how_far_back", "claims", "memory_horizons", "gradient_reach", "formal_languages")


def page() -> str:
    """What the sections say of one made search."""
    results = made_horizons.whole()
    sections = [render(name, results) for name in SHOWN]
    return paragraphs(*(f"## {section.title}\n\n{section.markdown}" for section in sections)) + "\n"


def test_golden_sections() -> None:
    """To accept a change of wording: ``python tests/sections/test_far_back_pages.py``, then read the difference."""
    assert page() == GOLDEN.read_text(encoding="utf-8")


def test_half_lives_and_horizons_of_gradients_that_shrink_by_a_factor() -> None:
    found = made_horizons.probed({"gru": {"start": 0.5, "end": 1.0}, "rnn": {"start": 0.5}}, 1)
    section = render("gradient_reach", found)
    assert cell(section.markdown, "gru (n = 1)", "half-life (steps), start") == "1.0"
    assert (
        cell(section.markdown, "gru (n = 1)", "effective horizon (steps), start") == "6.0"
    )  # 2 ** -6 > 0.01 > 2 ** -7
    assert cell(section.markdown, "gru (n = 1)", "half-life (steps), end") == "> 59"
    assert cell(section.markdown, "gru (n = 1)", "effective horizon (steps), end") == "> 59"
    assert cell(section.markdown, "rnn (n = 1)", "half-life (steps), end") == "–"
    start, end = section.figures["gradient_reach_adding"].axes
    assert (start.get_title(loc="left"), end.get_title(loc="left")) == ("start of training", "end of training")
    assert {ax.get_yscale() for ax in (start, end)} == {ax.get_xscale() for ax in (start, end)} == {"log"}
    assert start.lines[0].get_ydata()[:3] == pytest.approx([0.5, 0.25, 0.125])


@pytest.mark.parametrize("name", SHOWN)
def test_ticks_are_numbers_and_powers_of_ten(name: str) -> None:
    drawn = render(name, made_horizons.whole()).figures
    labels = [text for figure in drawn.values() for text in tick_labels(figure)]
    assert not [text for text in labels if "$" in text or "\\" in text]
    if name == "gradient_reach":
        assert {"1", "10⁻²"} & set(labels)


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "1"), (0.01, "10⁻²"), (1e-10, "10⁻¹⁰"), (1000.0, "10³"), (0.5, "0.5"), (0.0, "0")]
)
def test_powers_of_ten_in_plain_characters(value: float, shown: str) -> None:
    assert power_of_ten(value) == shown


def test_gradients_of_a_search_stand_at_the_lag_that_most_cells_visited() -> None:
    found = [one for one in reaches(View(made_horizons.whole())) if one.moment == "end"]
    assert {one.rows.lag for one in found} == {100}
    assert {(one.rows.cell, len(one.half_lives)) for one in found} >= {("gru", 10), ("rnn", 4), ("mingru", 4)}
    figure = render("gradient_reach", made_horizons.whole()).figures["gradient_reach_adding_parameters"]
    marks = {sign: [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == sign] for sign in "|>"}
    assert sorted(marks["|"]) == [10, 25, 100, 150, 200, 400, 400]  # the horizons; mingru has none
    assert marks[">"] == [600]  # at least


@pytest.mark.parametrize(
    ("first", "second", "small"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, float("inf")], True),
        ([1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 6.0, 8.0, 10.0], False),
        ([float("inf")] * 5, [float("inf")] * 5, False),
        ([], [1.0], False),
    ],
)
def test_ranks_tell_half_lives_apart(first: list[float], second: list[float], small: bool) -> None:
    assert (rank_p(first, second) < 0.05) == small
    assert rank_p(first, second) == rank_p(second, first)


if __name__ == "__main__":
    GOLDEN.write_text(page(), encoding="utf-8")
