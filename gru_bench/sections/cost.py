"""Cost: what do training and inference take, which cell is faster by how much, and what does a better score cost?"""

from dataclasses import replace

import pandas as pd

from gru_bench.report.groups import Group, distinct, truth
from gru_bench.report.markdown import UNKNOWN, Section, number, paragraphs, plural, span, table
from gru_bench.report.pareto import candidates, draw, points_table
from gru_bench.report.timing_tables import place_tables
from gru_bench.report.timings import LETTERS, Timing, by_place, situation_text
from gru_bench.report.view import View

TITLE = "Cost"
RATIOS = (
    "Two arms took turns in one fresh process, round by round; a ratio is the median over the rounds with its interval "
    "of 95 % (block bootstrap), and the floor is what the first arm against its own twin shows, measured in the same "
    "way. A gap that does not lie beyond the floor with its whole interval is inside the noise. A ratio holds for "
    f"these kernels on this machine. {LETTERS}. Every number: [timings.csv](timings.csv)."
)
SEEN = (
    "What the finished training runs saw: median over the seeds, smallest to largest in brackets. **These are no "
    "comparisons of cells, and their order is not a ranking**: the runs did not take turns, and a throughput depends "
    "on the kernel, on the threads and on what else the machine did."
)
SHARED = (
    "~: of runs that shared the machine with other work, or for which that is not known; one digit, smallest to "
    "largest. More digits would measure the other work: two identical cells have taken 38 s and 106 s that way."
)
FRONT = (
    "Score against cost, one mark a row of the summary; of a cell that was timed on several backends the fastest. The "
    "line joins the rows that no other beats in both (the Pareto front): a step leads from one measured point to the "
    "next. Scores are means over seeds: whether two of them differ is for the verdict to say."
)


def render(view: View, /, *, columns: dict[str, str], most_rows: int = 24) -> Section:
    """Answer: which cell is faster in which situation, what does a call take, and what did the training runs see?

    Args:
        view: All runs and timings.
        columns: Header of each column of what the runs saw, by ``split/metric``.
        most_rows: Rows of layers in a table of timings; whole models of tasks are shown all.
    """
    parts = [RATIOS] if view.timings else []
    for found in by_place(view.timings).values():
        parts.append(place_tables(found, most_rows))
    parts += [unlike(view), repeated(view), failed(view)]
    figures = {}
    drawn = candidates(view)
    if drawn:
        figures["pareto"] = draw(view, drawn)
        parts += ["### Score against cost", FRONT, "![Score against training step, parameters and latency, by task]"
                  "(figures/pareto.png)", points_table(drawn)]  # fmt: skip
    parts.append(seen(view, columns))
    return Section(TITLE, paragraphs(*parts), figures)


def unlike(view: View) -> str:
    """In what the timings differ from the runs of the report, in a line."""
    if not view.timings:
        return ""
    runs = view.all_runs[view.all_runs["status"] == "finished"]
    lines = []
    for name, column in {"machine": "machine", "threads": "threads", "dtype": "dtype", "torch": "env_torch"}.items():
        used = {f"{value}" for value in distinct(runs[column])} if column in runs else set()
        timed = {f"{one.row[name]}" for one in view.timings}
        if used and not used & timed:
            lines.append(f"{name} {', '.join(sorted(timed))} here, {', '.join(sorted(used))} there")
    return f"Different from this report's runs: {'; '.join(lines)}." if lines else ""


def repeated(view: View) -> str:
    """How far pairs that were timed again differ from the time before."""
    latest = {(one.point, one.arms_key): one for one in view.timings}
    again = [(before, latest[before.point, before.arms_key]) for before in view.timed_before]
    if not again:
        return ""
    factors = [max(a.ratio / b.ratio, b.ratio / a.ratio) for a, b in again]
    turned = sum({a.finding, b.finding} == {"first", "second"} for a, b in again)
    return (
        f"{plural(len(again), 'pair')} had been timed before with the same versions; the latest count. Their ratios "
        f"differ by a factor of at most {number(max(factors))} (median {number(pd.Series(factors).median())}), and "
        f"{turned or 'none'} turned from one faster cell to the other."
    )


def failed(view: View) -> str:
    """The pairs that could not be timed, with the reason."""
    if not view.not_timed:
        return ""
    reasons: dict[tuple[str, str], int] = {}
    for row in view.not_timed:
        one = Timing(row)
        arms = f"{one.first.cell} on {one.first.backend}, {one.second.cell} on {one.second.backend}"
        key = (f"{situation_text(one.situation)}, {arms}", str(row["error"]))
        reasons[key] = reasons.get(key, 0) + 1
    rows = [[what, why, str(times)] for (what, why), times in reasons.items()]
    return paragraphs("Pairs that were not timed:", table(["pair", "why", "pairs"], rows, {"pairs"}))


# what the training runs saw


def seen(view: View, columns: dict[str, str]) -> str:
    """Time, throughput and memory of each row's runs; nothing of them is compared."""
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
        return ""
    headers = ["task", "cell", *columns.values(), "kernel", "threads", "shared machine"]
    costs = table(headers, rows, set(columns.values()) | {"threads"})
    title = "### What the training runs saw" if view.timings else not_measured(view)
    return paragraphs(title, SEEN, costs, SHARED if rough else "")


def not_measured(view: View) -> str:
    """What measures which cell is faster."""
    names = [str(name) for name in distinct(view.all_runs["experiment"])]
    asked = f" experiment={names[0]}" if len(names) == 1 else ""
    return f"Which cell is faster was not measured: `gru-bench time{asked}` does."


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
