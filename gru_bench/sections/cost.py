"""Cost: what do training and inference take, which cell is faster by how much, and what does a better score cost?"""

from dataclasses import replace

import pandas as pd

from gru_bench.report.groups import Group, distinct, truth
from gru_bench.report.markdown import UNKNOWN, Section, known, number, paragraphs, plural, span, table
from gru_bench.report.pareto import candidates, draw, points_table
from gru_bench.report.timing_tables import place_tables, subject
from gru_bench.report.timings import LETTERS, RANGES, Timing, by_place, place_text, situation_text
from gru_bench.report.view import View, in_batch

TITLE = "Cost"
RATIOS = (
    "Two arms took turns in one fresh process, round by round; a ratio is the mean of the middle half of the rounds' "
    "ratios (of their logarithms); its 95 % interval is Student's, with an error from a block bootstrap; the floor is "
    "how far the first arm's ratio to its own twin reaches, at least 1.005. A gap that does not lie beyond the floor "
    f"with its whole interval is inside the noise. {RANGES[0].upper()}{RANGES[1:]}. A ratio holds for these kernels "
    f"on this machine. {LETTERS}. Every number: [timings.csv](timings.csv)."
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
TOGETHER = (
    "Of {runs} the times are left out: they were trained together with others that differ in the seed alone "
    "(`seeds_in_batch`), so that a step was not theirs alone."
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
    parts += [unlike(view), repeated(view, most_rows), failed(view)]
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


def repeated(view: View, most_rows: int) -> str:
    """Pairs that were measured more than once, each time side by side with the one that counts."""
    counts = {one.pair_key: one for one in view.timings}
    again = [(other, counts[other.pair_key]) for other in view.timed_before]
    if not again:
        return ""

    def factor(both: tuple[Timing, Timing]) -> float:
        return max(both[0].ratio / both[1].ratio, both[1].ratio / both[0].ratio)

    pairs = len({one.pair_key for _, one in again})
    factors = [factor(both) for both in again]
    turned = sum({a.finding, b.finding} == {"first", "second"} for a, b in again)
    text = (
        f"### Pairs measured more than once\n\nOf {plural(pairs, 'pair')} there are further measurements, on the same "
        "machine with the same version of torch; whether the code was the same the commits tell. The latest of a quiet "
        f"machine counts. The others' ratios differ from it by a factor of at most {number(max(factors))} (median "
        f"{number(pd.Series(factors).median())}); {turned or 'none'} named the other one as faster."
    )
    places = len({one.place for one in view.timings}) > 1
    rows = []
    for other, one in sorted(again, key=factor, reverse=True)[:most_rows]:
        of = [subject(one), *([place_text(one)] if places else [])]
        arms = " against ".join(f"{arm.cell} on {arm.backend}" for arm in (one.first, one.second))
        rows.append([situation_text(one.situation), ", ".join(of), arms, *measurement(one), *measurement(other)])
    head = ["situation", "of", "pair", "ratio that counts", "measured, commit", "other ratio", "measured then, commit"]
    left = f"The {most_rows} that differ most, of {len(again)}." if len(again) > most_rows else ""
    return paragraphs(text, table(head, rows), left)


def measurement(one: Timing) -> list[str]:
    """Ratio with its interval and floor, and when and with what code it was measured."""
    ratio, low, high, floor = (number(one.row[name]) for name in ("ratio", "ratio_low", "ratio_high", "floor"))
    commit = str(one.row["git_commit"])[:12] if known(one.row["git_commit"]) else "commit not known"
    changed = " with changes" if truth(one.row["dirty"]) else ""
    when = str(one.row["measured_at"])[:16].replace("T", " ") if known(one.row["measured_at"]) else UNKNOWN
    return [f"{ratio} ({low} to {high}; floor {floor}){'*' if one.is_forced else ''}", f"{when}, {commit}{changed}"]


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
    together = int(in_batch(view.all_runs).sum())
    left_out = TOGETHER.format(runs=plural(together, "run")) if together else ""
    return paragraphs(title, SEEN, costs, SHARED if rough else "", left_out)


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
