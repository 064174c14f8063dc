"""Gradient reach: how much of a gradient is left so many steps back?"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.compare.horizons import Horizon, horizons
from gru_bench.compare.reach import MOMENTS, Reach, half_life_text, middle, reaches
from gru_bench.compare.wording import budget_text
from gru_bench.report.figures import (
    LINE_STYLES,
    Look,
    handle,
    legend_below,
    line_variants,
    looks,
    panels,
    set_log,
    set_powers,
    style,
)
from gru_bench.report.markdown import UNKNOWN, Section, number, paragraphs, table
from gru_bench.report.view import View

TITLE = "Gradient reach"
LEFT = 0.01
"""Share of the gradient at which the probe sees the horizon."""
TEXT = (
    "The norm of the gradient of a last output with respect to the states so many steps earlier, as a share of that at "
    "the last step: at the start, in the middle and at the end of training (the weights of the best validation step). "
    "A run that stops early has no middle. Lines are medians over the runs, bands reach from the smallest to the "
    "largest. Half-life: of the exponential that fits the tail of the curve; one beyond the longest lag that was "
    "looked at is not measured, and stands as longer than that. Effective horizon: the largest lag at which one "
    "hundredth is left. Of each the median over the runs, with the range in brackets."
)
SEARCHED = (
    "Runs of a search for the longest lag are shown at the one lag that most cells visited, so that all cells face the "
    "same task: the seeds, or the trials where no seeds followed."
)
MARKED = (
    "Ticks below the curves mark the longest lag that enough seeds of a cell solve, triangles the longest one tried "
    "where that is solved as well (see Memory horizons)."
)
TICK: dict[str, Any] = {"marker": "|", "markersize": 14, "markeredgewidth": 2.5}
BEYOND: dict[str, Any] = {"marker": ">", "markersize": 6}
HEIGHT = 2.6


def render(view: View, /, *, smallest_share: float) -> Section:
    """Answer: how much of a gradient is left so many steps back, and how does training change that?

    Args:
        view: All runs.
        smallest_share: Below it nothing is drawn.
    """
    found = reaches(view)
    if not found:
        return Section(TITLE, "")
    parts = [TEXT, SEARCHED if any(one.rows.lag for one in found) else ""]
    figures: dict[str, Figure] = {}
    for task, budget, lag in places(found):
        mine = [one for one in found if (one.rows.task, one.rows.budget, one.rows.lag) == (task, budget, lag)]
        name = "_".join(filter(None, ["gradient_reach", task, budget if lag else ""]))
        if name in figures:
            name = f"{name}_{len(figures)}"
        marks = {one.cell: one for one in horizons(view) if (one.task, one.budget) == (task, budget) and one.lag}
        figures[name] = draw(view, mine, marks, smallest_share)
        at = f", trained at lag {lag}" if lag else ""
        parts += [
            f"### {task}, {budget_text(budget)}{at}",
            f"![Share of the gradient that is left by lag on {task}](figures/{name}.png)",
            MARKED if marks else "",
            table(["cell", *(header for header, _ in COLUMNS)], rows_of(mine)),
        ]
    return Section(TITLE, paragraphs(*parts), figures)


COLUMNS = [
    (f"{what}, {moment}", (what, moment))
    for what in ("half-life (steps)", "effective horizon (steps)")
    for moment in MOMENTS
]


def places(found: Sequence[Reach]) -> list[tuple[str, str, int | None]]:
    """The different tasks, budgets and, of a search, lags."""
    return list(dict.fromkeys((one.rows.task, one.rows.budget, one.rows.lag) for one in found))


def rows_of(found: Sequence[Reach]) -> list[list[str]]:
    """A row a cell with its runs' half-lives and horizons at each moment."""
    by_name = {(one.rows.name, one.moment): one for one in found}
    rows = []
    for name in dict.fromkeys(one.rows.name for one in found):
        texts = []
        for _, (what, moment) in COLUMNS:
            one = by_name.get((name, moment))
            if one is None:
                texts.append(UNKNOWN)
            elif what.startswith("half"):
                texts.append(median_text(one.half_lives, one.longest_lag))
            else:
                texts.append(horizon_text(one))
        most = max(len(values) for other in found if other.rows.name == name for values in other.by_lag.values())
        rows.append([f"{name} (n = {most})", *texts])
    return rows


def median_text(values: Sequence[float], longest: float) -> str:
    """``3.1 (2.9 .. 3.4)``; beyond the longest lag ``> 49``."""
    if not values:
        return UNKNOWN
    low, typical, high = (half_life_text(end, longest) for end in (min(values), middle(values), max(values)))
    return typical if low == high else f"{typical} ({low} .. {high})"


def horizon_text(one: Reach) -> str:
    """Likewise; where more than a hundredth is left at every lag, that the horizon lies beyond the longest."""
    beyond = f"> {one.longest_lag:.0f}"
    if not one.horizons:
        return UNKNOWN
    ends = min(one.horizons), middle(one.horizons), max(one.horizons)
    low, typical, high = (beyond if math.isinf(end) else number(end, 2) for end in ends)
    return typical if low == high else f"{typical} ({low} .. {high})"


def draw(view: View, found: Sequence[Reach], marks: dict[str, Horizon], smallest: float) -> Figure:
    """A panel for each moment: share that is left against lag, both logarithmic."""
    moments = list(dict.fromkeys(one.moment for one in sorted(found, key=lambda one: MOMENTS.index(one.moment))))
    cell_looks = looks(view)
    names = list(dict.fromkeys(one.rows.name for one in found))
    lines = line_variants((one.rows.family, one.rows.name) for one in found)
    furthest = float(max(2, *(max(one.by_lag) for one in found), *(one.lag for one in marks.values())))
    with style():
        figure, axes = panels(len(moments), 3, HEIGHT)
        for ax, moment in zip(axes, moments, strict=True):
            for one in found:
                if one.moment == moment:
                    look = cell_looks[one.rows.cell]
                    draw_curve(ax, one, look, lines[one.rows.name], smallest)
                    if (mark := marks.get(one.rows.cell)) is not None:
                        above = sum(cell < one.rows.cell and other.lag == mark.lag for cell, other in marks.items())
                        ax.plot([mark.lag], [0.04 + 0.07 * above], **(BEYOND if mark.is_open else TICK),
                                color=look.color, transform=ax.get_xaxis_transform(), zorder=4)  # fmt: skip
            ax.axhline(LEFT, color="0.35", linestyle=":", linewidth=1.0, zorder=1)
            set_powers(ax, numticks=6)
            set_log(ax, "x", [1.0, furthest])
            ax.set_xlim(1, 1.15 * furthest)
            ax.set_title(f"{moment} of training", loc="left")
            ax.set_xlabel("lag (steps back)")
            ax.set_ylabel("share of the gradient left" if ax is axes[0] else "")
        bounds = [ax.get_ylim() for ax in axes]
        for ax in axes:
            ax.set_ylim(max(smallest, min(low for low, _ in bounds)), max(2.0, *(high for _, high in bounds)))
        cells = {one.rows.name: one.rows.cell for one in found}
        handles = [handle(cell_looks[cells[name]], lines[name], name) for name in names]
        for entry in handles:
            entry.set_marker("")
        handles.append(Line2D([], [], color="0.35", linestyle=":", linewidth=1.0, label="a hundredth"))
        for is_open, sign, label in ((False, TICK, "horizon of the cell"), (True, BEYOND, "horizon: at least")):
            if any(one.is_open == is_open for one in marks.values()):
                handles.append(
                    Line2D([], [], color="0.35", linestyle="none", label=label, **(sign | {"markersize": 8}))
                )
        legend_below(figure, handles)
    return figure


def draw_curve(ax: Axes, one: Reach, look: Look, variant: int, smallest: float) -> None:
    """The median over the runs, in a band from the smallest to the largest; what is too small is left out."""
    lags, middle, low, high = (np.array(values, dtype=float) for values in one.curve)
    seen = (lags >= 1) & np.isfinite(middle) & (middle >= smallest)
    if not seen.any():
        return
    ax.plot(lags[seen], middle[seen], color=look.color, linestyle=LINE_STYLES[look.line(variant)], linewidth=1.5)
    ax.fill_between(lags[seen], np.maximum(low[seen], smallest), high[seen], color=look.color, alpha=0.15, linewidth=0)
