"""The head of a report: which runs it is about, and the command that makes it again."""

import shlex

from gru_bench.report.groups import Group, distinct, family_rank
from gru_bench.report.markdown import paragraphs, plural, table
from gru_bench.report.view import View


def header(view: View, select: dict[str, str | None]) -> str:
    """What was asked and which runs answer it. No date: the same store gives the same bytes."""
    runs = view.runs
    experiments, sweeps = distinct(runs["experiment"]), distinct(runs["sweep"])
    names = ", ".join(map(str, experiments)) or str(select["experiment"])
    statuses = runs["status"].value_counts()
    counts = [f"{statuses[status]} {status}" for status in sorted(statuses.index, key=lambda s: (s != "finished", s))]
    question = f"# Report: {names}\n\nWhat do {listed(cells(view))} score on {listed(distinct(runs['task']))}?"
    seeds = len(distinct(runs["seed"]))
    rows = [
        ["runs", f"{plural(len(runs), 'run')}: {', '.join(counts)}; {plural(seeds, 'seed')}"],
        ["device", ", ".join(map(str, distinct(runs["device"]))) or "not known"],
        ["made by", f"`{command(select, [str(sweep) for sweep in sweeps], names)}`"],
    ]
    note = (
        "Commits, versions and ids are listed under Environment. Every number of a run is in `results.csv`, one per "
        "line. This file is generated: edit the code that wrote it instead."
    )
    return paragraphs(question, table(["what", "value"], rows), note)


def cells(view: View) -> list[str]:
    """The cells in the order of the tables."""
    return list(dict.fromkeys(group.cell for group in sorted(every_group(view), key=order)))


def every_group(view: View) -> list[Group]:
    """The rows of all tasks."""
    return [group for task in view.tasks for group in task.groups]


def order(group: Group) -> tuple[object, ...]:
    """Families in their order, the reference cell first."""
    return (family_rank(group.family), group.cell != group.family, group.cell)


def listed(names: list[str]) -> str:
    """``rnn, lstm and gru``; how many there are where they are many."""
    found = [str(name) for name in names]
    if not found:
        return "the runs"
    return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def command(select: dict[str, str | None], sweeps: list[str], names: str) -> str:
    """The command that selects the same runs from the same store, now and after further sweeps."""
    chosen = [f"{key}={value}" for key, value in select.items() if value]
    if not chosen:
        chosen = [f"sweep={sweeps[0]}"] if len(sweeps) == 1 else [f"experiment={names}"]
    return shlex.join(["gru-bench", "report", *chosen])
