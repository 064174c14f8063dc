"""What every section of a report returns, and how it writes numbers and tables."""

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

UNKNOWN = "–"


@dataclass
class Section:
    """One part of a report.

    Attributes:
        title: Heading.
        markdown: The text under the heading; empty where there is nothing to say, and the section is left out.
        figures: Figures by name; the markdown shows them as ``![what it shows](figures/NAME.png)``.
        leads: Whether it stands on the first page where a report has timings and no runs.
        rest: Of one that leads, what is among the details all the same.
        brief: What stands on the first page instead of the markdown, which then stands whole among the details; empty
            where the markdown is short enough to be read there.
    """

    title: str
    markdown: str
    figures: dict[str, Figure] = field(default_factory=dict)
    leads: bool = False
    rest: "Section | None" = None
    brief: str = ""


def known(value: Any) -> bool:
    """Whether a value of a frame is there at all."""
    return value is not None and value is not pd.NA and bool(value == value) and value != ""


def number(value: Any, digits: int = 3) -> str:
    """A measured number with so many significant digits: ``0.167``, ``12.3``, ``12,300``, ``1.2e-05``."""
    if not known(value):
        return UNKNOWN
    value = float(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    if abs(rounded) >= 10 ** (digits - 1):
        return f"{rounded:,.0f}"
    if abs(rounded) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:#.{digits}g}"


def count(value: Any) -> str:
    """A whole number with separated thousands: ``12,864``."""
    return f"{round(float(value)):,}" if known(value) else UNKNOWN


def span(low: Any, high: Any, digits: int = 3) -> str:
    """``0.10 .. 0.25``, or one number where both are the same."""
    first, last = number(low, digits), number(high, digits)
    return first if first == last else f"{first} .. {last}"


def plus_minus(mean: Any, deviation: Any) -> str:
    """A mean with its standard deviation, or alone where one value has none."""
    return f"{number(mean)} ± {number(deviation, 2)}" if known(deviation) else number(mean)


def plural(how_many: int, word: str) -> str:
    """``1 run``, ``3 runs``."""
    return f"{how_many} {word}" if how_many == 1 else f"{how_many} {word}s"


def table(columns: list[str], rows: list[list[str]], numeric: set[str] | None = None) -> str:
    """A markdown table whose source is aligned too.

    Args:
        columns: Headers.
        rows: Cells as text.
        numeric: Headers of the columns that are set flush right.
    """
    numeric = numeric or set()
    cells = [[escape(text) for text in row] for row in [columns, *rows]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(columns))]
    right = [column in numeric for column in columns]

    def line(row: list[str]) -> str:
        parts = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right, strict=True)]
        return f"| {' | '.join(parts)} |"

    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def escape(text: str) -> str:
    """Text that stays inside one cell of a markdown table and is no markup: ``<unk>`` would vanish as a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


def paragraphs(*parts: str) -> str:
    """The parts that say something, set apart by an empty line."""
    return "\n\n".join(part for part in parts if part)


def heading(task: str, generated: bool | None) -> str:
    """A task's name, and that its data is generated where it is."""
    return f"{task} (generated data)" if generated else task


def arrow(higher_is_better: bool | None) -> str:
    """The direction in which a score gets better, for a table's header."""
    return {True: " ↑", False: " ↓", None: ""}[higher_is_better]


ARROWS = "↑: higher is better; ↓: lower is better."


def metric_header(metric: str, unit: str, higher_is_better: bool | None) -> str:
    """``mse (squared error) ↓``; the unit is left out where the name says it."""
    return (f"{metric} ({unit})" if unit and unit != metric else metric) + arrow(higher_is_better)
