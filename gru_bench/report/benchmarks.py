"""The figures of ``bench/cells.py`` as the report reads them: which rows count, ratios, means, and the picture."""

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import TRIVIAL, legend_below, panels, set_log, style
from gru_bench.report.groups import VENDOR as VENDOR
from gru_bench.report.groups import family_rank
from gru_bench.report.groups import where as where
from gru_bench.report.markdown import known
from gru_bench.store.schema import BENCH_COLUMNS, FAMILIES

MEAN = "geometric mean"
GRID_SHAPE = re.compile(r"\d+x\d+(x\d+)?x\d+")
SHAPE_NAMES = {"article": "article's step"}
MARKERS = "Dvsoh^P<"
HUES = (3, 7, 5, 0, 9, 4, 2, 1)
"""Positions in seaborn's palette, less those that are too pale for a small dot."""

Rows = dict[str, dict[str, Any]]
"""A cell's rows on one backend by shape."""


@dataclass(frozen=True)
class Place:
    """One benchmark: where it ran, and its rows whose parity is green.

    Attributes:
        facts: One of its rows, for the values that all of them share.
        rows: By cell and backend, then by shape; reference cells only.
        red: Cells and backends that compute something other than the reference there.
    """

    facts: dict[str, Any]
    rows: dict[tuple[str, str], Rows]
    red: list[tuple[str, str]]

    @cached_property
    def shapes(self) -> list[str]:
        """The grid by its sizes, then whole models."""
        return sorted({shape for found in self.rows.values() for shape in found}, key=shape_order)

    @property
    def where(self) -> str:
        return where(self.facts)


def shape_order(shape: str) -> tuple[Any, ...]:
    """Sort key of a shape."""
    return (0, *map(int, shape.split("x"))) if is_grid(shape) else (1, shape)


def is_grid(shape: str) -> bool:
    """Whether a shape counts in the geometric mean."""
    return GRID_SHAPE.fullmatch(shape) is not None


def mean(values: Iterable[float]) -> float | None:
    """The geometric mean; None of nothing."""
    found = list(values)
    return math.exp(math.fsum(map(math.log, found)) / len(found)) if found else None


def places_of(bench: pd.DataFrame) -> list[Place]:
    """The benchmarks, by machine, device, dtype and threads."""
    keys = ["machine", "device", "dtype", "threads", "run_id"]
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    ordered = bench.reindex(columns=list(BENCH_COLUMNS)).sort_values([*keys, "cell", "backend", "shape"])
    for record in ordered.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        if row["cell"] in FAMILIES:
            found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [place_of(rows) for rows in found.values()]


def place_of(rows: list[dict[str, Any]]) -> Place:
    """One benchmark. A backend that is red at one shape counts at none."""
    red = {(row["cell"], row["backend"]) for row in rows if row["parity"] != "green"}
    green: dict[tuple[str, str], Rows] = {}
    for row in sorted(rows, key=lambda row: (family_rank(row["cell"]), row["backend"] != VENDOR, row["backend"])):
        key = (row["cell"], row["backend"])
        if key not in red:
            green.setdefault(key, {})[row["shape"]] = row
    return Place(rows[0], green, sorted(red, key=lambda key: (family_rank(key[0]), key[1])))


def shape_name(shape: str) -> str:
    """A column's header."""
    return SHAPE_NAMES.get(shape, shape)


def kernels_of(found: Rows) -> str:
    """The kernels of one cell on one backend; several where shapes differ."""
    return ", ".join(dict.fromkeys(found[shape]["kernel"] for shape in sorted(found, key=shape_order)))


def ratio(place: Place, cell: str, backend: str, shape: str, column: str = "ratio_to_vendor") -> float | None:
    """A measured ratio; none without a vendor that computes the right thing."""
    value = place.rows[cell, backend].get(shape, {}).get(column)
    return float(value) if (cell, VENDOR) in place.rows and value is not None and known(value) else None


def average_ratio(place: Place, cell: str, backend: str) -> tuple[float | None, int]:
    """The geometric mean over the grid, and over how many shapes."""
    ratios = [ratio(place, cell, backend, shape) for shape in place.shapes if is_grid(shape)]
    present = [value for value in ratios if value is not None]
    return mean(present), len(present)


def draw(places: list[Place], place: Place) -> Figure | None:
    """One panel per cell: the ratio of each backend to the vendor, by shape, and the mean over the grid."""
    drawn = {
        cell: [b for c, b in place.rows if c == cell and b != VENDOR and has_ratio(place, cell, b)] for cell in FAMILIES
    }
    drawn = {cell: backends for cell, backends in drawn.items() if backends}
    if not drawn:
        return None
    looks = backend_looks({backend for known_place in places for _, backend in known_place.rows} - {VENDOR})
    used = sorted({backend for backends in drawn.values() for backend in backends})
    names = [*place.shapes, MEAN]
    grid = sum(map(is_grid, place.shapes))
    with style():
        figure, axes = panels(len(drawn), 3, 1.1 + (0.16 + 0.09 * len(used)) * len(names))
        values = [1.0]
        for position, (ax, (cell, backends)) in enumerate(zip(axes, drawn.items(), strict=True)):
            for backend in backends:
                offset = 0.62 * ((used.index(backend) + 0.5) / len(used) - 0.5)
                color, marker = looks[backend]
                look: dict[str, Any] = {"color": color, "marker": marker, "markeredgecolor": "white"}
                for row, shape in enumerate(place.shapes):
                    at = ratio(place, cell, backend, shape)
                    if at is None:
                        continue
                    low = ratio(place, cell, backend, shape, "ratio_low") or at
                    high = ratio(place, cell, backend, shape, "ratio_high") or at
                    values += [min(at, low), max(at, high)]
                    bar = [[max(0.0, at - low)], [max(0.0, high - at)]]
                    ax.errorbar([at], [row + offset], xerr=bar, **look, markersize=5, markeredgewidth=0.4,
                                linestyle="none", elinewidth=1.0, capsize=1.5)  # fmt: skip
                average, _ = average_ratio(place, cell, backend)
                if average is not None:
                    ax.plot([average], [len(names) - 1 + offset], **look, markersize=7, linestyle="none")
            ax.axvline(1.0, **TRIVIAL, zorder=1)
            ax.axhline(grid - 0.5, color="0.8", linewidth=0.8)
            if grid < len(place.shapes):
                ax.axhline(len(place.shapes) - 0.5, color="0.8", linewidth=0.8)
            ax.set_yticks(range(len(names)), [shape_name(n) for n in names] if position % 3 == 0 else [""] * len(names))
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.set_title(cell, loc="left")
            if position % 3 == 0:
                ax.set_ylabel("shape: time steps x sequences (x inputs) x hidden size")
            ax.set_xlabel("speed, vendor = 1\nfaster →")
        for ax in axes:  # one scale, so that the cells can be read side by side
            set_log(ax, "x", values)
            ax.set_xlim(min(values) / 1.1, max(values) * 1.1)
        handles: list[Any] = [
            Line2D([], [], color=looks[name][0], marker=looks[name][1], linestyle="none", label=name) for name in used
        ]
        legend_below(figure, [*handles, Line2D([], [], **TRIVIAL, label=VENDOR)])
    return figure


def backend_looks(backends: set[str]) -> dict[str, tuple[str, str]]:
    """Color and marker of each backend, found by its name, so that they hardly depend on which others are there."""
    palette = [to_hex(color) for color in sns.color_palette("colorblind")]
    found: dict[str, tuple[str, str]] = {}
    taken: set[int] = set()
    for backend in sorted(backends):
        slot = zlib.crc32(backend.encode()) % len(MARKERS)
        while slot in taken and len(taken) < len(MARKERS):
            slot = (slot + 1) % len(MARKERS)
        taken.add(slot)
        found[backend] = (palette[HUES[slot]], MARKERS[slot])
    return found


def has_ratio(place: Place, cell: str, backend: str) -> bool:
    """Whether there is anything to draw."""
    return any(ratio(place, cell, backend, shape) is not None for shape in place.shapes)
