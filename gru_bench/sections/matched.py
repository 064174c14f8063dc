"""Matched views: what if GRU and LSTM are equal in hidden size, in parameters, in state, in FLOPs, or in seconds?"""

from collections.abc import Sequence

from gru_bench.compare.compared import BUDGETS, Compared, by_budget, primary
from gru_bench.compare.speed import CARD, found_in
from gru_bench.report.groups import distinct
from gru_bench.report.markdown import Section, paragraphs, table
from gru_bench.report.timings import RANGES, card, situation_text
from gru_bench.report.view import View
from gru_bench.sections.choose import NOT_MEASURED, at_budget
from gru_bench.sections.robustness import equal_seconds

TITLE = "Matched views"
SECONDS = "equal seconds of training"
TEXT = (
    "One comparison, GRU against LSTM, with one thing held equal at a time. Scores: the answers of the verdict, a "
    "family of tests at each budget. Speeds: paired timings of the two at the sizes that the budget gives them, each "
    f"on its fastest timed backend where several were timed; {RANGES}."
)


def render(view: View, /) -> Section:
    """Answer: is the answer the same at equal hidden size, parameters, state, FLOPs and seconds?

    Args:
        view: All runs and timings.
    """
    every = primary(view)
    scores = by_budget(every)
    rows = [[BUDGETS[name], score(scores.get(name, [])), *speeds(view, name)] for name in BUDGETS]
    seconds = equal_seconds(view, next(iter(scores.values()))) if scores else NOT_MEASURED
    absent = [row[0] for row in rows if set(row[1:]) == {NOT_MEASURED}]
    known = len(BUDGETS) - len(absent) + (not seconds.startswith(("not known", NOT_MEASURED)))
    if known < 2:
        return Section(TITLE, "")
    rows.append([SECONDS, seconds, *("does not apply" for _ in CARD)])
    columns = ["held equal", "score", *map(situation_text, CARD)]
    if view.all_runs.empty:
        columns, rows = [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows[:-1]]
    return Section(TITLE, paragraphs(TEXT, table(columns, rows), missing(view, absent)))


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


def missing(view: View, absent: list[str]) -> str:
    """What fills the rows of which nothing is measured."""
    if not absent:
        return ""
    names = [str(name) for name in distinct(view.all_runs["experiment"])]
    asked = f" experiment={names[0]}" if len(names) == 1 else ""
    of_models = f"`gru-bench time{asked}` then speeds of those models, and " if asked else ""
    of_layers = "of layers alone" if asked else "speeds"
    return (
        f"Nothing is measured at {', '.join(absent)}: `gru-bench train{asked} budget=NAME` gives scores there, "
        f"{of_models}`gru-bench time budget=NAME` {of_layers}."
    )
