"""The tuning ledger: how many trials does each cell's score rest on, and would fewer have changed the answer?"""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from gru_bench.compare.compared import FIRST, SECOND
from gru_bench.compare.pairs import ALIKE, shown
from gru_bench.report.figures import direction, handle, legend_below, looks, panels, set_log, style, wants_log
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, heading, known, metric_header, number, paragraphs, plural, span, table
from gru_bench.report.view import View
from gru_bench.statistics.tuning import Expected, expected, expected_difference

TEXT = (
    "A trial is one choice of learning rate (and of what else was drawn with it), judged on validation data alone, as "
    "the mean over its seeds; a trial that failed counts as the worst one of the task. Shown is the expected "
    "best score of k trials (Dodge et al. 2019), with a 95 % interval over trials; near the last k it is "
    "biased towards less."
)


@dataclass(frozen=True)
class Ledger:
    """The trials of one cell: validation scores, and how many of them failed."""

    group: Group
    scores: list[float]
    num_failed: int


def render(view: View, /, *, fewest_trials: int, seed: int, log_metrics: list[str], log_axis_from: float) -> Section:
    """Answer: how many trials did each cell get, and does the answer hold along the way?

    Args:
        view: All runs. Tasks without trials are left out.
        fewest_trials: Learning rates of one cell, all else equal, from which its runs are trials.
        seed: Of the resampling.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
    """
    ledgers = [(task, found) for task in view.tasks if (found := ledger(view, task, fewest_trials))]
    if not ledgers:
        return Section("Tuning ledger", "")
    curves = [{row.group.cell: curve(task, row, np.random.default_rng(seed)) for row in rows} for task, rows in ledgers]
    parts = [TEXT, "![Expected best validation score by number of trials](figures/tuning_ledger.png)"]
    for (task, rows), of_task in zip(ledgers, curves, strict=True):
        parts += [f"### {heading(task.task, task.generated)}", trials_table(task, rows, of_task)]
        parts += ["\n".join(f"- {line}" for line in [answers(task, rows, seed), fairness(rows)] if line)]
    return Section(
        "Tuning ledger", paragraphs(*parts), {"tuning_ledger": draw(view, ledgers, curves, log_metrics, log_axis_from)}
    )


def ledger(view: View, task: TaskGroups, fewest: int) -> list[Ledger]:
    """The trials of each cell on one task, where it has so many; of several settings the one with most trials."""
    by_settings: dict[str, dict[tuple[Hashable, ...], list[Group]]] = {}
    for group in task.groups:
        if known(group.fact("learning_rate")):
            settings = tuple(str(group.fact(name)) for name in ALIKE)
            by_settings.setdefault(group.cell, {}).setdefault(settings, []).append(group)
    chosen = [max(found.values(), key=len) for found in by_settings.values()]
    chosen = [groups for groups in chosen if len({group.fact("learning_rate") for group in groups}) >= fewest]
    means = {
        group.key: float(scores.mean())
        for groups in chosen
        for group in groups
        if len(scores := view.seed_values(group, task.metric, "valid"))
        and not group.num_unfinished
        and all(map(math.isfinite, scores))
    }
    if not means or task.higher_is_better is None:
        return []
    worst = (min if task.higher_is_better else max)(means.values())
    return [
        Ledger(
            groups[0],
            [means.get(group.key, worst) for group in groups],
            sum(group.key not in means for group in groups),
        )
        for groups in chosen
    ]


def oriented(task: TaskGroups, scores: Sequence[float]) -> np.ndarray:
    """Scores of which the higher one is better."""
    return np.array(scores) * (1 if task.higher_is_better else -1)


def curve(task: TaskGroups, row: Ledger, rng: np.random.Generator) -> Expected:
    """The expected best score by trials, in the metric's own direction; ``low`` is the worse end."""
    found = expected(oriented(task, row.scores), rng)
    return Expected(*(oriented(task, list(part)) for part in (found.value, found.low, found.high)))


def trials_table(task: TaskGroups, rows: list[Ledger], curves: dict[str, Expected]) -> str:
    """One row a cell: trials, and the expected best after some numbers of them."""
    most = max(len(row.scores) for row in rows)
    shown_k = sorted({k for k in (1, 2, 4, 8, 16, 32, 64) if k <= most} | {most})
    columns = ["cell", "trials", "failed", *(f"best of {k}" for k in shown_k)]
    lines = []
    for row in rows:
        found = curves[row.group.cell]
        texts = [
            f"{number(found.value[k - 1])} ({span(*sorted((found.low[k - 1], found.high[k - 1])))})"
            if k <= len(row.scores)
            else number(None)
            for k in shown_k
        ]
        lines.append([row.group.cell, str(len(row.scores)), str(row.num_failed), *texts])
    header = f"{metric_header(task.metric, task.unit, task.higher_is_better)} on validation data:"
    return paragraphs(header, table(columns, lines, set(columns[1:])))


def answers(task: TaskGroups, rows: list[Ledger], seed: int) -> str:
    """From how many trials on GRU and LSTM differ, and whether the answer flips along the curve."""
    by_cell = {row.group.cell: row for row in rows}
    if not {FIRST, SECOND} <= by_cell.keys():
        return ""
    first, second = (oriented(task, by_cell[cell].scores) for cell in (FIRST, SECOND))
    found = expected_difference(first, second, np.random.default_rng(seed))
    names = [answer_at(found, k, task.margin) for k in range(len(found.value))]
    spans, start = [], 1
    for name, group in itertools.groupby(names):
        end = start + len(list(group)) - 1
        spans.append(f"{name} at {plural(start, 'trial') if start == end else f'{start} to {end} trials'}")
        start = end + 1
    winners = {name for name in names if name in (shown(FIRST), shown(SECOND))}
    flips = "The answer flips along the curve." if len(winners) > 1 else "The answer does not flip along the curve."
    return f"{shown(FIRST)} against {shown(SECOND)} by validation score: {', '.join(spans)}. {flips}"


def answer_at(found: Expected, k: int, margin: float | None) -> str:
    """``GRU``, ``LSTM``, ``equivalent`` (the interval within the margin) or ``undecided``, of one number of trials."""
    low, high = float(found.low[k]), float(found.high[k])
    if margin is not None and -margin < low and high < margin:
        return "equivalent"
    if low > 0 or high < 0:
        return shown(FIRST if low > 0 else SECOND)
    return "undecided"


def fairness(rows: list[Ledger]) -> str:
    """Which cells had fewer trials than others."""
    counts = {len(row.scores) for row in rows}
    if len(counts) == 1:
        return f"Each cell had {plural(counts.pop(), 'trial')}."
    texts = ", ".join(f"{row.group.cell} {len(row.scores)}" for row in rows)
    return f"The cells had different numbers of trials ({texts}): compare them at equal k, not at their ends."


def draw(
    view: View,
    ledgers: list[tuple[TaskGroups, list[Ledger]]],
    curves: list[dict[str, Expected]],
    log_metrics: list[str],
    log_axis_from: float,
) -> Figure:
    """One panel a task, one line a cell."""
    cell_looks = looks(view)
    names: dict[str, Group] = {}
    with style():
        figure, axes = panels(len(ledgers), 2, 2.7)
        for ax, (task, rows), of_task in zip(axes, ledgers, curves, strict=True):
            for row in rows:
                found, look = of_task[row.group.cell], cell_looks[row.group.cell]
                names[row.group.cell] = row.group
                trials = np.arange(1, len(row.scores) + 1)
                ax.fill_between(trials, found.low, found.high, color=look.color, alpha=0.15, linewidth=0)
                ax.plot(trials, found.value, color=look.color, marker=look.marker, markersize=4, linewidth=1.4)
            drawn = [float(x) for found in of_task.values() for part in (found.low, found.high) for x in part]
            if wants_log(task.metric, drawn, log_metrics, log_axis_from):
                set_log(ax, "y", drawn)
            ax.set_title(heading(task.task, task.generated), loc="left")
            ax.locator_params(axis="x", integer=True, nbins=8)
            ax.set_xlabel("trials")
            ax.set_ylabel(f"expected best {task.metric}\n({direction(task.higher_is_better, vertical=True)})")
        legend_below(figure, [handle(cell_looks[cell], 0, cell) for cell in names])
    return figure
