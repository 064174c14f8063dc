"""Milliseconds of a whole sequence against its length: a line a cell and backend, and where the order changes."""

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.crossings import crossings
from gru_bench.report.figures import (
    HUES,
    LINE_STYLES,
    OTHER_HUE,
    REFERENCE_MARKERS,
    legend_below,
    panels,
    set_log,
    style,
)
from gru_bench.report.groups import VENDOR, family_rank
from gru_bench.report.markdown import known
from gru_bench.report.timings import FASTEST, VENDORS, Timing, families

Lines = dict[tuple[str, str], list[tuple[float, float]]]
"""By cell and backend, the milliseconds at each length."""
VIEWS = {FASTEST: "fastest", VENDORS: "vendor"}
SHORT = {"first": "GRU", "second": "LSTM"}


def lines_of(found: Sequence[Timing]) -> Lines:
    """The measured times of every cell on every backend by length; the median where several pairs timed one.

    Those at equal hidden size on a quiet machine: times of other sizes are of other lines.
    """
    times: dict[tuple[str, str], dict[float, list[float]]] = {}
    for one in filter(is_drawn, found):
        for arm in (one.first, one.second):
            ms = arm.number("ms")
            if ms is not None and known(one.row["steps"]):
                at = times.setdefault((arm.cell, arm.backend), {})
                at.setdefault(float(one.row["steps"]), []).append(ms)
    keys = sorted(times, key=lambda key: (key[1] != VENDOR, key[1], family_rank(key[0].split("_")[0]), key[0]))
    return {key: [(at, statistics.median(ms)) for at, ms in sorted(times[key].items())] for key in keys}


def is_drawn(one: Timing) -> bool:
    """Whether it belongs to the lines."""
    return one.budget == "hidden" and not one.is_forced


def draw_lines(parts: Sequence[tuple[str, Sequence[Timing]]]) -> Figure:
    """A panel for each part, of which a name and all its timings are given.

    Args:
        parts: All pairs of a part are of one place and one size, but for their length, and some are drawn.
    """
    every = [lines_of(found) for _, found in parts]
    keys = list(dict.fromkeys(key for lines in every for key in lines))
    backends = list(dict.fromkeys(backend for _, backend in keys))
    with style():
        figure, axes = panels(len(parts), 2, 3.2)
        for ax, (name, found), lines in zip(axes, parts, every, strict=True):
            for (cell, backend), points in lines.items():
                ax.plot(*zip(*points, strict=True), **look(cell, backends.index(backend)))
            drawn = [value for points in lines.values() for _, value in points]
            lengths = sorted({at for points in lines.values() for at, _ in points})
            ax.set_yscale("log")
            set_log(ax, "y", drawn)
            if lengths[0] > 0 and lengths[-1] / lengths[0] >= 10:
                ax.set_xscale("log")
            ax.set_xticks(lengths, [f"{at:g}" for at in lengths], rotation=45 if len(lengths) > 7 else 0)
            ax.minorticks_off()
            mark_crossings(ax, found)
            ax.set_title(name, loc="left")
            ax.set_xlabel("T: time steps")
            ax.set_ylabel("ms (lower is better)")
        entries = [Line2D([], [], **look(cell, backends.index(b)), label=f"{cell}, {b}") for cell, b in keys]
        legend_below(figure, entries)
    return figure


def look(cell: str, backend: int) -> dict[str, Any]:
    """Colour and marker by the cell, the line by the backend."""
    return {
        "color": HUES.get(cell, OTHER_HUE), "marker": REFERENCE_MARKERS.get(cell, "D"), "markersize": 4.5,
        "markeredgecolor": "white", "markeredgewidth": 0.4, "linewidth": 1.4,
        "linestyle": LINE_STYLES[backend % len(LINE_STYLES)],
    }  # fmt: skip


def mark_crossings(ax: Axes, found: Sequence[Timing]) -> None:
    """Brackets at the foot of a panel, from the last length of one order to the first of the other."""
    low, high = ax.get_ylim()
    height = 0
    for name, points in families(filter(is_drawn, found)).items():
        line = sorted((float(one.row["steps"]), one.finding) for one in points if known(one.row["steps"]))
        for crossing in crossings(line):
            y = low * (high / low) ** (-0.06 - 0.11 * height)
            ax.plot([crossing.low, crossing.high], [y, y], color="0.2", linewidth=1.4, marker="|", markersize=7)
            text = f"{VIEWS[name]}: {SHORT[crossing.before]}, then {SHORT[crossing.after]}"
            left = crossing.high <= (ax.get_xlim()[0] * ax.get_xlim()[1]) ** 0.5
            ax.annotate(text, (crossing.high if left else crossing.low, y), (6 if left else -6, 0),
                        textcoords="offset points", ha="left" if left else "right", va="center",
                        fontsize=7.5, color="0.2")  # fmt: skip
            height += 1
    ax.set_ylim(low * (high / low) ** (-0.06 - 0.11 * height) if height else low, high)
