"""Matched views: what if GRU and LSTM are equal in hidden size, in parameters, in state, in FLOPs, or in seconds?"""

from collections.abc import Sequence

from gru_bench.compare.compared import BUDGETS, Compared, by_budget, primary
from gru_bench.compare.speed import CARD, found_in
from gru_bench.report.groups import distinct
from gru_bench.report.markdown import Section, paragraphs, table
from gru_bench.report.timings import card, situation_text
from gru_bench.report.view import View
from gru_bench.sections.choose import NOT_MEASURED, at_budget
from gru_bench.sections.robustness import equal_seconds

TITLE = "Matched views"
EQUAL = BUDGETS | {"flops": "equal FLOPs of a step"}
SECONDS = "equal seconds of training"
TEXT = (
    "One comparison, GRU against LSTM, with one thing held equal at a time. Scores: the answers of the verdict, a "
    "family of tests at each budget. Speeds: paired timings of the two at the sizes that the budget gives them, each "
    "on its fastest timed backend where several were timed."
)


def render(view: View, /) -> Section:
    """Answer: is the answer the same at equal hidden size, parameters, state, FLOPs and seconds?

    Args:
        view: All runs and timings.
    """
    every = primary(view)
    scores = by_budget(every)
    rows = [[EQUAL[name], score(scores.get(name, [])), *speeds(view, name)] for name in EQUAL]
    seconds = equal_seconds(view, next(iter(scores.values()))) if scores else NOT_MEASURED
    measured = [row for row in rows if set(row[1:]) != {NOT_MEASURED}]
    if not measured or (len(measured) == 1 and not view.timings and seconds.startswith("not known")):
        return Section(TITLE, "")
    rows.append([SECONDS, seconds, *("does not apply" for _ in CARD)])
    columns = ["held equal", "score", *map(situation_text, CARD)]
    return Section(TITLE, paragraphs(TEXT, table(columns, rows), missing(view, rows)))


def score(found: Sequence[Compared]) -> str:
    """How often each answer was given at one budget."""
    return at_budget(found[0].pair.budget, found)[1] if found else NOT_MEASURED


def speeds(view: View, budget: str) -> list[str]:
    """What paired timings at one budget found, in each situation."""
    texts = []
    for situation in CARD:
        views = found_in(view, situation, budget)
        texts.append(card(next(iter(views.values()))) if views else NOT_MEASURED)
    return texts


def missing(view: View, rows: list[list[str]]) -> str:
    """What fills the rows that are not measured."""
    absent = [name for name, row in zip(EQUAL, rows, strict=False) if NOT_MEASURED in row[1:]]
    if not absent:
        return ""
    names = [str(name) for name in distinct(view.all_runs["experiment"])]
    asked = f" experiment={names[0]}" if len(names) == 1 else ""
    return (
        f"Scores at another budget come from `gru-bench train{asked} budget=NAME`, speeds from "
        f"`gru-bench time{asked} budget=NAME`; not measured yet: {', '.join(absent)}."
    )
