"""Faults: which planned runs gave no score, and why?"""

import pandas as pd

from gru_bench.report.markdown import UNKNOWN, Section, known, paragraphs, plural, table
from gru_bench.report.view import View

TITLE = "Failed, unsupported and missing runs"
MEANING = {
    "failed": "raised an error or diverged",
    "killed": "was stopped from outside",
    "unsupported": "the backend does not run this cell here",
    "running": "had not ended when the store was read",
    "missing": "was planned and left no run",
}


def render(view: View, /, *, longest_reason: int) -> Section:
    """Answer: which planned runs gave no score, and why?

    Args:
        view: All runs.
        longest_reason: Characters of a reason that are shown; the whole one is in results.csv.
    """
    runs = view.all_runs  # those of a search too: they fail for the same reasons
    bad = runs[runs["status"] != "finished"]
    if runs.empty:
        return Section(TITLE, "")
    if bad.empty:
        return Section(
            TITLE, f"All {plural(len(runs), 'planned run')} finished." if len(runs) > 1 else "The run finished."
        )
    order = {status: rank for rank, status in enumerate(MEANING)}
    bad = bad.sort_values("status", key=lambda column: column.map(lambda s: order.get(s, len(order))), kind="stable")
    rows = [fault_row(run, longest_reason) for _, run in bad.iterrows()]
    sentence = f"{len(bad)} of {plural(len(runs), 'planned run')} did not finish; they are in no mean above."
    columns = ["status", "task", "cell", "backend", "seed", "run", "reason"]
    return Section(TITLE, paragraphs(sentence, table(columns, rows, {"seed"})))


def fault_row(run: pd.Series, longest_reason: int) -> list[str]:
    """One run that gave no score."""
    names = [text(run[column]) for column in ("status", "task", "cell", "backend")]
    return [*names, seed(run["seed"]), text(run["run_id"])[:12], reason(run, longest_reason)]


def text(value: object) -> str:
    """A cell of the table."""
    return str(value) if known(value) else UNKNOWN


def seed(value: object) -> str:
    """A seed without decimals."""
    return f"{float(value):.0f}" if known(value) else UNKNOWN  # type: ignore[arg-type]


def reason(run: pd.Series, longest: int) -> str:
    """The recorded reason, cut where it is long, else what the status means."""
    if not known(run["error"]):
        return MEANING.get(str(run["status"]), UNKNOWN)
    line = " ".join(str(run["error"]).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
