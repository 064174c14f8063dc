"""The last step of ``gru-bench answer``: what the report says, in three lines, and what to do next."""

from typing import TYPE_CHECKING

from gru_bench.answer.lines import best_runs, three_lines
from gru_bench.report.given import given
from gru_bench.report.markdown import number
from gru_bench.report.view import View
from gru_bench.store.read import read

if TYPE_CHECKING:
    from gru_bench.commands.answer_plan import Question


def tell(question: "Question", missing: list[str], by_hand: str) -> None:
    """Print the answer.

    Args:
        question: That was asked.
        missing: What it lacks, a line each.
        by_hand: The command that adds seeds.
    """
    view = View(given(read(question.uri, experiment=question.record.name)))
    print()
    for text in three_lines(view):
        print(text)
    for text in missing:
        print(f"missing: {text}")
    for cell, run, score in best_runs(view):
        print(f"best {cell} by validation ({question.metric.name} {number(score)}): run {run}")
    print(f"more seeds: the same command, or {by_hand}", flush=True)
