"""Learning curves: how fast did each cell learn?"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from gru_bench.report.figures import (
    LINE_STYLES,
    Look,
    direction,
    handle,
    legend_below,
    looks,
    mark_of,
    median_handle,
    panels,
    set_log,
    style,
    wants_log,
)
from gru_bench.report.groups import Group, TaskGroups, drawn_rows, not_drawn
from gru_bench.report.markdown import Section, heading, paragraphs
from gru_bench.report.view import View

Curves = dict[int, pd.Series]
"""By seed, the values by step."""

TEXT = (
    "The primary metric on the validation data against optimizer steps. Thin lines: one per seed of the finished runs, "
    "each to its own end. Thick line with marks: the mean over the seeds, up to the last step that all of them "
    "reached; beyond it there is none, since a mean over the seeds that went on would be one of other runs. Hollow "
    "marks: the median instead, where some seeds learned the task and others did not. Equal steps are not equal "
    "time: what a step costs is listed under Cost."
)


def render(view: View, /, *, log_metrics: list[str], log_axis_from: float) -> Section:
    """Answer: how fast did each cell learn, in steps, and was it still learning at the end?

    Args:
        view: All runs.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
    """
    found = [(task, curves) for task in view.tasks if (curves := task_curves(view.curves, task))]
    if not found:
        return Section("Learning curves", "")
    cell_looks = looks(view)
    names: dict[str, Group] = {}
    any_split = False
    with style():
        figure, axes = panels(len(found), 2, 2.5)
        for ax, (task, curves) in zip(axes, found, strict=True):
            outcomes = view.outcomes(task)
            values: list[float] = []
            for group in drawn_rows(task.groups):
                if group.label not in curves:
                    continue
                names[group.label] = group
                is_split = outcomes[group.label].is_split
                any_split = any_split or is_split
                draw_row(ax, curves[group.label], cell_looks[group.cell], group.variant, is_split)
                values += [float(value) for seed in curves[group.label].values() for value in seed]
            if wants_log(task.metric, values, log_metrics, log_axis_from):
                set_log(ax, "y", values)
            ax.locator_params(axis="x", nbins=6)
            ax.set_title(heading(task.task, task.generated), loc="left")
            ax.set_xlabel("optimizer steps")
            ax.set_ylabel(f"{task.metric}\n({direction(task.higher_is_better, vertical=True)})".replace("\n()", ""))
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        handles += [median_handle()] if any_split else []
        legend_below(figure, handles)
    picture = "![Validation score against steps, for each task](figures/learning_curves.png)"
    return Section("Learning curves", paragraphs(TEXT, picture, not_drawn(view.tasks)), {"learning_curves": figure})


def draw_row(ax: Axes, seeds: Curves, look: Look, variant: int, is_split: bool) -> None:
    """One thin line per seed, and what stands for all of them up to the step that all reached."""
    lines = [list(zip(seed.index, seed, strict=True)) for seed in seeds.values()]
    ax.add_collection(LineCollection(lines, colors=look.color, alpha=0.45, linewidths=0.8))
    shared = shared_steps(seeds)
    middle = shared.median(axis=1) if is_split else shared.mean(axis=1)
    line = LINE_STYLES[look.line(variant)]
    ax.plot(middle.index, middle, color=look.color, marker=look.marker, markersize=5, linestyle=line, linewidth=1.5,
            **mark_of(look, is_split, 0.4))  # fmt: skip


def shared_steps(seeds: Curves) -> pd.DataFrame:
    """One row per step at which every seed was evaluated, one column per seed."""
    return pd.concat(seeds, axis=1, join="inner").sort_index()


def task_curves(curves: pd.DataFrame, task: TaskGroups) -> dict[str, Curves]:
    """Validation scores of one task's finished runs: by row and seed, a series over steps, to each seed's own end."""
    if curves.empty:
        return {}
    of_metric = curves[curves["metric"] == f"valid/{task.metric}"].dropna(subset=["value"])
    shown = {run for group in drawn_rows(task.groups) for run in group.finished["run_id"]}
    of_metric = of_metric[of_metric["run_id"].isin(shown)].sort_values("step", kind="stable")
    by_run = {
        run: mean_of([pd.Series(part["value"].to_numpy(), index=part["step"].to_numpy())])
        for run, part in of_metric.groupby("run_id")
    }
    found: dict[str, Curves] = {}
    for group in drawn_rows(task.groups):
        runs = group.finished[["run_id", "seed"]].dropna()
        by_seed: dict[int, list[pd.Series]] = {}
        for run, seed in zip(runs["run_id"], runs["seed"], strict=True):
            if run in by_run:
                by_seed.setdefault(int(seed), []).append(by_run[run])
        if by_seed:
            found[group.label] = {seed: mean_of(by_seed[seed]).sort_index() for seed in sorted(by_seed)}
    return found


def mean_of(runs: list[pd.Series]) -> pd.Series:
    """The curve of a seed that may have run twice, or of a run that was evaluated twice: the mean at each step."""
    joined = pd.concat(runs) if len(runs) > 1 else runs[0]
    return joined if joined.index.is_unique else joined.groupby(level=0).mean()
