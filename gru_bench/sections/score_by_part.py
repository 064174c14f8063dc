"""Score by part: on which parts of the test data do the cells differ?"""

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from gru_bench.results import Results
from gru_bench.sections.base import Section, heading, paragraphs, plural, table
from gru_bench.sections.figures import LINE_STYLES, handle, legend_below, looks, panels, style
from gru_bench.sections.groups import Group, Measured, TaskGroups, by_task, complete, measure, seed_values
from gru_bench.sections.score_by_length import as_number, plus_minus_of

TEXT = (
    "Test scores of the same trained models on parts of the test data: mean ± standard deviation over the seeds; in "
    "the figure, bars from the smallest to the largest seed. Parts differ in size and in how hard they are to guess, "
    "so compare cells within a part, not parts with each other."
)
SPREAD = 0.5
"""How much of the room between two parts the cells' marks take."""


@dataclass(frozen=True)
class Parts:
    """One way to cut one task's test data: ``scores[row][value]`` has a value a seed."""

    task: TaskGroups
    metric: str
    name: str
    values: list[str]
    scores: dict[str, dict[str, pd.Series]]


def render(results: Results, /, *, without: list[str], most_values: int) -> Section:
    """Answer: on which parts of the test data do the cells differ?

    Args:
        results: All runs.
        without: Slices that are left out.
        most_values: Values of one slice that are shown.
    """
    measured = measure(complete(results)[1])
    found = [parts for task in by_task(results) for parts in parts_of(task, measured, without)]
    if not found:
        return Section("Score by part", "")
    told = [TEXT, "![Test score of each cell on each part of the test data](figures/score_by_part.png)"]
    for parts in found:
        shown = parts.values[:most_values]
        columns = ["cell", *(f"{parts.name} {value}" for value in shown)]
        rows = [[label, *(plus_minus_of(row[value]) for value in shown)] for label, row in parts.scores.items()]
        told += [
            f"### {heading(parts.task.task, parts.task.generated)}: {parts.metric} by {parts.name}",
            table(columns, rows, set(columns[1:])),
        ]
        if len(parts.values) > len(shown):
            told.append(f"{plural(len(parts.values) - len(shown), 'more value')} of {parts.name}: see `results.csv`.")
    return Section("Score by part", paragraphs(*told), {"score_by_part": draw(results, found, most_values)})


def parts_of(task: TaskGroups, measured: Measured, without: list[str]) -> list[Parts]:
    """Every slice of a task's test scores, by metric and name."""
    ids = {run for group in task.groups for run in group.finished["run_id"]}
    values: dict[tuple[str, str], set[str]] = {}
    for (split, metric, name, value), by_run in measured.items():
        if split == "test" and name and name not in without and not ids.isdisjoint(by_run):
            values.setdefault((metric, name), set()).add(value)
    found = []
    for metric, name in sorted(values):
        ordered = sorted(values[metric, name], key=lambda text: (as_number(text), text))
        scores = {
            group.label: {value: seed_values(measured, group, metric, "test", name, value) for value in ordered}
            for group in task.groups
        }
        kept = {label: row for label, row in scores.items() if any(len(series) for series in row.values())}
        found.append(Parts(task, metric, name, ordered, kept))
    return found


def draw(results: Results, found: list[Parts], most_values: int) -> Figure:
    """One panel a slice: the parts side by side, the cells beside each other; a line where parts have an order."""
    cell_looks = looks(results)
    names: dict[str, Group] = {}
    with style():
        figure, axes = panels(len(found), 2, 2.9)
        for ax, parts in zip(axes, found, strict=True):
            shown = parts.values[:most_values]
            groups = [group for group in parts.task.groups if group.label in parts.scores]
            ordered = all(math.isfinite(as_number(value)) for value in shown)
            for place, group in enumerate(groups):
                aside = SPREAD * (place + 0.5 - len(groups) / 2) / len(groups)
                points = [(x + aside, parts.scores[group.label][value]) for x, value in enumerate(shown)]
                points = [(x, s) for x, s in points if len(s) and s.map(math.isfinite).all()]
                if not points:
                    continue
                names[group.label] = group
                look = cell_looks[group.cell]
                means = [float(series.mean()) for _, series in points]
                below = [max(0.0, mean - float(s.min())) for mean, (_, s) in zip(means, points, strict=True)]
                above = [max(0.0, float(s.max()) - mean) for mean, (_, s) in zip(means, points, strict=True)]
                ax.errorbar(
                    [x for x, _ in points],
                    means,
                    yerr=[below, above],
                    color=look.color,
                    marker=look.marker,
                    markersize=5.5,
                    markeredgecolor="white",
                    markeredgewidth=0.4,
                    linestyle=LINE_STYLES[look.line(group.variant)] if ordered else "none",
                    linewidth=1.0,
                    elinewidth=1.0,
                    capsize=2,
                )
            long = max(map(len, shown)) * len(shown) > 36
            ax.set_xticks(range(len(shown)), shown, rotation=30 if long else 0, ha="right" if long else "center")
            ax.set_title(heading(parts.task.task, parts.task.generated), loc="left")
            ax.set_xlabel(parts.name)
            ax.set_ylabel(parts.metric)
        legend_below(figure, [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()])
    return figure
