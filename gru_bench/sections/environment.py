"""Environment: where and with what did the runs happen, and which run stands behind which number?"""

from typing import Any

import pandas as pd

from gru_bench.report.groups import distinct, truth
from gru_bench.report.markdown import UNKNOWN, Section, known, paragraphs, table
from gru_bench.report.timings import Timing
from gru_bench.report.view import View

FACTS = {"machine": "machine (hash of CPU and GPU model)", "device": "device", "dtype": "dtype", "threads": "threads"}
PREFIX = "env_"


def render(view: View, /, *, same: list[str], most_values: int) -> Section:
    """Answer: where and with what did the runs happen, was it the same for all, and which run is which row?

    Args:
        view: All runs.
        same: Columns that should hold one value; more than one is a warning.
        most_values: How many different values of one fact are listed.
    """
    runs = view.all_runs
    ran = runs[runs["status"] != "missing"]
    if ran.empty:
        return Section("Environment", timed(view.timings, most_values) if runs.empty else "")
    facts = dict(FACTS) | {
        c: c.removeprefix(PREFIX).replace("_", " ") for c in sorted(map(str, runs)) if c.startswith(PREFIX)
    }
    rows = [["sweep", listed([str(sweep) for sweep in distinct(runs["sweep"])], most_values)]]
    rows += [["git commit", listed([commit(value) for value in distinct(ran["git_commit"])], most_values)]]
    rows += [["uncommitted changes", listed(flags(ran["dirty"]), most_values)]]
    rows += [["shared with other work", listed(flags(ran["shared"]), most_values)]]
    rows += [[name, listed([plain(v) for v in distinct(ran[c])], most_values)] for c, name in facts.items()]
    rows = [row for row in rows if row[1] != UNKNOWN]
    warnings = [warning(ran, column, facts.get(column, column.replace("_", " "))) for column in same if column in ran]
    if True in set(map(truth, ran["dirty"])):
        warnings.append("- Warning: some runs started from uncommitted changes; their commit is not the code that ran.")
    return Section(
        "Environment",
        paragraphs(
            "\n".join(filter(None, warnings)),
            table(["what", "value"], rows),
            "### Which runs stand behind each row",
            "The first characters of each run's id; whole ids, with every value, are in `results.csv`.",
            run_table(view),
        ),
    )


def timed(timings: list[Timing], most_values: int) -> str:
    """Where and with what the timings were made, in a report that has no runs."""
    if not timings:
        return ""
    rows = pd.DataFrame([one.row for one in timings])
    texts = {"git commit": [commit(value) for value in distinct(rows["git_commit"])]}
    texts["uncommitted changes"] = flags(rows["dirty"])
    texts |= {
        name: [plain(value) for value in distinct(rows[column])]
        for column, name in (FACTS | {"torch": "torch", "instrument": "set by the instrument"}).items()
    }
    lines = [[name, listed(values, most_values)] for name, values in texts.items() if values]
    warnings = "- Warning: some timings are of uncommitted changes; their commit is not the code that ran."
    return paragraphs(warnings if "yes" in texts["uncommitted changes"] else "", table(["what", "value"], lines))


def commit(value: Any) -> str:
    """A commit, short."""
    return str(value)[:12]


def plain(value: Any) -> str:
    """A value without a decimal point where it needs none."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def flags(column: pd.Series) -> list[str]:
    """Which of yes and no occur."""
    return sorted({"yes" if flag else "no" for flag in map(truth, column) if flag is not None})


def listed(values: list[str], most: int) -> str:
    """All values, or the first few and how many more there are."""
    values = list(dict.fromkeys(values))
    rest = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + rest if values else UNKNOWN


def warning(runs: pd.DataFrame, column: str, name: str) -> str:
    """A line where runs that stand side by side differ in what should be one."""
    found = len(distinct(runs[column]))
    return (
        f"- Warning: {found} different values of {name}; differences between rows may come from that."
        if found > 1
        else ""
    )


def run_table(view: View) -> str:
    """For each row of the summary, its finished runs by seed; those of a search are in no row."""
    tasks = view.tasks
    finished = [str(run) for task in tasks for group in task.groups for run in group.finished["run_id"]]
    length = next((n for n in range(8, 64) if len({run[:n] for run in finished}) == len(set(finished))), 64)
    rows = []
    for task in tasks:
        for group in task.groups:
            ids = [
                f"{seed:.0f}: `{str(run)[:length]}`" if known(seed) else f"`{str(run)[:length]}`"
                for run, seed in zip(group.finished["run_id"], group.finished["seed"], strict=True)
            ]
            if ids:
                rows.append([task.task, group.label, ", ".join(ids)])
    if not rows:
        return "No run finished." if view.searched.empty else "All runs are of a search, and in no row of the summary."
    return table(["task", "row", "seed: run"], rows)
