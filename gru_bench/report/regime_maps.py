"""Which of two cells is faster over two sizes: the maps of the section on regimes, and the picture of one situation."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gru_bench.report.crossings import Edge, edges
from gru_bench.report.figures import HUES, WIDTH, legend_below, style
from gru_bench.report.groups import truth
from gru_bench.report.markdown import known, plural
from gru_bench.report.timings import GRU, LSTM, NOISE, Timing, place_text, plain

AXES = {"steps": "T: time steps", "batch": "B: sequences", "hidden_size_asked": "H: hidden size"}
"""Sizes that may be an axis, and what the axis is called; the letter comes first."""
GREY = "0.82"
MOST_TIMES = 4.0
"""Where the colours end: a larger ratio has the same colour, and its number."""
COLORS = LinearSegmentedColormap.from_list("families", [HUES[LSTM], "white", HUES[GRU]])


@dataclass(frozen=True)
class Map:
    """The comparisons that differ in two sizes alone.

    Attributes:
        x: Which size lies along the map, of :data:`AXES`.
        y: Which one lies across it.
        columns: The measured values of ``x``.
        rows: Those of ``y``.
        cells: The timing at each column and row; nothing where none was measured.
        name: What tells it from the other maps.
    """

    x: str
    y: str
    columns: list[float]
    rows: list[float]
    cells: dict[tuple[int, int], Timing]
    name: str

    @property
    def letters(self) -> tuple[str, str]:
        """``T`` and ``B``."""
        return self.x_label[0], AXES[self.y][0]

    @property
    def edges(self) -> list[Edge]:
        """The crossing line."""
        return edges({place: timing.finding for place, timing in self.cells.items()})

    @property
    def x_label(self) -> str:
        return AXES[self.x]

    def lines(self) -> list[tuple[float, list[tuple[float, Timing]]]]:
        """For each row the points along the map."""
        return [
            (value, [(at, self.cells[i, j]) for i, at in enumerate(self.columns) if (i, j) in self.cells])
            for j, value in enumerate(self.rows)
        ]


def axes_of(found: Sequence[Timing]) -> tuple[str, str]:
    """The two sizes that become axes: of those with several values, first the length, then the batch."""
    varied = {name: len(values(found, name)) > 1 for name in AXES}
    across = next((name for name in ("steps", "hidden_size_asked", "batch") if varied[name]), "steps")
    rest = [name for name in ("batch", "hidden_size_asked", "steps") if name != across]
    return across, next((name for name in rest if varied[name]), rest[0])


def values(found: Iterable[Timing], name: str) -> list[float]:
    """The measured values of a size."""
    return sorted({float(one.row[name]) for one in found if known(one.row[name])})


def maps_of(found: Sequence[Timing], x: str, y: str, among: Sequence[Timing] = ()) -> list[Map]:
    """One map for each choice of everything but two sizes, in the order of these choices.

    Args:
        found: At most one timing a place and size.
        x: The size along the maps.
        y: The other one.
        among: More timings, from whose maps a name has to tell these apart.
    """
    maps = []
    for name, part in panels_of(found, x, y, among):
        columns, rows = values(part, x), values(part, y)
        cells = {
            (columns.index(float(one.row[x])), rows.index(float(one.row[y]))): one
            for one in part
            if known(one.row[x]) and known(one.row[y])
        }
        maps.append(Map(x, y, columns, rows, cells, name))
    return maps


def panels_of(found: Sequence[Timing], x: str, y: str, among: Sequence[Timing] = ()) -> list[tuple[str, list[Timing]]]:
    """The timings of each choice of everything but two sizes, with what tells it from the other choices."""
    parts: dict[tuple[Any, ...], list[Timing]] = {}
    for one in found:
        parts.setdefault(panel_key(one, x, y), []).append(one)
    every = {*parts, *(panel_key(one, x, y) for one in among)}
    differing = [position for position, column in enumerate(zip(*every, strict=True)) if len(set(column)) > 1]
    keys = sorted(parts, key=sort_key)
    return [(panel_name(parts[key][0], x, y, differing), parts[key]) for key in keys]


def panel_key(one: Timing, x: str, y: str) -> tuple[Any, ...]:
    """All but the two sizes: place, the other size, layers, directions, and features where they are not H."""
    other = next(name for name in AXES if name not in (x, y))
    inputs = plain(one.row["inputs"])
    alike = inputs == one.row["hidden_size_asked"] or inputs == ""
    rest = (truth(one.row["bidirectional"]) or False, plain(one.row["num_layers"]), "H" if alike else inputs)
    return (place_text(one, threads=False), str(one.row["torch"]), plain(one.row["threads"]), plain(one.row[other]),
            *rest)  # fmt: skip


def sort_key(key: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    """Numbers by size before texts."""
    return [(isinstance(part, str), part) for part in key]


def panel_name(one: Timing, x: str, y: str, differing: list[int]) -> str:
    """What is worth a title: all in which the maps of one situation differ."""
    other = next(name for name in AXES if name not in (x, y))
    texts = [
        place_text(one, threads=False).replace("`", ""),
        f"torch {one.row['torch']}",
        plural(int(one.row["threads"]), "thread") if known(one.row["threads"]) else "threads not known",
        f"{AXES[other][0]} {plain(one.row[other]):g}" if known(one.row[other]) else "",
        "both directions" if truth(one.row["bidirectional"]) else "one direction",
        plural(int(one.row["num_layers"]), "layer") if known(one.row["num_layers"]) else "",
        f"D {plain(one.row['inputs'])}" if known(one.row["inputs"]) else "",
    ]
    return ", ".join(texts[position] for position in differing if texts[position])


def draw_maps(views: dict[str, list[Map]]) -> Figure:
    """A column of panels a view, a row of panels a map; colours by the ratio on a logarithmic scale about 1.

    Args:
        views: The maps by what both cells ran on.
    """
    panels = [(name, one) for name, maps in views.items() for one in maps]
    across = 2 if len(views) == 2 and max(len(one.columns) for _, one in panels) <= 8 else 1
    places = {one.name: sort_key(panel_key(next(iter(one.cells.values())), one.x, one.y)) for _, one in panels}
    names = sorted(places, key=lambda name: places[name])
    if across == 2:
        grid = [[next((one for one in maps if one.name == name), None) for maps in views.values()] for name in names]
    else:
        grid = [[one] for _, one in panels]
    heights = [max(len(one.rows) for one in row if one is not None) for row in grid]
    alike = len({tuple(one.columns) for _, one in panels}) == 1
    limit = color_limit([cell for _, one in panels for cell in one.cells.values()])
    with style():
        figure = Figure(figsize=(WIDTH, sum(0.62 + 0.28 * height for height in heights) + 1.1))
        axes = figure.subplots(len(grid), across, squeeze=False, height_ratios=[height + 2 for height in heights])
        for row, line in enumerate(grid):
            for column, one in enumerate(line):
                ax = axes[row][column]
                if one is None:
                    ax.set_axis_off()
                    continue
                draw_map(ax, one, limit, across)
                if row == len(grid) - 1 or across == 1 or not alike:
                    ax.set_xlabel(one.x_label)
                if column == 0:
                    ax.set_ylabel(AXES[one.y])
                view = list(views)[column] if across == 2 else panels[row][0]
                title = [view] if row == 0 or across == 1 else []
                ax.set_title("\n".join(filter(None, [*title, one.name])), loc="left", fontsize=9)
        bar(figure, axes, limit)
        legend_below(figure, handles([one for _, one in panels]))
    return figure


def color_limit(found: Sequence[Timing]) -> float:
    """Where the scale ends on both sides of 1, so that equal factors have equally strong colours."""
    largest = max((max(one.ratio, 1 / one.ratio) for one in found), default=1.0)
    return float(min(MOST_TIMES, max(1.5, largest)))


def draw_map(ax: Axes, one: Map, limit: float, across: int) -> None:
    """One panel: a square of the ratio's colour with the faster cell's number, grey inside the noise."""
    small = len(one.columns) * across > 12
    for (i, j), timing in one.cells.items():
        noise = timing.finding == NOISE
        color = GREY if noise else COLORS(float(LogNorm(1 / limit, limit)(min(limit, max(1 / limit, timing.ratio)))))
        ax.add_patch(Rectangle((i - 0.5, j - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=0.8,
                               hatch="///" if noise else None))  # fmt: skip
        ax.text(i, j, cell_text(timing), ha="center", va="center", color="0.1", fontsize=6.5 if small else 8,
                bbox={"facecolor": GREY, "edgecolor": "none", "pad": 1} if noise else None)  # fmt: skip
    for start, end in one.edges:
        ax.plot(*zip(start, end, strict=True), color="black", linewidth=2.6, solid_capstyle="projecting", zorder=4)
    ax.set_xlim(-0.5, len(one.columns) - 0.5)
    ax.set_ylim(-0.5, len(one.rows) - 0.5)
    ax.set_xticks(range(len(one.columns)), [f"{value:,g}" for value in one.columns])
    ax.set_yticks(range(len(one.rows)), [f"{value:,g}" for value in one.rows])
    ax.grid(False)


def cell_text(one: Timing) -> str:
    """``G 1.31``: the faster cell's letter and how many times as fast it is; the bare number inside the noise."""
    value = one.times_as_fast()[0]
    text = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 2.95 else f"{value:.2f}"
    mark = "*" if one.is_forced else ""
    return (
        f"{text}{mark}" if one.finding == NOISE else f"{one.names[0 if one.finding == 'first' else 1][0]} {text}{mark}"
    )


def bar(figure: Figure, axes: Any, limit: float) -> None:
    """The scale of the colours, its ticks as factors on both sides."""
    scale = figure.colorbar(
        ScalarMappable(LogNorm(1 / limit, limit), COLORS),
        ax=list(axes.flat),
        location="right",
        fraction=0.025,
        pad=0.01,
    )
    ticks = [factor for factor in (1.25, 1.5, 2, 3, 4) if factor <= limit * 1.001]
    ticks = [2, 4] if limit >= 4 else ticks
    scale.ax.yaxis.set_major_locator(FixedLocator([*(1 / tick for tick in reversed(ticks)), 1, *ticks]))
    scale.ax.yaxis.set_minor_locator(NullLocator())
    scale.ax.yaxis.set_major_formatter(
        FuncFormatter(lambda at, _: "equal" if abs(at - 1) < 1e-6 else f"{shown_factor(at)}")
    )


def shown_factor(at: float) -> str:
    """``GRU 2x`` above 1, ``LSTM 2x`` below."""
    return f"GRU {at:.3g}x" if at > 1 else f"LSTM {1 / at:.3g}x"


def handles(maps: Sequence[Map]) -> list[Any]:
    """What colours and marks mean, of those that occur."""
    findings = {one.finding for part in maps for one in part.cells.values()}
    entries: list[Any] = []
    if "first" in findings:
        entries.append(Patch(facecolor=HUES[GRU], label="G: GRU faster, so many times"))
    if "second" in findings:
        entries.append(Patch(facecolor=HUES[LSTM], label="L: LSTM faster, so many times"))
    if NOISE in findings:
        entries.append(Patch(facecolor=GREY, edgecolor="white", hatch="///", label="inside noise"))
    if any(part.edges for part in maps):
        entries.append(Line2D([], [], color="black", linewidth=2.6, label="the order changes"))
    return entries


def is_map(maps: Sequence[Map]) -> bool:
    """Whether there is more than one cell to draw."""
    return any(len(one.cells) > 1 for one in maps) and not any(math.isnan(v) for one in maps for v in one.columns)
