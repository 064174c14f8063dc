"""Cost: what did each run take, on the machine that it ran on?"""

from dataclasses import replace

import pandas as pd

from gru_bench.report.groups import Group, distinct, truth
from gru_bench.report.markdown import UNKNOWN, Section, number, paragraphs, span, table
from gru_bench.report.view import View

TEXT = (
    "What the finished runs cost: median over the seeds, and smallest to largest in brackets. **These are not "
    "comparisons of cells, and their order is not a ranking.** A throughput seen during training depends on the kernel "
    "that ran, on the threads, and on what else the machine did: on a CPU, for one, the vendor's LSTM is one fused "
    "kernel and its GRU is not, so the faster row says more about the library than about the cell. Ratios of speed "
    "need runs that alternate in one process, which these did not."
)
SHARED = (
    "~: times and throughput of runs that shared the machine with other work, or for which that is not known, are "
    "given to one digit, smallest to largest. More digits would measure the other work: two identical cells have taken "
    "38 s and 106 s that way."
)


def render(view: View, /, *, columns: dict[str, str]) -> Section:
    """Answer: what did each run cost in time and memory, with which kernel?

    Args:
        view: All runs.
        columns: Header of each column by what it shows, as ``split/metric``.
    """
    rows = []
    rough = False
    for task in view.tasks:
        for group in (part for whole in task.groups for part in by_machine(whole)):
            columns_of = [view.seed_values(group, *reversed(name.split("/", 1))) for name in columns]
            if any(len(series) for series in columns_of):
                shared = set(map(truth, group.finished["shared"])) != {False}
                rough = rough or shared
                texts = [
                    order_of(series) if shared and name.startswith("speed/") else median_range(series)
                    for name, series in zip(columns, columns_of, strict=True)
                ]
                rows.append([task.task, group.label, *texts, *circumstances(group)])
    if not rows:
        return Section("Cost", "")
    headers = ["task", "cell", *columns.values(), "kernel", "threads", "shared machine"]
    costs = table(headers, rows, set(columns.values()) | {"threads"})
    return Section("Cost", paragraphs(TEXT, costs, SHARED if rough else ""))


def by_machine(group: Group) -> list[Group]:
    """The row, or one of each machine: times of two machines have no common median."""
    machines = distinct(group.finished["machine"])
    if len(machines) < 2:
        return [group]
    return [
        replace(group, label=f"{group.label}, machine {name}", runs=group.runs[group.runs["machine"] == name])
        for name in machines
    ]


def order_of(series: pd.Series) -> str:
    """``~100,000`` or ``~40 .. 100``: smallest to largest to one digit, of what was measured beside other work."""
    return UNKNOWN if series.empty else f"~{span(series.min(), series.max(), 1)}"


def median_range(series: pd.Series) -> str:
    """``12.3 (11.9 .. 13.0)``."""
    if series.empty:
        return UNKNOWN
    text = number(series.median())
    spread = span(series.min(), series.max())
    return text if spread == text else f"{text} ({spread})"


def circumstances(group: Group) -> list[str]:
    """Kernel, threads and whether the machine was shared; several values where the seeds differ."""
    runs = group.finished
    kernels = ", ".join(map(str, distinct(runs["kernel"]))) or UNKNOWN
    threads = ", ".join(f"{float(value):g}" for value in distinct(runs["threads"])) or UNKNOWN
    if "red" in set(runs["parity"]):
        kernels += " (disagrees with the reference: its speed is not reported)"
    shared = sorted({"yes" if flag else "no" for flag in map(truth, runs["shared"]) if flag is not None})
    return [kernels, threads, " and ".join(shared) or UNKNOWN]
