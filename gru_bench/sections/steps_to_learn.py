"""Steps to learn: after how many steps, and how many seconds, did the seeds of each cell reach the task's target?"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from gru_bench.compare.speed import ALONE, IN_BATCH, NO_SECONDS, PAIRED, step_times
from gru_bench.report.groups import Group, TaskGroups, distinct
from gru_bench.report.markdown import UNKNOWN, Section, count, heading, known, number, paragraphs, span, table
from gru_bench.report.scores import learned, least_gain
from gru_bench.report.view import View, in_batch
from gru_bench.statistics.success import Survival, survival, wilson

TITLE = "Steps to learn"
TEXT = (
    "A seed has learned a task at the first evaluation whose validation score reaches the target, which the task set "
    "beforehand: half of the way from the trivial guess to the score that counts as solved, and as far from the guess "
    "as a useful model's. Seeds that never get there count as not yet there at their last step (Kaplan-Meier): no mean "
    "is taken over seeds of which some learned and some did not. Shares with Wilson's interval of 95 %, medians with "
    "Brookmeyer and Crowley's. Tasks that no seed learned are left out."
)
SECONDS = "Seconds are steps times the time of a training step, without evaluation: {sources}."
MARKS = {PAIRED: "p", ALONE: "a"}
MEANING = {
    PAIRED: "p: from a paired timing of this task's model",
    ALONE: "a: as the runs saw it, which had the machine alone",
}


@dataclass(frozen=True)
class Learned:
    """When the seeds of a row reached the target.

    Attributes:
        steps: In steps.
        seconds: In seconds; None where no clean time of a step is known.
        source: Where that is from.
    """

    steps: Survival
    seconds: Survival | None = None
    source: str = ""


def render(view: View, /) -> Section:
    """Answer: after how many steps, and how many seconds, did the seeds of each cell learn the task?

    Args:
        view: All runs.
    """
    shown = []
    for task in view.tasks:
        found = {group.label: times for group in task.groups if (times := when_learned(view, task, group))}
        if any(times.steps.num_solved for times in found.values()):
            shown.append((task, found))
    sources = [times.source for _, found in shown for times in found.values() if times.seconds]
    parts = [TEXT, about_seconds(view, sources)]
    for task, found in shown:
        columns = ["cell", "seeds that learned", "share (95 %)", "steps until half of the seeds learned (95 %)"]
        columns += ["seconds until then (95 %)"] if sources else []
        rows = [row(label, times, bool(sources)) for label, times in found.items()]
        parts += [f"### {heading(task.task, task.generated)}", target(view, task)]
        parts.append(table(columns, rows, set(columns[1:])))
    return Section(TITLE, paragraphs(*parts) if shown else "")


def about_seconds(view: View, sources: list[str]) -> str:
    """Where the seconds are from, or why there are none and what measures them."""
    if sources:
        marks = [text for source, text in MEANING.items() if source in sources]
        return SECONDS.format(sources="; ".join(marks))
    names = [str(name) for name in distinct(view.all_runs["experiment"])]
    asked = f" experiment={names[0]}" if len(names) == 1 else ""
    why = IN_BATCH if in_batch(view.all_runs).any() else NO_SECONDS
    return f"Seconds are not given: {why} (`gru-bench time{asked}` does that)."


def target(view: View, task: TaskGroups) -> str:
    """``Target: mse at most 0.0838.``, which guess, goal and the score of a solved task give."""
    guesses = [float(value) for group in task.groups for value in view.seed_values(group, f"trivial_{task.metric}")]
    if not guesses or task.ceiling is None:
        return ""
    sign = 1 if task.higher_is_better else -1
    scores = [guess + sign * least_gain(task, guess) for guess in guesses]
    return f"Target: {task.metric} at {'least' if task.higher_is_better else 'most'} {span(min(scores), max(scores))}."


def row(label: str, times: Learned, with_seconds: bool) -> list[str]:
    """One cell of a task."""
    steps = times.steps
    share = wilson(steps.num_solved, steps.num_seeds, 0.95)
    percent = f"{100 * steps.num_solved / steps.num_seeds:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f})"
    texts = [label, f"{steps.num_solved} of {steps.num_seeds}", percent, median(steps, count)]
    if not with_seconds:
        return texts
    if times.seconds is None:
        return [*texts, UNKNOWN]
    text = median(times.seconds, lambda value: number(value, 2))
    return [*texts, text if math.isinf(times.seconds.median) else f"{text} {MARKS[times.source]}"]


def median(times: Survival, written: Callable[[float], str]) -> str:
    """``200 (150 to 300)``, or that fewer than half of the seeds got there."""
    if math.isinf(times.median):
        return "not reached"
    high = "∞" if math.isinf(times.interval.high) else written(times.interval.high)
    return f"{written(times.median)} ({written(min(times.interval.low, times.median))} to {high})"


def when_learned(view: View, task: TaskGroups, group: Group) -> Learned | None:
    """Of a row's seeds; None where goal, guess or curves are not known."""
    guesses = view.seed_values(group, f"trivial_{task.metric}")
    if not task.metric or task.ceiling is None or task.higher_is_better is None or guesses.empty:
        return None
    curves = view.remember("validation curves", lambda: validation_curves(view))
    found: list[tuple[str, float, bool]] = []
    for run, seed in zip(group.finished["run_id"], group.finished["seed"], strict=True):
        curve = curves.get((run, f"valid/{task.metric}"))
        if curve is None or not known(seed) or seed not in guesses.index:
            continue
        reached = [step for step, score in curve if learned(task, score, float(guesses[seed]))]
        found.append((str(run), float(reached[0] if reached else curve[-1][0]), bool(reached)))
    if not found:
        return None
    solved = [reached for _, _, reached in found]
    steps = survival([step for _, step, _ in found], solved)
    times = step_times(view, group)
    if times is None or any(run not in times.by_run for run, _, _ in found):
        return Learned(steps)
    seconds = survival([step * times.by_run[run] for run, step, _ in found], solved)
    return Learned(steps, seconds, times.source)


def validation_curves(view: View) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Step and score of each evaluation, by run and metric."""
    if view.curves.empty:
        return {}
    curves: pd.DataFrame = view.curves[view.curves["metric"].str.startswith("valid/")]
    curves = curves.sort_values(["run_id", "metric", "step"])
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    columns = (curves[name].tolist() for name in ("run_id", "metric", "step", "value"))
    for run, metric, step, value in zip(*columns, strict=True):
        found.setdefault((run, metric), []).append((step, value))
    return found
