"""Which rows of a task are compared: those that agree in every setting but cell, learning rate and hidden size.

Each cell has its own learning rate, and a budget may change the hidden size; anything else that differs would be
compared too. Seeds are paired: two cells with one seed saw the same training data in the same order.
"""

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from gru_bench.report.groups import Group, TaskGroups, value_text
from gru_bench.report.groups import shown as shown
from gru_bench.report.markdown import known
from gru_bench.report.view import View
from gru_bench.store.schema import SETTINGS

ALIKE = (*(name for name in SETTINGS if name != "learning_rate"), "hidden_size_asked")
"""Facts in which both rows of a pair agree. The size asked for is one of them; the budget makes the size trained."""
OF_A_CELL = re.compile(r"(?:^|, )cell\.[^=]*=[^,]*")
"""Settings that only one cell has, such as its forget bias: no reason not to compare."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two rows of one task that may be compared; a positive difference says that ``first`` is better.

    Attributes:
        where: What sets the pair apart from others of the same cells on the task, such as ``budget hidden``; empty
            where it is the only one.
        settings: What both agree in, by name.
        notes: What had to be chosen among several rows, in sentences.
    """

    task: TaskGroups
    first: Group
    second: Group
    where: str
    settings: Mapping[str, Hashable] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task, and what sets the pair apart."""
        return f"{self.task.task}, {self.where}" if self.where else self.task.task

    @property
    def cells(self) -> tuple[str, str]:
        """Names of both cells."""
        return self.first.cell, self.second.cell

    @property
    def budget(self) -> str:
        """What was held equal: ``hidden``, ``parameters``, ``state``; empty where it is not known."""
        return str(self.settings.get("budget") or "")

    @property
    def backend(self) -> str:
        """Which backend ran both."""
        return str(self.settings.get("backend") or "")

    @property
    def key(self) -> tuple[str, ...]:
        """The pair's own key among all of a report."""
        return self.task.task, self.task.metric, self.first.key, self.second.key, *self.cells


@dataclass(frozen=True)
class Unpaired:
    """Two cells that both ran on a task without any rows that may be compared, and why not."""

    task: str
    cells: tuple[str, str]
    why: str


def pairs(view: View, first: str, second: str) -> list[Pair]:
    """All pairs of two cells, task by task."""
    return [pair for task in view.tasks for pair in of_task(view, task, first, second)]


def unpaired(view: View, first: str, second: str) -> list[Unpaired]:
    """The tasks on which both cells finished, but under settings that never agree."""
    found = []
    for task in view.tasks:
        firsts, seconds = (rows_of(task, cell) for cell in (first, second))
        if not firsts or not seconds or of_task(view, task, first, second):
            continue
        differ = min(
            ([name for name in settings if settings[name] != other[name]] for a in firsts for b in seconds
             if (settings := alike(a)) and (other := alike(b))),
            key=len,
        )  # fmt: skip
        names = ["data" if name == "data_fingerprint" else name for name in differ]
        found.append(Unpaired(task.task, (first, second), f"not paired: they differ in {', '.join(names)}"))
    return found


def rows_of(task: TaskGroups, cell: str) -> list[Group]:
    """The rows of one cell in which a run finished."""
    return [group for group in task.groups if group.cell == cell and len(group.finished)]


def alike(group: Group) -> dict[str, Hashable]:
    """What both rows of a pair agree in, by name."""
    facts = {name: value if known(value := group.fact(name)) else None for name in ALIKE}
    return facts | {"other settings": OF_A_CELL.sub("", str(group.fact("settings") or "")).strip(", ")}


def of_task(view: View, task: TaskGroups, first: str, second: str) -> list[Pair]:
    """The pairs of two cells on one task, in the order of the first one's rows."""
    return list(
        view.remember(("pairs", task.task, task.metric, first, second), lambda: match(view, task, first, second))
    )


def match(view: View, task: TaskGroups, first: str, second: str) -> list[Pair]:
    """Rows by what they must agree in, one of each cell: where there are several rates, the best on validation data."""
    by_settings: dict[tuple[Hashable, ...], tuple[list[Group], list[Group]]] = {}
    for side, cell in enumerate((first, second)):
        for group in rows_of(task, cell):
            by_settings.setdefault(tuple(alike(group).values()), ([], []))[side].append(group)
    matched = {settings: both for settings, both in by_settings.items() if both[0] and both[1]}
    names = [*ALIKE, "other settings"]
    varied = [i for i, _ in enumerate(names) if len({settings[i] for settings in matched}) > 1]
    found = []
    for settings, (firsts, seconds) in matched.items():
        where = ", ".join(described(names[i], settings[i]) for i in varied if settings[i] not in (None, ""))
        (one, note), (other, more) = (best_row(view, task, rows) for rows in (firsts, seconds))
        chosen = tuple(filter(None, (note, more)))
        found.append(Pair(task, one, other, where, dict(zip(names, settings, strict=True)), chosen))
    return found


def described(name: str, value: Hashable) -> str:
    """``budget hidden``; other settings name themselves."""
    if name == "other settings":
        return str(value)
    label = {"data_fingerprint": "data", "hidden_size_asked": "hidden size"}.get(name, name)
    return f"{label} {value_text(name, value)}"


def best_row(view: View, task: TaskGroups, rows: list[Group]) -> tuple[Group, str]:
    """Of several rows the one with the most seeds, and then with the best validation score; and a note of the choice.

    Never by the test score, which would flatter the cell with more rows.
    """
    if len(rows) == 1:
        return rows[0], ""

    def worth(group: Group) -> tuple[int, float]:
        scores = view.seed_values(group, task.metric, "valid")
        mean = float(scores.mean()) * (1 if task.higher_is_better else -1) if len(scores) else -math.inf
        return len(view.seed_values(group, task.metric)), mean

    chosen = max(rows, key=worth)
    most = [group for group in rows if worth(group)[0] == worth(chosen)[0]]
    why = "the one with most seeds" if len(most) == 1 else "the best on validation data"
    return chosen, f"of {len(rows)} rows of {chosen.cell} {why}"
