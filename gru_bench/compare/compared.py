"""The comparisons that a report makes, each with its verdict, and the one sentence that sums them up.

Primary: the GRU against the LSTM on each task, at each budget. Secondary: every other cell against the GRU, the plain
RNN against the LSTM, and the primary pair on other backends. Each is a family of its own, over which Holm adjusts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gru_bench.compare.evidence import Evidence, Tables, gather, taken_apart
from gru_bench.compare.pairs import Pair, pairs, shown
from gru_bench.report.groups import distinct, family_rank
from gru_bench.report.markdown import plural
from gru_bench.report.view import View
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.verdict import Verdict, decide
from gru_bench.store.schema import FAMILIES

FIRST, SECOND = "gru", "lstm"
ALPHA = 0.05
BUDGETS = {
    "hidden": "equal hidden size",
    "parameters": "equal number of parameters",
    "state": "equal size of state",
    "flops": "equal arithmetic a token",
}
"""What each budget holds equal, in words; also their order."""
MOST_TABLES = 3000
"""Runs of the secondary comparisons whose test examples are read; of more, the noise of seeds alone is known."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compared(Evidence):
    """Two rows of a task, what they show, and the verdict."""

    verdict: Verdict

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.pair.task.task

    @property
    def answer(self) -> str:
        """``GRU``, ``LSTM`` (another cell by its name), ``equivalent`` or ``undecided``."""
        cells = {"first": shown(self.pair.first.cell), "second": shown(self.pair.second.cell)}
        return cells.get(self.verdict.answer, self.verdict.answer)

    def in_margins(self, value: float) -> float:
        """A difference in units of the margin; not a number where none is known."""
        return value / self.margin if self.margin else math.nan


def primary(view: View) -> list[Compared]:
    """GRU against LSTM, task by task and budget by budget; Holm over these.

    Raises:
        UserError: A metric without direction, or margins that differ.
    """
    return list(_families(view)[0])


def secondary(view: View) -> list[Compared]:
    """The other comparisons of the report; Holm over these."""
    return list(_families(view)[1])


def _families(view: View) -> tuple[list[Compared], list[Compared]]:
    found: tuple[list[Compared], list[Compared]] = view.remember("compared", lambda: families(view))
    return found


def families(view: View) -> tuple[list[Compared], list[Compared]]:
    """Primary and secondary comparisons, each run's examples read once, no more than a task's at a time."""
    main, backends = headline(pairs(view, FIRST, SECOND))
    rest = [pair for first, second in other_cells(view) for pair in headline(pairs(view, first, second))[0]]
    rest += backends
    few = sum(len(group.finished) for pair in rest for group in (pair.first, pair.second)) <= MOST_TABLES
    kept: tuple[list[Evidence], list[Evidence]] = ([], [])
    for task in view.tasks:
        tables: dict[tuple[str, str], Tables] = {}
        for family, chosen, read in ((kept[0], main, True), (kept[1], rest, few)):
            for pair in chosen:
                if pair.task is not task:
                    continue
                for group in (pair.first, pair.second):
                    if read and (group.cell, group.key) not in tables:
                        tables[group.cell, group.key] = taken_apart(view, task.metric, group)
                both = [tables.get((group.cell, group.key), {}) for group in (pair.first, pair.second)]
                family.append(gather(view, pair, {**both[0], **both[1]}))
    return decided(kept[0]), decided(kept[1])


def decided(family: Sequence[Evidence]) -> list[Compared]:
    """Evidence with its verdicts: one family, over which Holm adjusts."""
    numbered = dict(enumerate(family))
    verdicts = decide(
        {i: evidence.estimate for i, evidence in numbered.items()},
        {i: evidence.margin for i, evidence in numbered.items()},
        alpha=ALPHA,
        looks={i: evidence.looks for i, evidence in numbered.items()},
    )
    fields = list(Evidence.__dataclass_fields__)
    return [
        Compared(**{name: getattr(evidence, name) for name in fields}, verdict=verdicts[i])
        for i, evidence in numbered.items()
    ]


def headline(found: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The pairs on one backend, and those that repeat them on another: the one with most tasks, then most seeds."""
    tasks = {backend: {pair.task.task for pair in found if pair.backend == backend} for backend in backends_of(found)}
    runs = Counter[str]()
    for pair in found:
        runs[pair.backend] += min(len(pair.first.finished), len(pair.second.finished))
    order = sorted(tasks, key=lambda backend: (-len(tasks[backend]), -runs[backend], backend))
    main: dict[tuple[object, ...], Pair] = {}
    repeated = []
    for pair in sorted(found, key=lambda pair: order.index(pair.backend)):
        rest = (pair.task.task, pair.task.metric, *(v for name, v in pair.settings.items() if name != "backend"))
        if rest in main:
            repeated.append(pair)
        else:
            main[rest] = pair
    chosen = set(map(id, main.values()))
    return [pair for pair in found if id(pair) in chosen], repeated


def backends_of(found: Sequence[Pair]) -> list[str]:
    """All backends of some pairs."""
    return sorted({pair.backend for pair in found})


def other_cells(view: View) -> list[tuple[str, str]]:
    """Pairs of cells for the secondary comparisons: others against the GRU, or the first of the families there is."""
    runs = view.runs
    named = dict(zip(runs["cell"], runs["family"], strict=True))
    cells = sorted(
        distinct(runs.loc[runs["status"] == "finished", "cell"]),
        key=lambda cell: (
            -family_rank(named[cell] or "")[0] if named[cell] in FAMILIES else 1,
            cell != named[cell],
            cell,
        ),
    )
    reference = FIRST if FIRST in cells else next(iter(cells), "")
    found = [(reference, cell) for cell in cells if cell != reference and (reference, cell) != (FIRST, SECOND)]
    return found + ([(SECOND, "rnn")] if reference == FIRST and {SECOND, "rnn"} <= set(cells) else [])


def by_budget(found: Sequence[Compared]) -> dict[str, list[Compared]]:
    """Comparisons by budget, in the order of :data:`BUDGETS`."""
    names = sorted({one.pair.budget for one in found}, key=lambda name: ([*BUDGETS, name].index(name), name))
    return {name: [one for one in found if one.pair.budget == name] for name in names}


def sentence(view: View) -> str:
    """``On 6 tasks at equal hidden size: GRU on 2, equivalent on 3, undecided on 1.``, for each budget."""
    found = primary(view)
    if not found:
        return without_pair(view)
    return " ".join(counted(of_budget) for of_budget in by_budget(found).values())


def counted(found: Sequence[Compared]) -> str:
    """How often each answer was given, among comparisons at one budget; of a single one, which."""
    tasks = len({one.task for one in found})
    several = (
        f"In {len(found)} comparisons on {plural(tasks, 'task')}"
        if len(found) > tasks
        else f"On {found[0].task if len(found) == 1 else plural(tasks, 'task')}"
    )
    budget = found[0].pair.budget
    at = f" at {BUDGETS.get(budget, f'budget {budget}')}" if budget else ""
    first, second = (shown(cell) for cell in found[0].pair.cells)
    counts = Counter(one.answer for one in found)
    texts = [
        answer if len(found) == 1 else f"{answer} {'in' if len(found) > tasks else 'on'} {counts[answer]}"
        for answer in (first, second, "equivalent", "undecided")
        if counts[answer]
    ]
    few = [one for one in found if len(one.seeds) < MIN_SEEDS]
    why = (
        [f"{'' if len(few) == len(found) else f'{len(few)} of them with '}fewer than {MIN_SEEDS} seeds"] if few else []
    )
    weak = sorted({mark for one in found for mark in one.marks})
    weakened = f" ({'; '.join([*why, *weak])})" if why or weak else ""
    return f"{several}{at}: {', '.join(texts)}{weakened}."


def without_pair(view: View) -> str:
    """What was compared where no GRU meets an LSTM."""
    found = secondary(view)
    cells = list(dict.fromkeys(one.pair.cells for one in found))
    if not cells:
        there = distinct(view.runs.loc[view.runs["status"] == "finished", "cell"])
        if not there:
            return "Nothing finished, so nothing is compared."
        why = f"only {shown(there[0])} finished" if len(there) == 1 else f"no settings of {', '.join(there)} agree"
        return f"GRU and LSTM are not compared: {why}."
    texts = [counted_cells([one for one in found if one.pair.cells == both]) for both in cells]
    return f"GRU and LSTM are not compared here. {' '.join(texts)}"


def counted_cells(found: Sequence[Compared]) -> str:
    """The same with the names of both cells in front."""
    text = counted(found)
    return f"{shown(found[0].pair.first.cell)} against {shown(found[0].pair.second.cell)}: {text[0].lower()}{text[1:]}"
