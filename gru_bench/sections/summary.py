"""The summary: what did each cell score on each task?"""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import (
    TRIVIAL,
    direction,
    legend_below,
    looks,
    panels,
    set_log,
    style,
    wants_log,
)
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import (
    ARROWS,
    Section,
    count,
    escape,
    heading,
    known,
    metric_header,
    number,
    paragraphs,
    table,
)
from gru_bench.report.scores import best_mean, describe, gain_over_trivial
from gru_bench.report.view import View, differing_settings

INTRODUCTION = (
    "One table a task. Each row averages the seeds of one cell at one setting, and nothing else: mean, standard "
    "deviation (sd) and range over the seeds, n the number of distinct seeds that finished. Scores are those of the "
    "test data at the best validation step. The order of rows is fixed (RNN, LSTM, GRU; a family's reference cell "
    "first) and is not a ranking: this report names no winner, the statistics for that come later. " + ARROWS
)


def render(view: View, /, *, log_metrics: list[str], log_axis_from: float) -> Section:
    """Answer: what did each cell score on each task, and is that better than a guess?

    Args:
        view: All runs.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
    """
    tasks = view.tasks
    if not tasks:
        return Section("Summary", "")
    scores = {(t.task, t.metric, label): series for t in tasks for label, series in view.scores(t).items()}
    parts = [INTRODUCTION]
    figures = {}
    if any(len(series) for series in scores.values()):
        figures["summary"] = draw(view, tasks, scores, log_metrics, log_axis_from)
        parts.append("![Test score of each cell on each task, by seed](figures/summary.png)")
        parts.append(
            "*Small dots: seeds. Large markers: their mean. Dashed: what a guess scores that looks at no input.*"
        )
    for task in tasks:
        of_task = {group.label: scores[task.task, task.metric, group.label] for group in task.groups}
        parts += [f"### {heading(task.task, task.generated)}", task_table(task, of_task), *notes(task, of_task)]
    return Section("Summary", paragraphs(*parts), figures)


def task_table(task: TaskGroups, scores: dict[str, pd.Series]) -> str:
    """One row a group, and the trivial guess."""
    score = metric_header(task.metric, task.unit, task.higher_is_better) if task.metric else "score"
    columns = ["family", "cell", score, "sd", "range", "n", "hidden size", "parameters", "not finished"]
    rows = []
    for group in task.groups:
        series = scores[group.label]
        sizes = [count(group.fact("hidden_size")), count(group.fact("num_parameters"))]
        rows.append([group.family, group.label, *describe(series), str(len(series)), *sizes, str(group.num_unfinished)])
    rows += [["", label, number(value), "", "", "", "", "", ""] for label, value in task.trivial.items()]
    return table(columns, rows, set(columns[2:]))


def notes(task: TaskGroups, scores: dict[str, pd.Series]) -> list[str]:
    """What a reader must know before comparing the rows of one table."""
    told = [margin_note(task, scores), ceiling_note(task, scores)]
    told += [f"The rows differ in {text}." for text in differing_settings(task)]
    told += [f"Of the data: {escape(text)}." for group in task.groups[:1] if (text := group.fact("notes"))]
    seeds = {tuple(series.index) for series in scores.values() if len(series)}
    if len(seeds) > 1:
        told.append("The rows do not all stand on the same seeds.")
    return ["\n".join(f"- {note}" for note in told if note)] if any(told) else []


def margin_note(task: TaskGroups, scores: dict[str, pd.Series]) -> str:
    """Whether any cell learned something: by how much the best mean beats the trivial guess."""
    gain = gain_over_trivial(task, list(scores.values()))
    if gain is None or not known(task.beats_trivial_by):
        return ""
    wanted = float(task.beats_trivial_by or 0)
    asked = f"a useful model beats it by at least {wanted:g}"
    if gain >= wanted:
        return f"The best mean beats the trivial guess by {number(gain)} ({asked})."
    if gain > 0:
        return f"No cell learned this task: the best mean beats the trivial guess by {number(gain)} only ({asked})."
    return f"No cell learned this task: no mean beats the trivial guess ({asked})."


def ceiling_note(task: TaskGroups, scores: dict[str, pd.Series]) -> str:
    """Whether the task still tells the families apart."""
    families: dict[str, list[pd.Series]] = {}
    for group in task.groups:
        families.setdefault(group.family, []).append(scores[group.label])
    best = {family: best_mean(task, found) for family, found in families.items()}
    if not known(task.ceiling) or any(value is None for value in best.values()):
        return ""
    ceiling, better = float(task.ceiling or 0), task.higher_is_better
    at = [f for f, value in best.items() if value is not None and (value >= ceiling if better else value <= ceiling)]
    bound = f"{'at least' if better else 'at most'} {ceiling:g}"
    if not at:
        return ""
    if len(at) == len(best):
        return f"Every family is at the ceiling ({bound}): here this task cannot tell them apart."
    return f"At the ceiling ({bound}): {', '.join(at)}. The other families are not."


def draw(
    view: View,
    tasks: list[TaskGroups],
    scores: dict[tuple[str, str, str], pd.Series],
    log_metrics: list[str],
    log_axis_from: float,
) -> Figure:
    """One panel a task: seeds, their mean, and the trivial guess."""
    cell_looks = looks(view)
    longest = max(len(group.label) for task in tasks for group in task.groups)
    most = max(len(task.groups) for task in tasks)
    with style():
        figure, axes = panels(len(tasks), 3 if longest <= 16 else 2 if longest <= 30 else 1, 1.1 + 0.24 * most)
        for ax, task in zip(axes, tasks, strict=True):
            drawn: list[float] = [value for value in task.trivial.values() if math.isfinite(value)]
            for row, group in enumerate(task.groups):
                series = scores[task.task, task.metric, group.label]
                look = cell_looks[group.cell]
                finite = [value for value in series if math.isfinite(value)]
                drawn += finite
                if not finite:
                    ax.text(0.5, row, "no score", transform=ax.get_yaxis_transform(), ha="center", va="center",
                            color="0.35", fontsize=8.5)  # fmt: skip
                    continue
                ax.scatter(finite, [row + 0.24] * len(finite), s=11, color=look.color, alpha=0.75, linewidth=0)
                mean = sum(finite) / len(finite)
                ax.plot([mean], [row], marker=look.marker, color=look.color, markersize=7, markeredgecolor="white",
                        markeredgewidth=0.6, linestyle="none")  # fmt: skip
            for value in task.trivial.values():
                if math.isfinite(value):
                    ax.axvline(value, **TRIVIAL, zorder=1)
            if wants_log(task.metric, drawn, log_metrics, log_axis_from):
                set_log(ax, "x", drawn)
            else:
                ax.locator_params(axis="x", nbins=5)
            name_rows(ax, task.groups)
            ax.margins(x=0.1)
            ax.set_title(heading(task.task, task.generated).replace(" (", "\n("), loc="left")
            ax.set_xlabel(f"{task.metric}\n{direction(task.higher_is_better, vertical=False)}".strip())
        seed = Line2D([], [], marker="o", color="0.35", linestyle="none", markersize=3.5, label="seed")
        mean_handle = Line2D(
            [], [], marker="o", color="0.35", linestyle="none", markersize=7, label="mean of the seeds"
        )
        trivial = Line2D([], [], **TRIVIAL, label="trivial guess")
        legend_below(figure, [seed, mean_handle, trivial])
    return figure


def name_rows(ax: Axes, groups: list[Group]) -> None:
    """The rows' names, first row on top."""
    ax.set_yticks(range(len(groups)), [group.label for group in groups])
    ax.set_ylim(len(groups) - 0.4, -0.6)
