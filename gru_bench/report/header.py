"""The head of a report: which runs it is about, and the command that makes it again."""

import shlex

import pandas as pd

from gru_bench.report.groups import distinct, truth
from gru_bench.report.markdown import known, plural, table
from gru_bench.report.view import View


def header(view: View, select: dict[str, str | None]) -> str:
    """What the report is about. No date: the same store gives the same bytes."""
    runs = view.runs
    experiments, sweeps = distinct(runs["experiment"]), distinct(runs["sweep"])
    names = ", ".join(map(str, experiments)) or str(select["experiment"])
    statuses = runs["status"].value_counts()
    counts = [f"{statuses[status]} {status}" for status in sorted(statuses.index, key=lambda s: (s != "finished", s))]
    torch = runs["env_torch"] if "env_torch" in runs else pd.Series(dtype=str)
    rows = [
        ["experiment", names],
        ["sweep", ", ".join(map(str, sweeps)) or "none: single runs"],
        ["runs", f"{plural(len(runs), 'run')}: {', '.join(counts)}"],
        ["git commit", commits(runs)],
        ["device", ", ".join(map(str, distinct(runs["device"]))) or "not known"],
        ["torch", ", ".join(map(str, distinct(torch))) or "not known"],
        ["made by", f"`{command(select, [str(sweep) for sweep in sweeps], names)}`"],
    ]
    note = (
        "Every number of a run is in `results.csv`, a line a value. Generated; edit the code that wrote it, not this."
    )
    return f"# Report: {names}\n\n{table(['what', 'value'], rows)}\n\n{note}"


def commits(runs: pd.DataFrame) -> str:
    """The commits that runs were started from, each with whether the files differed from it."""
    found = {(str(c)[:12], truth(d)) for c, d in zip(runs["git_commit"], runs["dirty"], strict=True) if known(c)}
    texts = [c + (" with uncommitted changes" if dirty else "") for c, dirty in sorted(found, key=str)]
    return ", ".join(texts) or "not known"


def command(select: dict[str, str | None], sweeps: list[str], names: str) -> str:
    """The command that selects the same runs from the same store, now and after further sweeps."""
    chosen = [f"{key}={value}" for key, value in select.items() if value]
    if not chosen:
        chosen = [f"sweep={sweeps[0]}"] if len(sweeps) == 1 else [f"experiment={names}"]
    return shlex.join(["gru-bench", "report", *chosen])
