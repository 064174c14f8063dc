"""Variance: is the choice of the cell larger than the noise?"""

import math

import numpy as np

from gru_bench.compare.compared import Compared, primary, secondary
from gru_bench.compare.evidence import level_of
from gru_bench.report.groups import TaskGroups
from gru_bench.report.markdown import Section, known, paragraphs, table
from gru_bench.report.view import View
from gru_bench.statistics.crossed import Estimate
from gru_bench.statistics.variance import EXAMPLES, split

FACTORS = ("cell", "size", "learning rate", "seed")
COLUMNS = (*FACTORS, EXAMPLES, "rest")
TEXT = (
    "Shares of the variance of the runs' test scores, of all cells. What a seed moves for all cells alike stands "
    "under seed, and what it moves for one cell alone under rest. Where each cell has one size and one learning "
    "rate of its own, they cannot be told from the cell. Test examples: how much the difference of two cells would "
    "vary with other examples, halved for one run. Only where the cell's share is larger than those of seed, test "
    "examples and rest together is the choice of the cell larger than the noise of one run (Reimers and Gurevych "
    "2017)."
)


def render(view: View, /) -> Section:
    """Answer: how much of the scores' variance is due to the cell, and how much is noise?

    Args:
        view: All runs.
    """
    found = [*primary(view), *secondary(view)]
    rows = []
    for task in view.tasks:
        if shares := task_shares(view, task, [one for one in found if one.pair.task is task]):
            if not any(shares.values()):  # every score is the same
                rows.append([task.task, *([""] * len(COLUMNS)), "no score differs"])
                continue
            noise = sum(share for name, share in shares.items() if name not in FACTORS[:3])
            larger = "yes" if shares["cell"] > noise else "no"
            rows.append([task.task, *(percent(shares.get(name)) for name in COLUMNS), larger])
    columns = ["task", *COLUMNS, "cell larger than noise"]
    return Section("Variance", paragraphs(TEXT, table(columns, rows, set(COLUMNS))) if rows else "")


def percent(share: float | None) -> str:
    """``12 %``; nothing where a factor has one level only, or is not known."""
    return "" if share is None else f"{100 * share:.0f} %"


def task_shares(view: View, task: TaskGroups, found: list[Compared]) -> dict[str, float]:
    """Shares by factor; empty where fewer than two cells have two seeds each."""
    scores: list[float] = []
    levels: dict[str, list[str]] = {name: [] for name in FACTORS}
    cells = set()
    for group in task.groups:
        values = view.seed_values(group, task.metric)
        values = values[np.isfinite(values)]
        if len(values) < 2:
            continue
        cells.add(group.cell)
        scores += [float(score) for score in values]
        facts = {"cell": group.cell, "size": group.fact("hidden_size"), "learning rate": group.fact("learning_rate")}
        for name, fact in facts.items():
            levels[name] += [str(fact) if known(fact) else ""] * len(values)
        levels["seed"] += [str(seed) for seed in values.index]
    if len(cells) < 2:
        return {}
    values_M = np.array(scores)
    if level_of(task.metric, values_M, values_M) is not None:
        values_M = np.log(values_M)
    varied = {
        name: column
        for name, column in levels.items()
        if len(set(column)) > 1 and (name == "cell" or not nested(levels, name))
    }
    return split(values_M, varied, example_variance(found, task.metric))


def nested(levels: dict[str, list[str]], name: str) -> bool:
    """Whether each cell has one level of a factor only."""
    if name == "seed":
        return False
    by_cell: dict[str, set[str]] = {}
    for cell, level in zip(levels["cell"], levels[name], strict=True):
        by_cell.setdefault(cell, set()).add(level)
    return all(len(found) == 1 for found in by_cell.values())


def example_variance(found: list[Compared], metric: str) -> float | None:
    """Of one run's score, over other test examples: half of that of a difference; None where it is not known."""
    variances = []
    for one in found:
        if isinstance(one.estimate, Estimate) and math.isfinite(one.estimate.example_se) and one.num_examples:
            level = level_of(metric, *one.scores) or 1.0  # differences of logarithms are shown times the level
            variances.append((one.estimate.example_se / level) ** 2 / 2)
    return float(np.mean(variances)) if variances else None
