"""State and recall: how much does a cell keep with the numbers that it carries from step to step?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import handle, legend_below, looks, panels, seed_range, set_log, style
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, count, heading, known, metric_header, number, paragraphs, span, table
from gru_bench.report.parts import as_number
from gru_bench.report.view import View

TITLE = "State and recall"
TEXT = (
    "The same models by how much must be kept at once, against the size of their state: the numbers that all recurrent "
    "layers carry from one step to the next, 2 H a layer of H units for an LSTM, H for a GRU or a plain RNN. Medians "
    "over the seeds with the range; without memory: what a model scores that knows the task but only sees the current "
    "input."
)
MOST_TICKS = 6
WITHOUT: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.2}


@dataclass(frozen=True)
class Row:
    """One row of a task.

    Attributes:
        state_size: Numbers that it carries from step to step.
        scores: By part, one score a seed.
    """

    group: Group
    state_size: int
    scores: dict[str, pd.Series]


def render(view: View, /, *, tasks: list[str], slice: str) -> Section:
    """Answer: how much does each cell recall with a state of so many numbers?

    Args:
        view: All runs.
        tasks: Those whose answer takes several things to be kept at once.
        slice: Name of the slice that counts them.
    """
    parts, figures = [TEXT], {}
    for task in view.tasks:
        values, rows = rows_of(view, task, slice) if task.task in tasks else ([], [])
        if not rows:
            continue
        parts.append(f"### {heading(task.task, task.generated)}: {header(task)} by {slice}")
        if len({row.state_size for row in rows}) > 1:
            name = f"state_and_recall_{task.task}"
            figures[name] = draw(view, task, values, rows, slice)
            parts.append(f"![Score against size of state, for each number of {slice}](figures/{name}.png)")
        parts.append(scores_table(view, task, values, rows, slice))
    return Section(TITLE, paragraphs(*parts) if len(parts) > 1 else "", figures)


def header(task: TaskGroups) -> str:
    """The metric with its unit and direction."""
    return metric_header(task.metric, task.unit, task.higher_is_better)


def rows_of(view: View, task: TaskGroups, slice: str) -> tuple[list[str], list[Row]]:
    """The parts in the order of their numbers, and the rows whose state is known, by cell and size."""
    values = {
        value for split, metric, name, value in view.measured if (split, metric, name) == ("test", task.metric, slice)
    }
    ordered = sorted(values, key=lambda value: (as_number(value), value))
    rows = []
    for group in task.groups:
        size = group.fact("state_size")
        scores = {value: view.seed_values(group, task.metric, "test", slice, value) for value in ordered}
        if known(size) and any(len(series) for series in scores.values()):
            rows.append(Row(group, int(size), scores))
    cells = [group.cell for group in task.groups]
    return ordered, sorted(rows, key=lambda row: (cells.index(row.group.cell), row.state_size, row.group.variant))


def scores_table(view: View, task: TaskGroups, values: Sequence[str], rows: Sequence[Row], slice: str) -> str:
    """A row a cell and size, a column a part."""
    lines = []
    for row in rows:
        most = max(len(series) for series in row.scores.values())
        texts = [score_text(row.scores[value]) for value in values]
        lines.append([row.group.label, count(row.state_size), str(most), *texts])
    without = [baseline(view, rows, f"without_memory_{task.metric}", slice, value) for value in values]
    if any(known(value) for value in without):
        lines.append(["without memory", "", "", *(number(value) for value in without)])
    columns = ["cell", "size of state", "n", *(f"{slice} {value}" for value in values)]
    return table(columns, lines, set(columns[1:]))


def score_text(series: pd.Series) -> str:
    """``0.95 (0.90 .. 0.98)``."""
    if series.empty:
        return number(None)
    ends = f" ({span(series.min(), series.max(), 2)})" if series.max() > series.min() else ""
    return f"{number(series.median())}{ends}"


def baseline(view: View, rows: Sequence[Row], metric: str, slice: str, value: str) -> float | None:
    """A number that the runs recorded of their task; None where they did not, or differ."""
    by_run = view.measured.get(("test", metric, slice, value), {})
    found = {by_run[run] for row in rows for run in row.group.finished["run_id"] if run in by_run}
    return found.pop() if len(found) == 1 else None


def draw(view: View, task: TaskGroups, values: Sequence[str], rows: Sequence[Row], slice: str) -> Figure:
    """A panel for each part: the median score of each cell against the size of its state."""
    cell_looks = looks(view)
    cells = list(dict.fromkeys(row.group.cell for row in rows))
    sizes = [float(row.state_size) for row in rows]
    with style():
        figure, axes = panels(len(values), 3, 2.5)
        for ax, value in zip(axes, values, strict=True):
            for cell in cells:
                points = [(float(row.state_size), row.scores[value]) for row in rows if row.group.cell == cell]
                seed_range(ax, points, cell_looks[cell], 0, joined=True, width=1.3, median=True)
            if (without := baseline(view, rows, f"without_memory_{task.metric}", slice, value)) is not None:
                ax.axhline(without, **WITHOUT, zorder=1)
            set_log(ax, "x", sizes)
            if len(set(sizes)) <= MOST_TICKS:
                ax.set_xticks(sorted(set(sizes)))
            ax.set_title(f"{value} {slice}", loc="left")
            ax.set_xlabel("size of state")
            ax.set_ylabel(task.metric if ax is axes[0] else "")
        handles = [handle(cell_looks[cell], 0, cell) for cell in cells]
        for entry in handles:
            entry.set_markerfacecolor("white")  # as medians are drawn
        if baseline(view, rows, f"without_memory_{task.metric}", slice, values[0]) is not None:
            handles.append(Line2D([], [], **WITHOUT, label="without memory"))
        legend_below(figure, handles)
    return figure
