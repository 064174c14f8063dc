"""Learning rates: which one suits each cell on validation data?"""

import math
from collections import defaultdict

import pandas as pd

from gru_bench.report.groups import Group, TaskGroups, settings_text
from gru_bench.report.markdown import UNKNOWN, Section, known, metric_header, number, paragraphs, table
from gru_bench.report.view import SETTINGS, View

INTRODUCTION = (
    "Scores are those of the validation data at the best step, as means over the seeds; the test data had no say. "
    "A rate at which a run failed has no score. Cells are compared at their own best rates only where each had the "
    "same ones to choose from."
)
Row = dict[float, Group]


def render(view: View, /) -> Section:
    """Answer: which learning rate suits each cell on validation data?

    Args:
        view: All runs. Tasks on which every cell has one rate are left out.
    """
    parts = []
    for task in view.tasks:
        rows = by_rate(task)
        if task.metric and any(len(row) > 1 for row in rows.values()):
            parts += [f"### {task.task}", *task_parts(task, rows, view)]
    return Section("Learning rates", paragraphs(INTRODUCTION, *parts) if parts else "")


def by_rate(task: TaskGroups) -> dict[str, Row]:
    """The groups of each cell by their rate. A cell that also differs otherwise has several rows, named by that."""
    rest = [column for column in SETTINGS if column != "learning_rate"]
    found: defaultdict[tuple[str, str], Row] = defaultdict(dict)
    for group in task.groups:
        rate = group.fact("learning_rate")
        if known(rate):
            told = ", ".join(filter(None, [settings_text(group.runs, rest), group.fact("settings")]))
            found[group.cell, told][float(rate)] = group
    cells = [cell for cell, _ in found]
    return {cell if cells.count(cell) == 1 else f"{cell} ({told})": row for (cell, told), row in found.items()}


def task_parts(task: TaskGroups, rows: dict[str, Row], view: View) -> list[str]:
    """The table of one task, what stands at an edge, and the lines for the task's yaml."""
    rates = sorted({rate for row in rows.values() for rate in row})
    means = {
        label: {rate: mean_score(view.seed_values(group, task.metric, "valid"), group) for rate, group in row.items()}
        for label, row in rows.items()
    }
    best = {label: best_rate(found, task.higher_is_better) for label, found in means.items()}
    columns = ["cell", *(f"{rate:g}" for rate in rates), "best rate", "seeds"]
    lines = []
    for label, found in means.items():
        seeds = sorted({int(seed) for group in rows[label].values() for seed in group.runs["seed"] if known(seed)})
        rate = best[label]
        shown = [number(found.get(r), 4) for r in rates]
        lines.append([label, *shown, UNKNOWN if rate is None else f"{rate:g}", ", ".join(map(str, seeds))])
    header = f"{metric_header(task.metric, task.unit, task.higher_is_better)} on validation data by learning rate:"
    return [header, table(columns, lines, set(columns[1:-1])), edges(rates, best), for_yaml(task, rates, rows, means)]


def mean_score(scores: pd.Series, group: Group) -> float | None:
    """The mean over seeds; None where any run of the group has no finite score, since the others would flatter."""
    if not len(scores) or group.num_unfinished or not all(map(math.isfinite, scores)):
        return None
    return float(scores.mean())


def best_rate(means: dict[float, float | None], higher_is_better: bool | None) -> float | None:
    """The rate of the best mean; of equally good ones the smallest."""
    sign = -1 if higher_is_better is False else 1
    ended = [(sign * mean, -rate) for rate, mean in means.items() if mean is not None]
    return -max(ended)[1] if ended else None


def edges(rates: list[float], best: dict[str, float | None]) -> str:
    """Which cells did best at the smallest or largest rate, so that the grid may be too narrow for them."""
    told = []
    for rate, end in ((rates[0], "smallest"), (rates[-1], "largest")):
        labels = [label for label, chosen in best.items() if chosen == rate]
        if labels:
            told.append(f"{', '.join(labels)}: best at the {end} rate tried, so another beyond it may be better.")
    return " ".join(told)


def for_yaml(
    task: TaskGroups, rates: list[float], rows: dict[str, Row], means: dict[str, dict[float, float | None]]
) -> str:
    """The node ``tuning`` for the task's yaml, where each family's reference cell has one row and all rates."""
    references = {
        group.family: label for label, row in rows.items() for group in row.values() if group.cell == group.family
    }
    whole = {
        family: label for family, label in references.items() if label == family and set(rows[label]) == set(rates)
    }
    if not whole or len(rates) < 2:
        return ""
    seeds = sorted(
        {int(s) for label in whole.values() for g in rows[label].values() for s in g.runs["seed"] if known(s)}
    )
    best = {family: best_rate(means[label], task.higher_is_better) for family, label in whole.items()}
    lines = [
        "tuning:",
        f"  metric: {task.metric}",
        f"  best: {'lowest' if task.higher_is_better is False else 'highest'}",
        f"  seeds: [{', '.join(map(str, seeds))}]",
        "  at: null",
        f"  rates: [{', '.join(f'{rate:g}' for rate in rates)}]",
        "  scores:",
    ]
    for family, label in whole.items():
        scores = [means[label][rate] for rate in rates]
        lines.append(f"    {family}: [{', '.join('null' if score is None else f'{score:.5g}' for score in scores)}]")
    chosen = ", ".join(f"{family}: {rate:g}" for family, rate in best.items() if rate is not None)
    lines += ["trainer:", f"  learning_rate: {{{chosen}}}"]
    return "\n".join(["For the task's yaml:", "", "```yaml", *lines, "```"])
