"""How figures look and how they are saved: the same frames give the same bytes, on a machine without a display."""

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from gru_bench.report.given import in_figures
from gru_bench.report.groups import distinct, first_known
from gru_bench.report.markdown import span
from gru_bench.report.scores import typical
from gru_bench.report.view import View
from gru_bench.store.read import FAMILIES

WIDTH = 8.0
"""Inches. Shown about 800 pixels wide, a point of type is a little more than a pixel."""

DPI = 200
SYMBOL_WIDTH, LETTER_WIDTH = 0.7, 0.078
"""Inches of a legend's entry: its symbol with the room around it, and a letter of its text, rounded up."""
TICK_GAP = 5.0
"""Pixels of the screen, of which an inch has 100, between the labels of two ticks."""
LINE_STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")

TRIVIAL: dict[str, Any] = {"color": "0.35", "linestyle": (0, (4, 2)), "linewidth": 1.2}

_PALETTE = [to_hex(color) for color in sns.color_palette("colorblind")]
HUES = dict(zip(FAMILIES, (_PALETTE[0], _PALETTE[1], _PALETTE[2]), strict=True))
OTHER_HUE = _PALETTE[4]
REFERENCE_MARKERS = dict(zip(FAMILIES, "os^", strict=True))
VARIANT_MARKERS = "DvPXph"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Look:
    """Color, marker and line of one cell, the same in all figures."""

    color: str
    marker: str
    reference: bool

    def line(self, variant: int) -> int:
        """Which of the line patterns stands for a row: solid for a reference cell's first one."""
        return (variant + (not self.reference)) % len(LINE_STYLES)


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's own defaults and seaborn's theme, whatever the user's settings are; put back afterwards."""
    with matplotlib.rc_context(), in_figures():
        matplotlib.rcdefaults()
        sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font="DejaVu Sans")
        matplotlib.rcParams.update(
            {
                "font.size": 9,
                "axes.titlesize": 10,
                "axes.labelsize": 9,
                "xtick.labelsize": 8.5,
                "ytick.labelsize": 9,
                "legend.fontsize": 9,
                "figure.constrained_layout.use": True,
                "svg.hashsalt": "gru_bench",
                "svg.fonttype": "path",
                "text.parse_math": False,
                "grid.linewidth": 0.6,
            }
        )
        yield


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write ``NAME.svg`` and ``NAME.png`` without a date or a version in them."""
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    with style():
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], dpi=DPI, metadata={"Software": None})
    return paths


def looks(view: View) -> dict[str, Look]:
    """One look per cell: the family gives the hue: pure for the reference cell, shaded for variants.

    A variant's shade is found by its name, so that it hardly depends on which other cells are there.
    """
    runs = view.all_runs
    found: dict[str, Look] = {}
    taken: set[tuple[str, int]] = set()
    for cell in distinct(runs["cell"]):
        family = str(first_known(runs.loc[runs["cell"] == cell, "family"]) or cell.split("_")[0])
        hue = HUES.get(family, OTHER_HUE)
        if cell == family:
            found[cell] = Look(hue, REFERENCE_MARKERS.get(family, "8"), True)
            continue
        slot = zlib.crc32(cell.encode()) % len(VARIANT_MARKERS)
        for _ in VARIANT_MARKERS:
            if (hue, slot) not in taken:
                break
            slot = (slot + 1) % len(VARIANT_MARKERS)
        taken.add((hue, slot))
        dark, light = sns.dark_palette(hue, 6), sns.light_palette(hue, 6)
        shade = (dark[2], light[3], light[2], dark[3])[slot % 4]
        found[cell] = Look(to_hex(shade), VARIANT_MARKERS[slot], False)
    return found


def panels(number: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of README width with that many panels, row by row.

    Args:
        number: Panels.
        columns: Most panels side by side.
        height: Inches of one row of panels.
    """
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(WIDTH, rows * height + 0.35))
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(number)]
    return figure, axes


def handle(look: Look, variant: int, label: str) -> Line2D:
    """A legend's entry for one row of a line figure."""
    line = LINE_STYLES[look.line(variant)]
    return Line2D([], [], color=look.color, marker=look.marker, markersize=5.5, linestyle=line, label=label)


def line_variants(rows: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The variant of each row's line by its place within its family: in one panel colors alone are hard to tell apart.

    Args:
        rows: Family and name of each, in the order of the legend; a row named like its family has the first one.
    """
    names: dict[str, list[str]] = {}
    found: dict[str, int] = {}
    for family, name in rows:
        of_family = names.setdefault(family, [])
        if name != family and name not in of_family:
            of_family.append(name)
        found[name] = 0 if name == family else of_family.index(name)
    return found


def mark_of(look: Look, median: bool, edge: float) -> dict[str, Any]:
    """How a row's mark is filled: in its color for a mean, hollow for a median."""
    if median:
        return {"markerfacecolor": "white", "markeredgecolor": look.color, "markeredgewidth": 1.2}
    return {"markeredgecolor": "white", "markeredgewidth": edge}


def median_handle() -> Line2D:
    """The legend's entry for hollow marks."""
    label = "hollow: median, seeds split"
    return Line2D(
        [], [], marker="o", color="0.35", markerfacecolor="white", linestyle="none", markersize=5.5, label=label
    )


def seed_range(
    ax: Axes,
    points: list[tuple[float, pd.Series]],
    look: Look,
    variant: int,
    *,
    joined: bool,
    width: float,
    median: bool = False,
) -> bool:
    """Draw one row: the mean over the seeds at each place, with a bar from the smallest to the largest.

    Args:
        ax: The panel.
        points: Place on the x axis and one value per seed. Places without a value, or where one is infinite, are left
            out.
        look: How the row's cell looks.
        variant: Which row of its cell it is.
        joined: Whether a line joins the means: only where the places have an order.
        width: Of that line.
        median: Draw the median, as a hollow mark: for a row where some seeds learned the task and others did not.

    Returns:
        Whether there was anything to draw.
    """
    points = [(x, scores) for x, scores in points if len(scores) and scores.map(math.isfinite).all()]
    if not points:
        return False
    means = [typical(scores, median) for _, scores in points]
    # a mean of equal numbers may differ from them in the last bit, and a bar must not have a negative length
    below = [max(0.0, mean - float(scores.min())) for mean, (_, scores) in zip(means, points, strict=True)]
    above = [max(0.0, float(scores.max()) - mean) for mean, (_, scores) in zip(means, points, strict=True)]
    ax.errorbar(
        [x for x, _ in points],
        means,
        yerr=[below, above],
        color=look.color,
        marker=look.marker,
        markersize=5.5,
        **mark_of(look, median, 0.4),
        linestyle=LINE_STYLES[look.line(variant)] if joined else "none",
        linewidth=width,
        elinewidth=1.0,
        capsize=2,
    )
    return True


def direction(higher_is_better: bool | None, vertical: bool) -> str:
    """Where better values lie on an axis."""
    if higher_is_better is None:
        return ""
    if vertical:
        return "higher is better" if higher_is_better else "lower is better"
    return "higher is better →" if higher_is_better else "← lower is better"


def wants_log(metric: str, values: list[float], log_metrics: list[str], log_from: float) -> bool:
    """Whether an axis is logarithmic: always for some metrics, else where the values span that large a ratio."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0:
        return False
    return metric in log_metrics or max(finite) / min(finite) >= log_from


def set_log(axes: Axes, which: str, values: list[float]) -> None:
    """A logarithmic axis whose ticks are few and are plain numbers, however short it is."""
    finite = [value for value in values if math.isfinite(value) and value > 0]
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis: Any = axes.xaxis if which == "x" else axes.yaxis
    decades = math.log10(max(finite) / min(finite))
    if decades < 0.7:
        axis.set_major_locator(MaxNLocator(4))
    elif decades < 2:
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)))
    else:
        axis.set_major_locator(LogLocator(numticks=5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def set_powers(axes: Axes, numticks: int) -> None:
    """A logarithmic y axis over many decades: powers of ten in plain characters.

    Matplotlib's own labels are mathematics, which figures do not read: given texts may hold dollar signs.
    """
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=numticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))


def power_of_ten(value: float) -> str:
    """``10⁻²`` for 0.01, and 1 for 1; another number as it is."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if not math.isclose(value, 10.0**exponent):
        return f"{value:g}"
    return "1" if exponent == 0 else f"10{str(exponent).translate(RAISED)}"


def is_far(value: float, drawn: list[float], log: bool, far: float) -> bool:
    """Whether a guess lies so far from all scores that an axis that reached it would press them together.

    Args:
        value: The guess.
        drawn: The scores.
        log: Whether the axis is logarithmic.
        far: From how many times the scores' own span on.
    """
    if not drawn:
        return False
    low, high, at = min(drawn), max(drawn), value
    if log:
        if at <= 0:
            return True
        low, high, at = math.log(low), math.log(high), math.log(at)
    outside = max(low - at, at - high)
    return high > low and outside > far * (high - low)


def note_far(ax: Axes, guesses: list[float], drawn: list[float]) -> None:
    """Guesses beyond a drawn panel's y axis: an arrow at the edge where they would be, with their values."""
    for below, arrow in ((True, "↓"), (False, "↑")):
        beyond = [value for value in guesses if (value < min(drawn)) == below]
        if not beyond:
            continue
        low, high = ax.get_ylim()
        more = 0.12
        if ax.get_yscale() == "log":
            ax.set_ylim(*((low * (low / high) ** more, high) if below else (low, high * (high / low) ** more)))
        else:
            ax.set_ylim(*((low - more * (high - low), high) if below else (low, high + more * (high - low))))
        ax.text(0.5, 0.02 if below else 0.98, f"guess {span(min(beyond), max(beyond))} {arrow}",
                transform=ax.transAxes, fontsize=7.5, ha="center", va="bottom" if below else "top",
                color="0.35")  # fmt: skip


def thin_ticks(figure: Figure, panels: list[Axes]) -> None:
    """Fewer ticks on the x axis of each panel where their labels would touch, in the figure as it is laid out."""
    for bins in (4, 3, 2, 1):
        figure.draw_without_rendering()
        crowded = [ax for ax in panels if touching(tick_boxes(ax))]
        for ax in crowded:
            ax.xaxis.set_major_locator(MaxNLocator(bins))
        if not crowded:
            return


def tick_boxes(ax: Axes) -> list[tuple[float, float]]:
    """Where the labels of a drawn x axis begin and end, in pixels; those outside of the axis are not drawn."""
    low, high = ax.get_xlim()
    boxes = [
        tick.label1.get_window_extent()
        for tick in ax.xaxis.get_major_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]
    return sorted((box.x0, box.x1) for box in boxes)


def touching(boxes: list[tuple[float, float]]) -> bool:
    """Whether two neighbours have less than a letter's width between them."""
    return any(start - end < TICK_GAP for (_, end), (start, _) in itertools.pairwise(boxes))


def legend_below(figure: Figure, handles: list[Any]) -> None:
    """One legend for all panels, under them, where it covers no data; in as many columns as fit side by side."""
    widths = [SYMBOL_WIDTH + LETTER_WIDTH * len(handle.get_label()) for handle in handles]
    columns = next(c for c in range(min(5, len(handles)), 0, -1) if c == 1 or legend_width(widths, c) <= WIDTH)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.19 * (math.ceil(len(handles) / columns) - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def legend_width(widths: list[float], columns: int) -> float:
    """Inches of a legend whose entries fill one column after the other, the first ones being the longer columns."""
    short, longer = divmod(len(widths), columns)
    total, start = 0.0, 0
    for column in range(columns):
        end = start + short + (column < longer)
        total += max(widths[start:end])
        start = end
    return total
