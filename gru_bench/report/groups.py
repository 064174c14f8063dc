"""Which runs may be averaged, in which order their rows stand, and what each row is called.

Only seeds are averaged. Runs of one ``group_key`` differ in nothing else; one cell with several keys on one task is
several rows, and the row's label names what differs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from gru_bench.report.markdown import known
from gru_bench.store.read import FAMILIES

VENDOR = "vendor"
DEVICES = {"cpu": "CPU", "cuda": "CUDA device"}
LONGEST_LABEL = 44
MOST_DRAWN = 24
"""Most rows of one task that a figure shows: more can be told apart neither by colour nor by name."""
GUESSES_DIFFER = "Runs of this table recorded different trivial guesses: its definition changed between versions."
GOALS = ("margin", "beats_trivial_by", "ceiling")
GOALS_DIFFER = "Runs of this table have different goals; the strictest is used."

Measured = dict[tuple[str, str, str, str], dict[str, float]]
"""Value of each run by split, metric, slice and slice_value."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed: one row of a table.

    Attributes:
        label: The cell's name, and what sets this row apart where the cell has several.
        variant: Position among the rows of the same cell on the same task.
        runs: All of them, whatever their status, by seed.
    """

    task: str
    family: str
    cell: str
    key: str
    label: str
    variant: int
    runs: pd.DataFrame

    @cached_property
    def finished(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] == "finished"]

    @cached_property
    def seeds(self) -> list[tuple[str, Any]]:
        """Run id and seed of the finished runs."""
        return list(zip(self.finished["run_id"].tolist(), self.finished["seed"].tolist(), strict=True))

    @property
    def num_unfinished(self) -> int:
        return len(self.runs) - len(self.finished)

    def fact(self, column: str) -> Any:
        """The value that these runs share, as far as it is known; None where it is not."""
        return first_known(self.runs[column])


@dataclass(frozen=True)
class TaskGroups:
    """One task, and the rows of its tables.

    Attributes:
        margin: The smallest of its runs, where they differ; like the next two, since the goal is in no run's key.
        beats_trivial_by: The largest of its runs.
        ceiling: The one that is hardest to reach.
        trivial: What a guess that looks at no input scores, each with its label; one unless the rows differ in data,
            or the runs recorded different values on the same data.
        remarks: On what the runs of the table do not agree, in sentences.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool | None
    generated: bool | None
    margin: float | None
    beats_trivial_by: float | None
    ceiling: float | None
    trivial: list[tuple[str, float]]
    groups: list[Group]
    remarks: list[str]

    @property
    def trivial_value(self) -> float | None:
        """The trivial score, where the task has one only."""
        return self.trivial[0][1] if len(self.trivial) == 1 else None


def drawn_rows(groups: Sequence[Group]) -> list[Group]:
    """The rows that a figure shows: all, or where they are too many the first few settings of each cell."""
    each = max(1, MOST_DRAWN // max(1, len({group.cell for group in groups})))
    return [group for group in groups if len(groups) <= MOST_DRAWN or group.variant < each]


def not_drawn(tasks: Sequence[TaskGroups]) -> str:
    """A sentence on the rows that the figures leave out, or nothing."""
    rows = sum(len(task.groups) for task in tasks)
    shown = sum(len(drawn_rows(task.groups)) for task in tasks)
    if shown == rows:
        return ""
    return f"The figure shows {shown} of {rows} rows, the first settings of each cell; the tables have them all."


def is_known(column: pd.Series) -> pd.Series:
    """Which values are there: a mask, whatever the column's type, even if it is empty."""
    return pd.Series([known(value) for value in column], index=column.index, dtype=bool)


def where(facts: Any) -> str:
    """``CPU of machine `ab12` ``, for a run as for a benchmark; ``cuda:0`` and ``cuda`` are one device."""
    kind = device_kind(facts["device"]) or "device that is not known"
    machine = f" of machine `{facts['machine']}`" if known(facts["machine"]) else ""
    return f"{DEVICES.get(kind, kind)}{machine}"


def device_kind(device: Any) -> str | None:
    """``cuda`` of ``cuda:0``; None where it is not known."""
    return str(device).split(":")[0] if known(device) else None


def first_known(column: pd.Series) -> Any:
    """The first value that is there, or None."""
    return next((value for value in column if known(value)), None)


def distinct(column: pd.Series) -> list[Any]:
    """The different values that are there, sorted."""
    return sorted({value for value in column if known(value)}, key=lambda value: (str(type(value)), value))


def truth(value: Any) -> bool | None:
    """A flag of a frame, whose column may hold text or nothing."""
    if not known(value):
        return None
    return value.strip().lower() in ("true", "1") if isinstance(value, str) else bool(value)


def by_task(runs: pd.DataFrame, measured: Measured, settings: Sequence[str]) -> list[TaskGroups]:
    """Tasks by name, each with its rows: families in their order, the reference cell first.

    Args:
        runs: The runs of a view, with every column.
        measured: Their values.
        settings: Columns that label rows of one cell where they differ.
    """
    runs = runs[is_known(runs["task"]) & is_known(runs["cell"])]
    tasks = []
    for task in distinct(runs["task"]):
        of_task = runs[runs["task"] == task]
        for position, metric in enumerate(distinct(of_task["primary_metric"]) or [None]):
            belongs = of_task["primary_metric"] == metric
            if position == 0:  # a run that ended before its metric was known stands with the task's first one
                belongs |= ~is_known(of_task["primary_metric"])
            tasks.append(task_groups(str(task), metric, of_task[belongs], measured, settings))
    return tasks


def task_groups(
    task: str, metric: str | None, runs: pd.DataFrame, measured: Measured, settings: Sequence[str]
) -> TaskGroups:
    """One task's rows and its trivial guess."""

    def fact(column: str) -> Any:
        return first_known(runs[column])

    by_run = measured.get(("test", f"trivial_{metric}", "", ""), {})
    guesses: dict[str, list[float]] = {}
    for run_id, data in zip(runs["run_id"], runs["data_fingerprint"], strict=True):
        if run_id in by_run:
            guesses.setdefault(str(data) if known(data) else "", []).append(by_run[run_id])
    remarks = [GUESSES_DIFFER] if any(len(counted(found)) > 1 for found in guesses.values()) else []
    ordered = [
        group
        for cell in distinct(runs["cell"])
        for group in cell_groups(task, cell, runs[runs["cell"] == cell], settings)
    ]
    ordered.sort(key=lambda group: (family_rank(group.family), group.cell != group.family, group.cell, group.variant))
    higher_is_better = truth(fact("primary_higher_is_better"))
    goals = {column: [float(value) for value in distinct(runs[column])] for column in GOALS}
    if any(len(values) > 1 for values in goals.values()):
        remarks.append(GOALS_DIFFER)
    return TaskGroups(
        task,
        str(metric or ""),
        str(fact("primary_unit") or ""),
        higher_is_better,
        truth(fact("generated")),
        min(goals["margin"], default=None),
        max(goals["beats_trivial_by"], default=None),
        (max if higher_is_better else min)(goals["ceiling"], default=None),
        trivial_guesses(guesses),
        ordered,
        remarks,
    )


def trivial_guesses(guesses: dict[str, list[float]]) -> list[tuple[str, float]]:
    """Every value of the trivial guess, with a label that tells it from the others.

    Args:
        guesses: By fingerprint of the data, what each run recorded.
    """
    if len(values := counted([value for found in guesses.values() for value in found])) == 1:
        return [("trivial guess", next(iter(values)))]
    labelled = []
    for data, found in sorted(guesses.items()):
        where = [f"data {data[:6] or 'unknown'}"] if len(guesses) > 1 else []
        values = counted(found)
        for value, runs in values.items():
            share = [f"as {runs} of {len(found)} runs recorded it"] if len(values) > 1 else []
            labelled.append((f"trivial guess ({', '.join(where + share)})", value))
    return labelled


def counted(values: list[float]) -> dict[float, int]:
    """How often each value was recorded, the smallest first; values that differ in rounding alone are one."""
    counts: dict[float, int] = {}
    for value in sorted(values):
        same = next((other for other in counts if math.isclose(other, value, rel_tol=1e-9, abs_tol=1e-12)), value)
        counts[same] = counts.get(same, 0) + 1
    return counts


def shown(cell: str) -> str:
    """A cell's name in a sentence: families in capitals."""
    return cell.upper() if cell in FAMILIES else cell


def family_rank(family: str) -> tuple[int, str]:
    """Where a family stands: the three known ones in their order, then others by name."""
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family)


def cell_groups(task: str, cell: str, runs: pd.DataFrame, settings: Sequence[str]) -> list[Group]:
    """The rows of one cell on one task."""
    runs = runs.assign(group_key=[key if known(key) else "" for key in runs["group_key"]])
    keys = distinct(runs["group_key"])
    # a job that left no run has no key: it belongs to the one row that its plan fits, else to a row of its own
    for index in runs.index[runs["group_key"] == ""]:
        fits = [key for key in keys if agrees(runs.loc[index], runs[runs["group_key"] == key])]
        if len(fits) == 1:
            runs.loc[index, "group_key"] = fits[0]
    parts = {str(key): part for key, part in runs.groupby("group_key", sort=True)}
    family = first_known(runs["family"]) or next((f for f in FAMILIES if cell.split("_")[0] == f), "")
    named = labels(cell, parts, settings)
    order = sorted(named, key=lambda key: (named[key], key))
    return [Group(task, str(family), cell, key, named[key], i, parts[key]) for i, key in enumerate(order)]


def agrees(run: pd.Series, group: pd.DataFrame) -> bool:
    """Whether a run's known settings are those of a group."""
    for column in ("backend", "budget"):
        shared = first_known(group[column])
        if known(run[column]) and known(shared) and run[column] != shared:
            return False
    return True


NOT_SET = ("data_fingerprint",)
"""Settings that follow from what a user set: last in a label."""


def labels(cell: str, parts: dict[str, pd.DataFrame], settings: Sequence[str]) -> dict[str, str]:
    """A name for each group of one cell: what differs among known columns, else in the config, else the key."""
    if len(parts) == 1:
        return dict.fromkeys(parts, cell)
    shared = {c: [first_known(part[c]) for part in parts.values()] for c in settings}
    columns = [c for c, found in shared.items() if len({str(value) for value in found if known(value)}) > 1]
    follows = [c for c in columns if c in NOT_SET]
    columns = [c for c in columns if c not in NOT_SET]
    texts = {key: settings_text(part, columns) for key, part in parts.items()}
    sized = {key: settings_text(part, [*columns, "hidden_size"]) for key, part in parts.items()}
    if len(set(sized.values())) > len(set(texts.values())):  # a column of its own; named where nothing else differs
        texts = sized
    texts = {
        key: ", ".join(filter(None, [text, first_known(parts[key]["settings"]), settings_text(parts[key], follows)]))
        for key, text in texts.items()
    }
    before = list(texts.values())
    for key, text in texts.items():
        if not text or before.count(text) > 1:
            texts[key] = ", ".join(filter(None, [text, f"key {key[:6]}" if key else "settings unknown"]))
    return {key: f"{cell} ({shortened(text, key)})" for key, text in texts.items()}


def shortened(text: str, key: str) -> str:
    """A label's text cut to what a figure has room for; the whole is in ``results.csv`` under ``settings``."""
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 9]}… {key[:6]}"


def settings_text(part: pd.DataFrame, columns: list[str]) -> str:
    """``backend loop, learning_rate 0.01``: what is known of some settings."""
    facts = {column: first_known(part[column]) for column in columns}
    return ", ".join(f"{column} {value_text(column, value)}" for column, value in facts.items() if known(value))


def value_text(column: str, value: Any) -> str:
    """A setting, short enough for a label."""
    if column == "data_fingerprint":
        return str(value)[:6]
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
