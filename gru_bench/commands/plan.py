"""``gru-bench plan``: what ``gru-bench train`` would do with the same arguments, how long, and on how many workers.

Nothing is run but a short pilot of each kind of run, and nothing is written to the store.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench.commands.train import Train
from gru_bench.config.check import construct
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.measure.room import room
from gru_bench.measure.threads import num_workers, usable_cores
from gru_bench.run.cores import decide_threads
from gru_bench.run.estimate import (
    Pace,
    Safe,
    Span,
    from_runs,
    run_seconds,
    safe_workers,
    sweep_seconds,
    workers_by_cores,
)
from gru_bench.run.launch import Launch
from gru_bench.run.outlook import Line, Outlook, counts, look_ahead
from gru_bench.run.pilot import Problem, Subject, pilots
from gru_bench.run.plan import BAD_CONFIG, Composed
from gru_bench.run.rounds import minutes
from gru_bench.training.trainer import Trainer

PILOT_S = 60.0
"""Seconds for all pilots, where none are given."""
LAUNCHER = ("hydra/launcher=", "hydra.launcher.n_jobs=")
WATCH_S = 1.0
MIB = 2**20


@dataclass
class Cost:
    """What one line costs.

    Attributes:
        run_s: Seconds of a run; None where nothing is known.
        source: What that rests on, in a word or two.
        peak: Bytes of a worker; None where no pilot says so.
    """

    run_s: Span | None = None
    source: str = ""
    peak: int | None = None


def plan(task: Train, given: Sequence[str], seconds: float, config: DictConfig, launch: Launch) -> int:
    """Print all of it.

    Args:
        task: Of the command, which knows what is wrong with a single run.
        given: The arguments, as the user wrote them.
        seconds: For the pilots; 0 for none.
        config: As composed for the command.
        launch: The call.

    Returns:
        The exit code, 0.

    Raises:
        UserError: What ``gru-bench train`` would refuse.
    """
    if task.for_sweeps_alone is not None and config.hydra.mode != RunMode.MULTIRUN:
        raise task.for_sweeps_alone
    outlook = look_ahead(config, launch)
    costs = [Cost() for _ in outlook.lines]
    others = cores_used_by_others(WATCH_S) if seconds > 0 else 0.0
    if seconds > 0:
        measure(outlook, costs, seconds, others)
    for text in table(outlook.lines, costs):
        print(text)
    print()
    for note in outlook.notes:
        print(f"{outlook.experiment}: {note}")
    if seconds > 0 and outlook.todo:
        safe = safe_here(outlook, costs, others)
        for text in (*times(outlook, costs, safe), *workers(outlook, costs, safe, others)):
            print(text)
        print(f"to run it: {command(given, None if outlook.alone else safe.workers)}")
    else:
        print(f"to run it: {command(given, None)}" if outlook.todo else "nothing to run")
    return 0


def measure(outlook: Outlook, costs: list[Cost], seconds: float, others: float) -> None:
    """Fill in what each line costs: from runs that finished, else from a pilot, else from lines of the same task."""
    composed: dict[int, Composed] = {}
    for number, line in enumerate(outlook.lines):
        if not (line.todo or outlook.more.get(number)):
            continue
        took = outlook.took(line)
        if took:
            costs[number] = Cost(from_runs(took), f"{len(took)} run{'s' if len(took) > 1 else ''}")
        try:
            composed[number] = outlook.composed(line)
        except BAD_CONFIG as error:
            costs[number].source = f"cannot be composed: {str(error).splitlines()[0]}"
    order = in_order(outlook.lines, [n for n in composed if costs[n].run_s is None])
    # lines with runs come last: of these the pilot adds what memory they take
    order += in_order(outlook.lines, [n for n in composed if costs[n].run_s is not None])
    threads = threads_of(outlook, others)
    subjects = [Subject(composed[n].settings, composed[n].node, threads) for n in order]
    if subjects:
        print(f"a pilot of each kind of run ({len(subjects)}): {minutes(seconds)} at most", flush=True)
    for number, found in zip(order, pilots(subjects, seconds), strict=True):
        cost = costs[number]
        if isinstance(found, Problem):
            cost.source = cost.source or found.text
            continue
        cost.peak = found.peak_bytes
        if cost.run_s is None:
            cost.run_s, cost.source = estimated(found, composed[number])
    fill_from_others(outlook.lines, costs)


def in_order(lines: Sequence[Line], numbers: list[int]) -> list[int]:
    """Every task once, then the rest: where time is short, each task has its pilot."""
    seen: dict[str, int] = {}
    turn = {}
    for number in numbers:
        task = lines[number].names["task"]
        turn[number] = seen[task] = seen.get(task, -1) + 1
    return sorted(numbers, key=lambda number: turn[number])


def estimated(pace: Pace, composed: Composed) -> tuple[Span | None, str]:
    """Seconds of a run by its pilot."""
    trainer: Trainer = construct(composed.node["trainer"])
    found = run_seconds(pace, trainer.limits, trainer.eval_every)
    return found, "pilot" if found is not None else "pilot; how many steps a run has is not known"


def fill_from_others(lines: Sequence[Line], costs: list[Cost]) -> None:
    """Lines of which nothing is known get the span of those of their task, else of all."""
    known = [(line.names["task"], cost.run_s) for line, cost in zip(lines, costs, strict=True) if cost.run_s]
    for line, cost in zip(lines, costs, strict=True):
        if cost.run_s is not None or not line.todo:
            continue
        alike = [span for task, span in known if task == line.names["task"]]
        found = alike or [span for _, span in known]
        if found:
            likely = sum(span.likely for span in found) / len(found)
            cost.run_s = Span(min(span.low for span in found), likely, max(span.high for span in found))
            why = f" ({cost.source})" if cost.source else ""
            cost.source = f"as other {'runs of the task' if alike else 'tasks'}{why}"


def threads_of(outlook: Outlook, others: float) -> int:
    """Threads of each run with as many workers as the free cores hold."""
    asked = outlook.config.get("threads")
    if isinstance(asked, int):
        return asked
    return decide_threads("auto", workers_by_cores(usable_cores(), others, 1)).number


def safe_here(outlook: Outlook, costs: Sequence[Cost], others: float) -> Safe:
    """The number of workers, here and now."""
    asked = outlook.config.get("threads")
    threads = asked if isinstance(asked, int) else 1
    peaks = [cost.peak for cost in costs if cost.peak]
    cards = torch.cuda.device_count() if "cuda" in str(outlook.config.get("device")) else None
    by_cores = workers_by_cores(usable_cores(), others, threads)
    return safe_workers(by_cores, max(peaks, default=None), room(torch.device("cpu")), outlook.todo, cards)


def table(lines: Sequence[Line], costs: Sequence[Cost]) -> list[str]:
    """The matrix, a line each, with its sums."""
    names = list(dict.fromkeys(name for line in lines for name in ("task", "cell", *line.names)))
    measured = any(cost.run_s or cost.peak or cost.source for cost in costs)
    heading = [*names, "planned", "done", "to run", "failed"] + (["a run", "MiB", "from"] if measured else [])
    rows = []
    for line, cost in zip(lines, costs, strict=True):
        cells = [line.names.get(name, "") for name in names]
        cells += [str(number) for number in (line.planned, line.done, line.todo, line.failed)]
        if measured:
            peak = "" if cost.peak is None else f"{cost.peak / MIB:.0f}"
            cells += ["" if cost.run_s is None else shown(cost.run_s), peak, cost.source]
        rows.append(cells)
    total = counts(lines)
    sums = [str(total[name]) for name in ("planned", "done", "todo", "failed")]
    rows.append(["all", *([""] * (len(names) - 1)), *sums, *([""] * (3 if measured else 0))])
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    first_number = len(names)

    def text(cells: list[str]) -> str:
        found = [
            cell.rjust(width) if first_number <= place < first_number + 4 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(found).rstrip()

    running = [f"{total['running']} of them run now, in another process"] if total["running"] else []
    return [text(heading), *map(text, rows), *running]


def times(outlook: Outlook, costs: Sequence[Cost], safe: Safe) -> list[str]:
    """How long it takes, with one worker, the safe number, and the number asked for."""
    runs = [(cost.run_s, line.todo) for line, cost in zip(outlook.lines, costs, strict=True) if cost.run_s is not None]
    left = sum(line.todo for line, cost in zip(outlook.lines, costs, strict=True) if cost.run_s is None)
    if not runs:
        return ["time: not known; no pilot came to an end"]
    asked = num_workers(outlook.config.hydra.launcher)
    numbers = sorted({1, safe.workers, asked}) if not outlook.alone else [1]
    parts = [f"{shown(sweep_seconds(runs, n))} with {n} worker{'s' if n > 1 else ''}" for n in numbers]
    found = [f"time: {', '.join(parts)}" + (f"; without {left} runs of which nothing is known" if left else "")]
    caveats = []
    if any(cost.source == "pilot" for cost in costs):
        caveats.append("a pilot is a few steps on the machine as it was just now")
    if stops_early(outlook):
        caveats.append("stopping rules may end runs earlier, so it is an upper bound")
    if outlook.config.get("probes"):
        caveats.append("what probes take comes on top where no run has finished yet")
    if caveats:
        found.append(f"      {'; '.join(caveats)}")
    if more := [(cost.run_s, outlook.more.get(n, 0)) for n, cost in enumerate(costs) if cost.run_s is not None]:
        longest = sweep_seconds(more, safe.workers)
        if longest.high > 0:
            found.append(f"      and at most {shown(longest)} more for the seeds that may be added")
    return found


def stops_early(outlook: Outlook) -> bool:
    """Whether a run may end before its limits."""
    stopping = outlook.config.trainer.get("stopping") or {}
    return not str(stopping.get("_target_", "")).endswith(".Never")


def workers(outlook: Outlook, costs: Sequence[Cost], safe: Safe, others: float) -> list[str]:
    """Memory, cores, and what follows."""
    peaks = [cost.peak for cost in costs if cost.peak]
    free = room(torch.device("cpu"))
    memory = "memory: not known"
    if peaks:
        fit = f"{safe.by_memory} fit" if safe.by_memory else "not even one fits"
        memory = f"memory: up to {max(peaks) / MIB:.0f} MiB a worker, {free / MIB:.0f} MiB free: {fit} with a margin"
    cores = f"cores: {usable_cores()}, of which others use {others:.1f}"
    if outlook.alone:
        return [memory, cores]
    return [memory, cores, f"safe: {safe.workers} worker{'s' if safe.workers > 1 else ''} (limited by {safe.reason})"]


def shown(span: Span) -> str:
    """``12 min``, or ``10 to 15 min`` where the ends differ by a tenth or more."""
    if not math.isfinite(span.high):
        return "not known"
    low, high = brief(span.low), brief(span.high)
    if low == high or span.high - span.low < 0.1 * span.likely:
        return brief(span.likely)
    (one, unit), (_, last) = low.split(), high.split()
    return f"{one} to {high}" if unit == last else f"{low} to {high}"


def brief(seconds: float) -> str:
    """As people say it; a tenth of a second counts only below ten."""
    return f"{seconds:.1f} s" if seconds < 10 else minutes(seconds)


def command(given: Sequence[str], number: int | None) -> str:
    """The line to type.

    Args:
        given: The arguments, as the user wrote them.
        number: Of workers; None to leave the launcher as it is.
    """
    kept = list(given)
    if number is not None:
        kept = [argument for argument in given if not argument.lstrip("+").startswith(LAUNCHER)]
        kept += ["hydra/launcher=workers", f"hydra.launcher.n_jobs={number}"]
    return " ".join(["gru-bench", "train", *map(shlex.quote, kept)])
