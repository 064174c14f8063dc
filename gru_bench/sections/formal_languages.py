"""Formal languages: which share of a cell's seeds generalises beyond the lengths of training?"""

from collections.abc import Mapping, Sequence

import pandas as pd

from gru_bench.compare.languages import Generalised, generalised
from gru_bench.report.groups import TaskGroups
from gru_bench.report.markdown import Section, heading, number, paragraphs, table
from gru_bench.report.view import View

TITLE = "Formal languages"
TEXT = (
    "A seed generalises where its score is at or past the task's ceiling at every tested level beyond training; it has "
    "learned the task where it is there at the hardest level of training. Counts of seeds with Wilson's interval of "
    "95 %, and how many learned; a run that diverged counts as neither."
)
LARGEST = (
    "The largest n up to which a seed has mastered every n: the right symbols above all others (exact), or each symbol "
    "of an accepted string at least as likely as a threshold (Weiss et al. 2018); near misses are rejected under both. "
    "The median over the seeds with the range, and every seed in ascending order."
)


def render(view: View, /, *, languages: list[str], slices: list[str], largest: Mapping[str, str]) -> Section:
    """Answer: which share of a cell's seeds generalises on each formal language, and how far does it count?

    Args:
        view: All runs.
        languages: Tasks, in the order of the columns.
        slices: Names of slices that are levels of difficulty.
        largest: Metrics that are the largest n of a seed, with what the table calls them.
    """
    tasks = sorted((task for task in view.tasks if task.task in languages), key=lambda task: languages.index(task.task))
    found = {task.task: rows for task in tasks if (rows := generalised(view, task, slices))}
    if not found:
        return Section(TITLE, "")
    parts = [TEXT, share_table(found), "\n".join(f"- {tested(task, rows)}" for task, rows in found.items())]
    counted = [text for task in tasks if (text := largest_table(view, task, found.get(task.task, []), largest))]
    if counted:
        parts += ["### Counting: the largest n", LARGEST, *counted]
    return Section(TITLE, paragraphs(*parts))


def share_table(found: Mapping[str, Sequence[Generalised]]) -> str:
    """A row a cell, a column a language."""
    named = {(task, one.name): one for task, rows in found.items() for one in rows}
    names = list(dict.fromkeys(one.name for rows in found.values() for one in rows))
    most = max(found.values(), key=len)
    order = {one.name: place for place, one in enumerate(most)}
    names.sort(key=lambda name: order.get(name, len(order)))
    rows = [
        [name, *(share_text(named[task, name]) if (task, name) in named else "not run" for task in found)]
        for name in names
    ]
    return table(["cell", *found], rows)


def share_text(one: Generalised) -> str:
    """``3 of 10 (11 to 60 %), learned 9``."""
    ends = one.interval
    learned = sum(one.learned.values())
    return f"{one.num_solved} of {one.num} ({100 * ends.low:.0f} to {100 * ends.high:.0f} %), learned {learned}"


def tested(task: str, rows: Sequence[Generalised]) -> str:
    """``parity: trained to 40, tested at 100, 500``."""
    ranges = dict.fromkeys((int(one.group.fact("trained_to")), tuple(one.levels)) for one in rows)
    texts = [f"trained to {to}, tested at {', '.join(levels)}" for to, levels in ranges]
    return f"{task}: {'; '.join(texts)}."


def largest_table(view: View, task: TaskGroups, rows: Sequence[Generalised], largest: Mapping[str, str]) -> str:
    """The largest n of each seed of a counting task, under each rule; nothing for another task."""
    scores = {
        (one.name, metric): values
        for one in rows
        for metric in largest
        if len(values := view.seed_values(one.group, metric))
    }
    if not scores:
        return ""
    lines = []
    for one in rows:
        texts = [largest_text(scores.get((one.name, metric))) for metric in largest]
        lines.append([one.name, *(text for pair in texts for text in pair)])
    columns = ["cell", *(f"{name}{what}" for name in largest.values() for what in (": median (range)", ": each seed"))]
    return f"{heading(task.task, task.generated)}\n\n{table(columns, lines)}"


def largest_text(values: pd.Series | None) -> tuple[str, str]:
    """Median and range, and every seed."""
    if values is None:
        return number(None), ""
    each = sorted(float(value) for value in values)
    return (
        f"{number(values.median())} ({each[0]:.0f} .. {each[-1]:.0f})",
        ", ".join(f"{value:.0f}" for value in each),
    )
