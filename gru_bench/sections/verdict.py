"""The verdict: GRU or LSTM?"""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gru_bench.compare import bag_of_words
from gru_bench.compare.compared import Compared, counted_cells, primary, secondary, sentence
from gru_bench.compare.pairs import shown
from gru_bench.compare.speed import situations_found
from gru_bench.compare.wording import change, effect, flips, n_text, row_name, shares_text, verdict_text
from gru_bench.report.figures import HUES, OTHER_HUE, WIDTH, legend_below, style
from gru_bench.report.markdown import Section, paragraphs, table
from gru_bench.report.timings import RANGES, card, situation_text
from gru_bench.report.view import View
from gru_bench.sections.deployment import verdict_card

GREY, BAND = "0.35", "0.9"
SHADES = {"equivalent": "0.15", "undecided": "0.6"}
TICKS = (1, 2, 5, 10, 100, 1000)
MOST_ROWS = 40
"""Rows of a figure; more comparisons than that are in the table alone."""


def render(view: View, /, *, most_margins: int) -> Section:
    """Answer: GRU or LSTM, on which task, by how much, and what would change that?

    Args:
        view: All runs.
        most_margins: Where the figure's axis ends at most, in margins; what lies beyond is an arrow at its edge.
    """
    found = primary(view) or one_pair_of_cells(secondary(view))
    parts = [bag_of_words.warning(view)]
    parts += [f"**{sentence(view)}**" if len(view.runs[view.runs["status"] == "finished"]) else ""]
    figures = {}
    if found:
        first, second = (shown(cell) for cell in found[0].pair.cells)
        if drawn := [one for one in found if math.isfinite(one.estimate.value) and one.margin][:MOST_ROWS]:
            figures["verdict"] = draw(drawn, most_margins)
            parts.append(f"![Difference between {first} and {second} on each task](figures/verdict.png)")
        parts += [flips(found), verdict_table(found), footnote(found)]
    parts.append(bag_of_words.card(view))
    parts.append(speed(view))
    parts.append(verdict_card(view))
    if primary(view):
        parts.append(others(secondary(view)))
    return Section("Verdict", paragraphs(*parts), figures)


def one_pair_of_cells(found: list[Compared]) -> list[Compared]:
    """The comparisons of the first two cells among several."""
    return [one for one in found if one.pair.cells == found[0].pair.cells]


def verdict_table(found: list[Compared]) -> str:
    """One row a comparison."""
    first, second = (shown(cell) for cell in found[0].pair.cells)
    shares = f"{second} / neither / {first}"
    columns = ["task", "verdict", f"{first} better by (interval)", "margin", "n", shares, "what would change it"]
    rows = [
        [row_name(one), verdict_text(one), effect(one), f"{one.margin:g}" if one.margin else "none", n_text(one),
         shares_text(one), change(one)]
        for one in found
    ]  # fmt: skip
    return table(columns, rows, {"margin", shares})


def footnote(found: list[Compared]) -> str:
    """How the table is read, in a few sentences."""
    first, second = (shown(cell) for cell in found[0].pair.cells)
    noise = (
        "seeds and test examples"
        if all(one.num_examples for one in found)
        else "seeds, and test examples where n names them"
    )
    looks = max(one.looks for one in found)
    looked = f", {looks} looks at growing results included" if looks > 1 else ""
    return (
        f"*Below zero: {second} better. Intervals cover the noise of {noise}, adjusted for all rows (Holm): at most "
        f"5 % of such pages name a wrong winner{looked}. Equivalent: the {narrow(found)} interval lies within the "
        f"margin, which was fixed before the runs. Three shares: how likely {second} is better by more than the "
        f"margin, neither is, {first} is.*"
    )


def narrow(found: list[Compared]) -> str:
    """``90 %``: the level of the intervals that show equivalence; higher where looks at growing results widen them."""
    levels = sorted({round(100 * one.verdict.equivalence.level, 1) for one in found})
    return f"{' to '.join(f'{level:g}' for level in dict.fromkeys([levels[0], levels[-1]]))} %"


def speed(view: View) -> str:
    """A row a situation: which of the two is faster at equal hidden size, on which kernels."""
    found = situations_found(view)
    if not found:
        return ""
    columns = list(dict.fromkeys(name for views in found.values() for name in views))
    rows = [
        [situation_text(situation), *(card(views.get(name, [])) for name in columns)]
        for situation, views in found.items()
    ]
    return paragraphs(
        "How fast they are, from paired timings: interval of 95 %, and the floor that the instrument shows between "
        f"identical arms ([Cost](details.md#cost)); {RANGES}.",
        table(["speed", *columns], rows),
    )


def others(found: list[Compared]) -> str:
    """The other comparisons, a line for each two cells."""
    cells = dict.fromkeys(one.pair.cells for one in found)
    texts = [counted_cells([one for one in found if one.pair.cells == both]) for both in cells]
    return f"Other cells (table: Comparisons). {' '.join(texts)}" if texts else ""


def draw(found: list[Compared], most_margins: int) -> Figure:
    """A row a comparison: estimate, the interval that decides on equivalence, and the one that decides on a winner."""
    first, second = (shown(cell) for cell in found[0].pair.cells)
    reach = edge(found, most_margins)
    with style():
        figure = Figure(figsize=(WIDTH, 1.15 + 0.3 * len(found)))
        ax = figure.add_subplot()
        ax.set_xscale("symlog", linthresh=1, linscale=1)
        ax.axvspan(-1, 1, color=BAND, zorder=0)
        ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for row, one in enumerate(found):
            draw_row(ax, row, one, reach)
        ax.set_xlim(-reach, reach)
        ticks = [tick for tick in TICKS if tick <= reach and (reach < 20 or tick not in (2, 5))]
        ax.xaxis.set_major_locator(FixedLocator([*(-tick for tick in ticks), 0, *ticks]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
        ax.set_yticks(
            range(len(found)), [row_name(one).replace(" (share of seeds", "\n(share of seeds") for one in found]
        )
        ax.set_ylim(len(found) - 0.4, -0.6)
        ax.grid(False, axis="y")
        ax.set_xlabel(f"← {second} better   ·   difference in margins (logarithmic beyond 1)   ·   {first} better →")
        legend_below(figure, legend(found))
    return figure


def edge(found: list[Compared], most_margins: int) -> float:
    """Where the axis ends: beyond the largest estimate, and no further than it has to."""
    largest = max(abs(one.in_margins(one.estimate.value)) for one in found)
    wide = [
        abs(one.in_margins(end)) for one in found for end in (one.verdict.equivalence.low, one.verdict.equivalence.high)
    ]
    wanted = max([largest * 1.5, 5.0, *(end for end in wide if math.isfinite(end))])
    return float(min(most_margins, wanted * 1.2))


def draw_row(ax: Axes, row: int, one: Compared, reach: float) -> None:
    """One comparison, with its verdict and n at the right."""
    color = color_of(one)
    for interval, width in ((one.verdict.interval, 1.0), (one.verdict.equivalence, 3.2)):
        low, high = (max(-reach, min(reach, one.in_margins(end))) for end in (interval.low, interval.high))
        ax.plot([low, high], [row, row], color=color, linewidth=width, solid_capstyle="butt", zorder=2)
        for end, at, mark in ((interval.low, -reach, "<"), (interval.high, reach, ">")):
            if abs(one.in_margins(end)) > reach and width < 2:
                ax.plot([at], [row], marker=mark, color=color, markersize=5, clip_on=False, zorder=3)
    at = max(-reach, min(reach, one.in_margins(one.estimate.value)))
    ax.plot([at], [row], marker="o", markersize=6.5, color=color, linestyle="none", zorder=4, clip_on=False,
            markerfacecolor="white" if one.verdict.answer == "undecided" else color)  # fmt: skip
    ax.annotate(f"{one.answer}  n = {len(one.seeds)}", (1.02, row), xycoords=("axes fraction", "data"), va="center",
                fontsize=9, color=color if one.verdict.answer != "undecided" else GREY,
                weight="bold" if one.verdict.answer != "undecided" else "normal", annotation_clip=False)  # fmt: skip


def color_of(one: Compared) -> str:
    """The winner's family, or a grey."""
    if one.verdict.answer in SHADES:
        return SHADES[one.verdict.answer]
    winner = one.pair.first if one.verdict.answer == "first" else one.pair.second
    return HUES.get(winner.family, OTHER_HUE)


def legend(found: list[Compared]) -> list[Any]:
    """What the marks mean."""
    return [
        Patch(color=BAND, label="less than the margin"),
        Line2D([], [], color=GREY, linewidth=3.2, label=f"{narrow(found)} interval"),
        Line2D([], [], color=GREY, linewidth=1.0, label="interval that decides (Holm)"),
        Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none", label="undecided"),
    ]
