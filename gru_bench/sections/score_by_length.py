"""Score by length: how far back does each cell reach on the long-range tasks?"""

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import (
    TRIVIAL,
    direction,
    handle,
    legend_below,
    looks,
    panels,
    seed_range,
    set_log,
    style,
    wants_log,
)
from gru_bench.report.groups import Group
from gru_bench.report.markdown import Section, escape, heading, metric_header, paragraphs, table
from gru_bench.report.parts import Parts, as_number, cut
from gru_bench.report.view import View

TEXT = (
    "Test scores of the same trained models on sequences of each length: mean ± standard deviation over the seeds. "
    "In the figure the bars reach from the smallest to the largest seed, and the trivial guess is dashed."
)


def render(view: View, /, *, slices: list[str], log_metrics: list[str], log_axis_from: float) -> Section:
    """Answer: how far back does each cell reach?

    Args:
        view: All runs.
        slices: Names of the slices that are a length or a distance in time steps.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
    """
    found = [cut(view, task, task.metric, name) for task in view.tasks for name in slices]
    found = [parts for parts in found if parts.scores]
    if not found:
        return Section("Score by length", "")
    told = [TEXT, "![Test score against length, for each task](figures/score_by_length.png)"]
    for parts in found:
        task = parts.task
        metric = metric_header(task.metric, task.unit, task.higher_is_better)
        columns = ["cell", *(f"{parts.name} {at}" for at in parts.values)]
        told.append(f"### {heading(task.task, task.generated)}: {metric} by {parts.name}")
        told += [table(columns, parts.rows(parts.values), set(columns[1:])), scored_at(view, parts)]
        if notes := task.groups[0].fact("notes"):
            told.append(f"Of the data: {escape(notes)}.")
    figure = draw(view, found, log_metrics, log_axis_from)
    return Section("Score by length", paragraphs(*told), {"score_by_length": figure})


def scored_at(view: View, parts: Parts) -> str:
    """At which length the summary's score was taken, where it is that of one length."""
    whole = {group.label: view.seed_values(group, parts.metric) for group in parts.task.groups}
    same = [
        at
        for at in parts.values
        if all(
            len(row[at]) and row[at].equals(whole[label]) for label, row in parts.scores.items() if len(whole[label])
        )
    ]
    return f"The summary's scores are those of {parts.name} {same[0]}." if len(same) == 1 else ""


def draw(view: View, found: list[Parts], log_metrics: list[str], log_axis_from: float) -> Figure:
    """One panel a task: mean score against length, with the range over seeds."""
    cell_looks = looks(view)
    names: dict[str, Group] = {}
    guessed = False
    with style():
        figure, axes = panels(len(found), 2, 2.9)
        for ax, parts in zip(axes, found, strict=True):
            task, name = parts.task, parts.name
            places = [(at, as_number(at)) for at in parts.values if math.isfinite(as_number(at))]
            guesses = [(x, g) for at, x in places if (g := parts.trivial[at]) is not None and math.isfinite(g)]
            drawn = [guess for _, guess in guesses]
            for group in task.groups:
                row = parts.scores.get(group.label, {})
                points = [(x, row[at]) for at, x in places if at in row]
                if seed_range(ax, points, cell_looks[group.cell], group.variant, joined=True, width=1.4):
                    names[group.label] = group
                    drawn += [float(value) for _, series in points for value in series if math.isfinite(value)]
            if len(guesses) > 1:
                ax.plot(*zip(*guesses, strict=True), **TRIVIAL, zorder=1)
            elif guesses:
                ax.axhline(guesses[0][1], **TRIVIAL, zorder=1)
            guessed = guessed or bool(guesses)
            if wants_log(task.metric, drawn, log_metrics, log_axis_from):
                set_log(ax, "y", drawn)
            finite = [x for _, x in places]
            if finite and min(finite) > 0 and max(finite) / min(finite) >= log_axis_from:
                set_log(ax, "x", finite)
            ax.set_xticks(finite, [f"{x:g}" for x in finite])
            ax.set_title(heading(task.task, task.generated), loc="left")
            ax.set_xlabel(f"{name} (time steps)")
            ax.set_ylabel(f"{task.metric}\n({direction(task.higher_is_better, vertical=True)})".replace("\n()", ""))
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        if guessed:
            handles.append(Line2D([], [], **TRIVIAL, label="trivial guess"))
        legend_below(figure, handles, 5 if max(map(len, names), default=0) <= 18 else 2)
    return figure
