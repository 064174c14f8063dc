"""The last step of ``gru-bench answer``: what the report says, in three lines, and what to do next."""

import shlex
from typing import TYPE_CHECKING

from gru_bench.answer.lines import best_runs, first_of_all, is_open, three_lines
from gru_bench.answer.record import Record
from gru_bench.report.given import given
from gru_bench.report.markdown import number
from gru_bench.report.view import View
from gru_bench.store.read import read

if TYPE_CHECKING:
    from gru_bench.commands.answer_plan import Question

FAILED = ("failed", "killed", "unsupported")


def tell(question: "Question", missing: list[str], by_hand: str) -> bool:
    """Print the answer.

    Args:
        question: That was asked.
        missing: What it lacks, a line each.
        by_hand: The command that adds seeds.

    Returns:
        Whether a run failed.
    """
    view = View(given(read(question.uri, experiment=question.record.name)))
    status = view.all_runs["status"]
    print()
    if text := first_of_all(view):
        print(f"First of all: {text}")
    for text in three_lines(view):
        print(text)
    print()
    failed = int(status.isin(FAILED).sum())
    if failed:
        missing = [*missing, f"{failed} run{'s' if failed > 1 else ''} failed; the report says why"]
    if left := int((status == "missing").sum()):
        missing = [*missing, f"{left} planned run{'s were' if left > 1 else ' was'} not begun, for want of time"]
    for text in [*missing, *at_an_edge(question.record)]:
        print(f"missing: {text}")
    for cell, run, score in best_runs(view):
        print(f"best {cell} by validation ({question.metric.name} {number(score)}): {use(question, run)}")
    if is_open(view) or left:
        print(f"to go on: the same command, or {by_hand}", flush=True)
    return bool(failed)


def use(question: "Question", run: str) -> str:
    """How to use a run's model."""
    if not question.reads:
        return f"run {run}"
    return shlex.join(["gru-bench", "predict", f"run={run}", "data.path=NEW_FILE", *question.asked.tracking])


def at_an_edge(record: Record) -> list[str]:
    """That a cell did best at the smallest or the largest rate that was tried, and worse at the one beside it."""
    found = []
    for cell, one in record.chosen.items():
        for end, beside, which in ((0, 1, "smaller"), (-1, -2, "larger")):
            if one.rate == record.rates[end] and one.scores[end] != one.scores[beside]:
                found.append(
                    f"{cell} did best at the learning rate {one.rate:g}, at the edge of what was tried: a {which} one "
                    "may be better still"
                )
    return found
