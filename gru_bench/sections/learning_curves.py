"""Learning curves: how fast did each cell learn?"""

import pandas as pd
import seaborn as sns

from gru_bench.report.figures import (
    DASHES,
    direction,
    handle,
    legend_below,
    looks,
    panels,
    set_log,
    style,
    wants_log,
)
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, heading, paragraphs
from gru_bench.report.view import View

TEXT = (
    "The primary metric on the validation data against optimizer steps. Line: mean over the seeds of the finished "
    "runs; band: smallest to largest. A line ends where the first of its seeds stopped. Equal steps are not equal "
    "time: what a step costs is listed under Cost."
)


def render(view: View, /, *, log_metrics: list[str], log_axis_from: float) -> Section:
    """Answer: how fast did each cell learn, in steps, and was it still learning at the end?

    Args:
        view: All runs.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
    """
    found = [(task, curve) for task in view.tasks if len(curve := task_curves(view.curves, task))]
    if not found:
        return Section("Learning curves", "")
    cell_looks = looks(view)
    names: dict[str, Group] = {}
    with style():
        figure, axes = panels(len(found), 2, 2.5)
        for ax, (task, curve) in zip(axes, found, strict=True):
            groups = [group for group in task.groups if group.label in set(curve["row"])]
            names |= {group.label: group for group in groups}
            sns.lineplot(
                curve,
                x="step",
                y="value",
                hue="row",
                style="row",
                hue_order=[group.label for group in groups],
                style_order=[group.label for group in groups],
                palette=[cell_looks[group.cell].color for group in groups],
                markers=[cell_looks[group.cell].marker for group in groups],
                dashes=[DASHES[cell_looks[group.cell].line(group.variant)] for group in groups],
                markersize=5,
                markeredgewidth=0.4,
                errorbar=("pi", 100),
                err_kws={"alpha": 0.18, "linewidth": 0},
                legend=False,
                ax=ax,
            )
            values = [float(value) for value in curve["value"]]
            if wants_log(task.metric, values, log_metrics, log_axis_from):
                set_log(ax, "y", values)
            ax.locator_params(axis="x", nbins=6)
            ax.set_title(heading(task.task, task.generated), loc="left")
            ax.set_xlabel("optimizer steps")
            ax.set_ylabel(f"{task.metric}\n({direction(task.higher_is_better, vertical=True)})".replace("\n()", ""))
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        legend_below(figure, handles, 5 if max(map(len, names)) <= 18 else 2)
    picture = "![Validation score against steps, for each task](figures/learning_curves.png)"
    return Section("Learning curves", paragraphs(TEXT, picture), {"learning_curves": figure})


def task_curves(curves: pd.DataFrame, task: TaskGroups) -> pd.DataFrame:
    """Validation scores of one task's finished runs: row, seed, step, value; only steps that all seeds reached."""
    parts = []
    for group in task.groups:
        runs = group.finished[["run_id", "seed"]].dropna()
        if curves.empty or runs.empty:
            continue
        mine = curves[curves["metric"] == f"valid/{task.metric}"].merge(runs, on="run_id").dropna(subset=["value"])
        if mine.empty:
            continue
        per_seed = mine.groupby(["step", "seed"], as_index=False)["value"].mean()
        reached = per_seed.groupby("step")["seed"].transform("nunique")
        parts.append(per_seed[reached == per_seed["seed"].nunique()].assign(row=group.label))
    columns = ["row", "seed", "step", "value"]
    joined = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return joined[columns].sort_values(["row", "step", "seed"], ignore_index=True)
