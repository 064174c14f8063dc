"""Learning rates: which one suits each cell on validation data?"""

import math
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from gru_bench.report.groups import Group, TaskGroups, value_text
from gru_bench.report.markdown import UNKNOWN, Section, known, metric_header, number, paragraphs, table
from gru_bench.report.view import SETTINGS, View

INTRODUCTION = (
    "Scores are those of the validation data at the best step, as means over the seeds; test data played no part. A "
    "rate at which a run failed has no score. Cells are compared at their own best rates only where each had the same "
    "ones to choose from."
)
RATE = "learning_rate"
SIZE = "hidden_size"
Settings = tuple[tuple[str, str], ...]
"""Names and values, as text, of what is known of a group besides its cell and its rate."""


@dataclass(frozen=True)
class Trials:
    """The rates that one cell was tried at, with all else equal.

    Attributes:
        label: The cell's name, and how these trials differ from others of the same cell.
        groups: The runs of each rate.
        means: The validation score of each rate; None where a run failed.
    """

    label: str
    cell: str
    settings: Settings
    groups: dict[float, Group]
    means: dict[float, float | None]

    @property
    def seeds(self) -> list[int]:
        return sorted({int(seed) for group in self.groups.values() for seed in group.runs["seed"] if known(seed)})

    def best(self, higher_is_better: bool | None) -> float | None:
        """The rate of the best mean; of equally good ones the smallest."""
        sign = -1 if higher_is_better is False else 1
        ended = [(sign * mean, -rate) for rate, mean in self.means.items() if mean is not None]
        return -max(ended)[1] if ended else None

    def tuning_key(self) -> str:
        """The digest of the settings, where all runs have the same."""
        keys = {group.fact("tuning_key") for group in self.groups.values()}
        return str(keys.pop()) if len(keys) == 1 and all(map(known, keys)) else ""


def render(view: View, /) -> Section:
    """Answer: which learning rate suits each cell on validation data?

    Args:
        view: All runs. Tasks on which every cell has one rate are left out.
    """
    parts = []
    for task in view.tasks:
        rows = trials_of(view, task)
        tried = {(row.cell, rate) for row in rows for rate in row.groups}
        if task.metric and max(Counter(cell for cell, _ in tried).values(), default=0) > 1:
            parts += [f"### {task.task}", *task_parts(task, rows)]
    return Section("Learning rates", paragraphs(INTRODUCTION, *parts) if parts else "")


def trials_of(view: View, task: TaskGroups) -> list[Trials]:
    """The trials of each cell. A cell that also differs in something other than its rate has several rows."""
    found: dict[tuple[str, Settings], list[tuple[float, Group]]] = {}
    for group in task.groups:
        if known(rate := group.fact(RATE)):
            found.setdefault((group.cell, settings_of(group)), []).append((float(rate), group))
    rows: list[tuple[str, Settings, list[tuple[float, Group]]]] = []
    for (cell, settings), tried in found.items():
        if len({rate for rate, _ in tried}) == len(tried):
            rows.append((cell, settings, tried))
        else:  # they differ in something that no setting shows, and nothing says which of them belong together
            rows += [(cell, (*settings, ("key", group.key[:6])), [(rate, group)]) for rate, group in tried]
    several = Counter(cell for cell, _, _ in rows)
    found_rows = []
    for cell, settings, tried in rows:
        others = [other for name, other, _ in rows if name == cell]
        label = cell if several[cell] == 1 else f"{cell} ({differences(settings, others)})"
        means = {rate: mean_score(view.seed_values(group, task.metric, "valid"), group) for rate, group in tried}
        found_rows.append(Trials(label, cell, settings, dict(tried), means))
    return found_rows


def settings_of(group: Group) -> Settings:
    """All that is known of a group's settings besides cell and rate, the size that was asked for among them."""
    columns = [column for column in SETTINGS if column != RATE]
    facts = [(column, value_text(column, value)) for column in columns if known(value := group.fact(column))]
    asked = group.fact("hidden_size_asked")
    size = asked if known(asked) else group.fact(SIZE)
    if known(size):
        facts.append((SIZE, value_text(SIZE, size)))
    if known(more := group.fact("settings")):
        facts.append(("other", str(more)))
    return tuple(facts)


def differences(settings: Settings, others: list[Settings]) -> str:
    """``hidden_size 64``: what sets these settings apart from the others."""
    apart = [(name, value) for name, value in settings if any((name, value) not in other for other in others)]
    return ", ".join(value if name == "other" else f"{name} {value}" for name, value in apart)


def task_parts(task: TaskGroups, rows: list[Trials]) -> list[str]:
    """The table of one task, what stands at an edge, and the lines for the task's yaml."""
    rates = sorted({rate for row in rows for rate in row.groups})
    columns = ["cell", *(f"{rate:g}" for rate in rates), "best rate", "seeds"]
    lines = []
    for row in rows:
        best = row.best(task.higher_is_better)
        shown = [number(row.means.get(rate), 4) for rate in rates]
        best_text = UNKNOWN if best is None else f"{best:g}"
        lines.append([row.label, *shown, best_text, ", ".join(map(str, row.seeds))])
    header = f"{metric_header(task.metric, task.unit, task.higher_is_better)} on validation data by learning rate:"
    return [header, table(columns, lines, set(columns[1:-1])), edges(task, rows), *for_yaml(task, rows)]


def mean_score(scores: pd.Series, group: Group) -> float | None:
    """The mean over seeds; None where any run of the group has no finite score, since the others would flatter."""
    if not len(scores) or group.num_unfinished or not all(map(math.isfinite, scores)):
        return None
    return float(scores.mean())


def edges(task: TaskGroups, rows: list[Trials]) -> str:
    """Which cells did best at the smallest or largest rate they had, so that the grid may be too narrow for them."""
    sentences = []
    for end, which in ((min, "smallest"), (max, "largest")):
        labels = [
            row.label for row in rows if len(row.groups) > 1 and row.best(task.higher_is_better) == end(row.groups)
        ]
        if labels:
            sentences.append(
                f"{', '.join(labels)}: best at the {which} rate tried, so another beyond it may be better."
            )
    return " ".join(sentences)


def for_yaml(task: TaskGroups, rows: list[Trials]) -> list[str]:
    """The node ``tuning`` for the task's yaml: one per setting, of the cells that have all rates tried there."""
    by_settings: dict[Settings, list[Trials]] = {}
    for row in rows:
        by_settings.setdefault(row.settings, []).append(row)
    blocks = []
    for settings, tried in by_settings.items():
        rates = sorted({rate for row in tried for rate in row.groups})
        whole = [row for row in tried if set(row.groups) == set(rates)]
        if len(rates) < 2 or not whole:
            continue
        apart = differences(settings, list(by_settings)) if len(by_settings) > 1 else ""
        where = ", ".join(value if name == "other" else f"{name} {value}" for name, value in settings)
        lines = yaml_lines(task, rates, whole, apart)
        blocks.append("\n".join([f"For the task's yaml, tried at {where}:", "", "```yaml", *lines, "```"]))
    return blocks


def yaml_lines(task: TaskGroups, rates: list[float], rows: list[Trials], apart: str) -> list[str]:
    """The lines of one node, and those of the rates that it chooses.

    Args:
        task: For the metric.
        rates: The grid.
        rows: The trials of each cell.
        apart: How these settings differ from others of the same sweep; empty where there are none.
    """
    seeds = sorted({seed for row in rows for seed in row.seeds})
    lines = [
        "tuning:",
        f"  metric: {task.metric}",
        f"  best: {'lowest' if task.higher_is_better is False else 'highest'}",
        f"  seeds: [{', '.join(map(str, seeds))}]",
        f"  at: {quoted(apart) if apart else 'null'}",
        f"  rates: [{', '.join(f'{rate:g}' for rate in rates)}]",
        "  scores:",
    ]
    for row in rows:
        scores = [row.means[rate] for rate in rates]
        lines.append(f"    {row.cell}: [{', '.join('null' if s is None else f'{s:.5g}' for s in scores)}]")
    # in quotes: a digest of digits alone would be read as a number
    keys = [f"{row.cell}: {quoted(key)}" for row in rows if (key := row.tuning_key())]
    if keys:
        lines.append(f"  settings: {{{', '.join(keys)}}}")
    best = {row.cell: row.best(task.higher_is_better) for row in rows}
    chosen = ", ".join(f"{cell}: {rate:g}" for cell, rate in best.items() if rate is not None)
    return [*lines, "trainer:", f"  learning_rate: {{{chosen}}}"]


def quoted(text: str) -> str:
    """Text as yaml takes it whatever it holds."""
    return "'" + text.replace("'", "''") + "'"
