"""The summary: what did each cell score on each task?"""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.baselines import labelled, of_task
from gru_bench.report.figures import (
    TRIVIAL,
    direction,
    is_far,
    legend_below,
    looks,
    mark_of,
    median_handle,
    panels,
    set_log,
    style,
    thin_ticks,
    wants_log,
)
from gru_bench.report.groups import Group, TaskGroups, drawn_rows, not_drawn
from gru_bench.report.markdown import (
    ARROWS,
    Section,
    arrow,
    count,
    heading,
    metric_header,
    number,
    paragraphs,
    table,
)
from gru_bench.report.notes import notes
from gru_bench.report.rates import marks, rate_text
from gru_bench.report.scores import Outcome, plus_minus_of, typical
from gru_bench.report.view import View

INTRODUCTION = (
    "One table per task. Each row averages the seeds of one cell at one setting, and nothing else: mean, standard "
    "deviation (sd) and range over the seeds, n the number of distinct seeds that finished. Scores are those of the "
    "test data at the best validation step. The order of rows is fixed (RNN, LSTM, GRU; a family's reference cell "
    "first) and is not a ranking: which differences are more than noise stands in the verdict. " + ARROWS
)


def render(
    view: View,
    /,
    *,
    beside: dict[str, str],
    log_metrics: list[str],
    log_axis_from: float,
    far_guess: float,
) -> Section:
    """Answer: what did each cell score on each task, and is that better than a guess?

    Args:
        view: All runs.
        beside: By primary metric, a second one that has a column of its own where it was measured.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
        far_guess: From how many times the span of the scores a trivial guess is marked at the figure's edge.
    """
    tasks = view.tasks
    if not tasks:
        return Section("Summary", "")
    outcomes = {(t.task, t.metric): view.outcomes(t) for t in tasks}
    parts = [INTRODUCTION]
    figures = {}
    if any(len(found.seeds) for of_task in outcomes.values() for found in of_task.values()):
        figures["summary"] = draw(view, tasks, outcomes, log_metrics, log_axis_from, far_guess)
        parts.append("![Test score of each cell on each task, by seed](figures/summary.png)")
        parts.append(
            "*Small dots: seeds. Large markers: their mean; hollow ones: their median, where some seeds learned the "
            "task and others did not. Dashed: what a guess that looks at no input scores; "
            "where it lies far beyond the scores, an arrow with its value.*"
        )
        parts.append(not_drawn(tasks))
    for task in tasks:
        of_task = outcomes[task.task, task.metric]
        parts += [
            f"### {heading(task.task, task.generated)}",
            task_table(view, task, of_task, beside),
            *notes(view, task, of_task),
        ]
    return Section("Summary", paragraphs(*parts), figures)


def task_table(view: View, task: TaskGroups, outcomes: dict[str, Outcome], beside: dict[str, str]) -> str:
    """One row a group, then the trivial guess and the simple models on the same data."""
    score = metric_header(task.metric, task.unit, task.higher_is_better) if task.metric else "score"
    second = beside.get(task.metric, "")
    seconds = {group.label: view.seed_values(group, second) for group in task.groups} if second else {}
    has_second = any(len(series) for series in seconds.values())
    columns = ["family", "cell", score, "sd", "range", *[second + arrow(task.higher_is_better)] * has_second, "n"]
    columns += ["hidden size", "parameters", "learning rate", "not finished"]
    letters = marks(task)
    rows = []
    for group in task.groups:
        found = outcomes[group.label]
        more = [plus_minus_of(seconds[group.label], found.is_split)] if has_second else []
        sizes = [count(group.fact("hidden_size")), count(group.fact("num_parameters"))]
        facts = [str(len(found.seeds)), *sizes, rate_text(group, letters), str(group.num_unfinished)]
        rows.append([group.family, group.label, *found.texts(), *more, *facts])
    for label, value in task.trivial:
        guesses = [view.seed_values(group, f"trivial_{second}") for group in task.groups] if has_second else []
        found_guesses = {float(guess) for series in guesses for guess in series}
        more = [number(found_guesses.pop() if len(found_guesses) == 1 else None)] if has_second else []
        rows.append(["", label, number(value), "", "", *more, *[""] * 5])
    for label, baseline in labelled(of_task(view.baselines, task)):
        more = [number(baseline.test.get(second))] if has_second else []
        rows.append(["", label, number(baseline.test[task.metric]), "", "", *more, *[""] * 5])
    return table(columns, rows, set(columns[2:]))


def draw(
    view: View,
    tasks: list[TaskGroups],
    outcomes: dict[tuple[str, str], dict[str, Outcome]],
    log_metrics: list[str],
    log_axis_from: float,
    far_guess: float,
) -> Figure:
    """One panel per task: seeds, their mean, and the trivial guess."""
    cell_looks = looks(view)
    longest = max(len(group.label) for task in tasks for group in drawn_rows(task.groups))
    most = max(len(drawn_rows(task.groups)) for task in tasks)
    with style():
        figure, axes = panels(len(tasks), 3 if longest <= 16 else 2 if longest <= 30 else 1, 1.1 + 0.24 * most)
        for ax, task in zip(axes, tasks, strict=True):
            drawn: list[float] = []
            rows = drawn_rows(task.groups)
            for row, group in enumerate(rows):
                found = outcomes[task.task, task.metric][group.label]
                look = cell_looks[group.cell]
                finite = [value for value in found.seeds if math.isfinite(value)]
                drawn += finite
                if not finite:
                    ax.text(0.5, row, "no score", transform=ax.get_yaxis_transform(), ha="center", va="center",
                            color="0.35", fontsize=8.5)  # fmt: skip
                    continue
                ax.scatter(finite, [row + 0.24] * len(finite), s=11, color=look.color, alpha=0.75, linewidth=0)
                middle = typical(pd.Series(finite), found.is_split)
                ax.plot([middle], [row], marker=look.marker, color=look.color, markersize=7, linestyle="none",
                        **mark_of(look, found.is_split, 0.6))  # fmt: skip
            guesses = [value for _, value in task.trivial if math.isfinite(value)]
            # by the scores alone: a guess of nearly nothing would make any axis logarithmic
            log = wants_log(task.metric, drawn, log_metrics, log_axis_from)
            near = [value for value in guesses if not is_far(value, drawn, log, far_guess)]
            for value in near:
                ax.axvline(value, **TRIVIAL, zorder=1)
            if log:
                set_log(ax, "x", [*drawn, *near])
            else:
                ax.locator_params(axis="x", nbins=5)
            ax.margins(x=0.1)
            name_rows(ax, rows)
            mark_far(ax, [value for value in guesses if value not in near], drawn, len(rows))
            ax.set_title(heading(task.task, task.generated).replace(" (", "\n("), loc="left")
            ax.set_xlabel(f"{task.metric}\n{direction(task.higher_is_better, vertical=False)}".strip())
        seed = Line2D([], [], marker="o", color="0.35", linestyle="none", markersize=3.5, label="seed")
        mean_handle = Line2D(
            [], [], marker="o", color="0.35", linestyle="none", markersize=7, label="mean of the seeds"
        )
        trivial = Line2D([], [], **TRIVIAL, label="trivial guess")
        split = any(found.is_split for of_task in outcomes.values() for found in of_task.values())
        legend_below(figure, [seed, mean_handle, trivial, *([median_handle()] if split else [])])
        thin_ticks(figure, axes)
    return figure


def mark_far(ax: Axes, guesses: list[float], drawn: list[float], rows: int) -> None:
    """Guesses beyond the axis: in a line of their own, an arrow at the edge where they would be, with their value."""
    if guesses:
        ax.set_ylim(rows + 0.1, ax.get_ylim()[1])
    for value in guesses:
        right = value > max(drawn)
        text = f"guess {number(value)} →" if right else f"← guess {number(value)}"
        ax.text(0.99 if right else 0.01, rows - 0.2, text, transform=ax.get_yaxis_transform(), fontsize=7.5,
                ha="right" if right else "left", va="center", color="0.35")  # fmt: skip


def name_rows(ax: Axes, groups: list[Group]) -> None:
    """The rows' names, first row on top."""
    ax.set_yticks(range(len(groups)), [group.label for group in groups])
    ax.set_ylim(len(groups) - 0.4, -0.6)
