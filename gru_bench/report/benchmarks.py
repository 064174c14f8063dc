"""The figures of ``bench/cells.py`` as the report reads them: which rows count, ratios, means, and the picture."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import HUES, REFERENCE_MARKERS, TRIVIAL, WIDTH, legend_below, set_log, style
from gru_bench.report.groups import VENDOR as VENDOR
from gru_bench.report.groups import family_rank
from gru_bench.report.groups import where as where
from gru_bench.report.markdown import known
from gru_bench.store.schema import BENCH_COLUMNS, FAMILIES

MEAN = "geometric mean"
GRID_SHAPE = re.compile(r"\d+x\d+(x\d+)?x\d+")
SHAPE_NAMES = {"article": "article's step"}

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
    present = on_grid(place, cell, backend)
    return mean(present), len(present)


def draw(place: Place) -> Figure | None:
    """A row a backend, a mark a cell: its mean ratio to the vendor over the grid, from slowest to fastest shape."""
    found = {key: means for key in place.rows if key[1] != VENDOR and (means := on_grid(place, *key))}
    if not found:
        return None
    backends = sorted({backend for _, backend in found})
    cells = [cell for cell in FAMILIES if any(cell == drawn for drawn, _ in found)]
    drawn = [1.0]
    with style():
        figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(backends)))
        ax = figure.add_subplot()
        for (cell, backend), ratios in found.items():
            at, low, high = mean(ratios) or 1.0, min(ratios), max(ratios)
            row = backends.index(backend) + 0.5 * ((cells.index(cell) + 0.5) / len(cells) - 0.5)
            bar = [[max(0.0, at - low)], [max(0.0, high - at)]]
            ax.errorbar([at], [row], xerr=bar, **look(cell), markersize=6, markeredgewidth=0.4, linestyle="none",
                        elinewidth=1.0, capsize=2)  # fmt: skip
            drawn += [low, high]
        ax.axvline(1.0, **TRIVIAL, zorder=1)
        set_log(ax, "x", drawn)
        ax.set_xlim(min(drawn) / 1.1, max(drawn) * 1.1)
        ax.set_yticks(range(len(backends)), backends)
        ax.set_ylim(len(backends) - 0.5, -0.5)
        ax.set_xlabel(f"speed, {VENDOR} = 1   ·   faster →")
        marks = [Line2D([], [], **look(cell), markersize=6, linestyle="none", label=cell) for cell in cells]
        legend_below(figure, [*marks, Line2D([], [], **TRIVIAL, label=VENDOR)])
    return figure


def look(cell: str) -> dict[str, Any]:
    """Color and marker of a reference cell, as in all figures."""
    return {"color": HUES[cell], "marker": REFERENCE_MARKERS[cell], "markeredgecolor": "white"}


def on_grid(place: Place, cell: str, backend: str) -> list[float]:
    """Its ratios to the vendor at the shapes of the grid."""
    ratios = [ratio(place, cell, backend, shape) for shape in place.shapes if is_grid(shape)]
    return [value for value in ratios if value is not None]
