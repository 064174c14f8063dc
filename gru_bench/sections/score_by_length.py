"""Score by length: how far back does each cell reach on the long-range tasks?"""

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.results import Results
from gru_bench.sections.base import (
    Section,
    escape,
    heading,
    metric_header,
    number,
    paragraphs,
    plus_minus,
    table,
)
from gru_bench.sections.figures import (
    LINE_STYLES,
    TRIVIAL,
    direction,
    handle,
    legend_below,
    looks,
    panels,
    set_log,
    style,
    wants_log,
)
from gru_bench.sections.groups import Group, Measured, TaskGroups, by_task, complete, deviation, measure, seed_values

TEXT = (
    "Test scores of the same trained models on sequences of each length: mean ± standard deviation over the seeds. "
    "In the figure the bars reach from the smallest to the largest seed, and the trivial guess is dashed."
)

Scores = dict[str, dict[str, pd.Series]]


def render(results: Results, /, *, slices: list[str], log_metrics: list[str], log_axis_from: float) -> Section:
    """Answer: how far back does each cell reach?

    Args:
        results: All runs.
        slices: Names of the slices that are a length or a distance in time steps.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
    """
    measured = measure(complete(results)[1])
    found: list[tuple[TaskGroups, str, list[str], Scores]] = []
    for task in by_task(results):
        for name in slices:
            lengths = slice_values(measured, task, name)
            scores = {
                group.label: {at: seed_values(measured, group, task.metric, "test", name, at) for at in lengths}
                for group in task.groups
            }
            if any(len(series) for row in scores.values() for series in row.values()):
                found.append((task, name, lengths, scores))
    if not found:
        return Section("Score by length", "")
    parts = [TEXT, "![Test score against length, for each task](figures/score_by_length.png)"]
    for task, name, lengths, scores in found:
        columns = ["cell", *(f"{name} {at}" for at in lengths)]
        rows = [
            [label, *(plus_minus_of(row[at]) for at in lengths)]
            for label, row in scores.items()
            if any(len(series) for series in row.values())
        ]
        rows += [[label, *([number(value)] * len(lengths))] for label, value in task.trivial.items()]
        parts.append(f"### {heading(task.task, task.generated)}: {metric(task)} by {name}")
        parts += [table(columns, rows, set(columns[1:])), scored_at(measured, task, name, scores)]
        if told := task.groups[0].fact("notes"):
            parts.append(f"Of the data: {escape(told)}.")
    return Section(
        "Score by length", paragraphs(*parts), {"score_by_length": draw(results, found, log_metrics, log_axis_from)}
    )


def metric(task: TaskGroups) -> str:
    """The primary metric with its unit and direction."""
    return metric_header(task.metric, task.unit, task.higher_is_better)


def plus_minus_of(series: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    if series.empty:
        return number(None)
    return plus_minus(series.mean(), deviation(series))


def slice_values(measured: Measured, task: TaskGroups, name: str) -> list[str]:
    """The lengths at which this task was scored, in the order of their size."""
    ids = {run for group in task.groups for run in group.finished["run_id"]}
    found = {
        slice_value
        for (split, metric, slice, slice_value), by_run in measured.items()
        if (split, metric, slice) == ("test", task.metric, name) and not ids.isdisjoint(by_run)
    }
    return sorted(found, key=lambda text: (as_number(text), text))


def as_number(text: str) -> float:
    """A slice's value on an axis; a range such as ``5-9`` or ``31+`` stands at its lower end."""
    try:
        return float(text.split("-")[0].rstrip("+") or text)
    except ValueError:
        return math.inf


def scored_at(measured: Measured, task: TaskGroups, name: str, scores: Scores) -> str:
    """At which length the summary's score was taken, where it is that of one length."""
    whole = {group.label: seed_values(measured, group, task.metric) for group in task.groups}
    lengths = next(iter(scores.values()))
    same = [
        at
        for at in lengths
        if all(len(row[at]) and row[at].equals(whole[label]) for label, row in scores.items() if len(whole[label]))
    ]
    return f"The summary's score is that of {name} {same[0]}, and so is the trivial guess." if len(same) == 1 else ""


def draw(
    results: Results,
    found: list[tuple[TaskGroups, str, list[str], Scores]],
    log_metrics: list[str],
    log_axis_from: float,
) -> Figure:
    """One panel a task: mean score against length, with the range over seeds."""
    cell_looks = looks(results)
    names: dict[str, Group] = {}
    with style():
        figure, axes = panels(len(found), 2, 2.9)
        for ax, (task, name, lengths, scores) in zip(axes, found, strict=True):
            drawn = [value for value in task.trivial.values() if math.isfinite(value)]
            positions = [as_number(at) for at in lengths]
            for group in task.groups:
                points = [(x, scores[group.label][at]) for x, at in zip(positions, lengths, strict=True)]
                points = [(x, s) for x, s in points if len(s) and s.map(math.isfinite).all() and math.isfinite(x)]
                if not points:
                    continue
                names[group.label] = group
                look = cell_looks[group.cell]
                means = [float(series.mean()) for _, series in points]
                below = [mean - float(s.min()) for mean, (_, s) in zip(means, points, strict=True)]
                above = [float(s.max()) - mean for mean, (_, s) in zip(means, points, strict=True)]
                drawn += [float(value) for _, series in points for value in series]
                ax.errorbar(
                    [x for x, _ in points],
                    means,
                    yerr=[[max(0.0, b) for b in below], [max(0.0, a) for a in above]],
                    color=look.color,
                    marker=look.marker,
                    markersize=5.5,
                    markeredgecolor="white",
                    markeredgewidth=0.4,
                    linestyle=LINE_STYLES[look.line(group.variant)],
                    linewidth=1.4,
                    elinewidth=1.0,
                    capsize=2,
                )
            for value in task.trivial.values():
                if math.isfinite(value):
                    ax.axhline(value, **TRIVIAL, zorder=1)
            if wants_log(task.metric, drawn, log_metrics, log_axis_from):
                set_log(ax, "y", drawn)
            finite = [x for x in positions if math.isfinite(x)]
            if finite and min(finite) > 0 and max(finite) / min(finite) >= log_axis_from:
                set_log(ax, "x", finite)
            ax.set_xticks(finite, [f"{x:g}" for x in finite])
            ax.set_title(heading(task.task, task.generated), loc="left")
            ax.set_xlabel(f"{name} (time steps)")
            ax.set_ylabel(f"{task.metric}\n({direction(task.higher_is_better, vertical=True)})".replace("\n()", ""))
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        handles.append(Line2D([], [], **TRIVIAL, label="trivial guess"))
        legend_below(figure, handles, 5 if max(map(len, names), default=0) <= 18 else 2)
    return figure
