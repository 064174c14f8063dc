"""Steps to learn: after how many steps did the seeds of each cell learn the task?"""

import math

import pandas as pd

from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, count, heading, known, paragraphs, table
from gru_bench.report.scores import learned
from gru_bench.report.view import View
from gru_bench.statistics.success import Survival, survival, wilson

TITLE = "Steps to learn"
TEXT = (
    "A seed has learned a task at the first evaluation whose validation score is half of the way from the trivial "
    "guess to the score that counts as solved, and as far from the guess as a useful model's. Seeds that never get "
    "there count as not yet there at their last step (Kaplan-Meier): no mean is taken over seeds of which some learned "
    "and some did not. Shares with Wilson's interval of 95 %, medians with Brookmeyer and Crowley's. Tasks that no "
    "seed learned are left out."
)


def render(view: View, /) -> Section:
    """Answer: after how many steps did the seeds of each cell learn the task?

    Args:
        view: All runs.
    """
    parts = []
    for task in view.tasks:
        found = {group.label: times for group in task.groups if (times := steps_to_learn(view, task, group))}
        if any(times.num_solved for times in found.values()):
            rows = [row(label, times) for label, times in found.items()]
            columns = ["cell", "seeds that learned", "share (95 %)", "steps until half of the seeds learned (95 %)"]
            parts += [f"### {heading(task.task, task.generated)}", table(columns, rows, set(columns[1:]))]
    return Section(TITLE, paragraphs(TEXT, *parts) if parts else "")


def row(label: str, times: Survival) -> list[str]:
    """One cell of a task."""
    share = wilson(times.num_solved, times.num_seeds, 0.95)
    if math.isinf(times.median):
        median = "not reached"
    else:
        high = "∞" if math.isinf(times.interval.high) else count(times.interval.high)
        low = count(min(times.interval.low, times.median))
        median = f"{count(times.median)} ({low} to {high})"
    percent = f"{100 * times.num_solved / times.num_seeds:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f})"
    return [label, f"{times.num_solved} of {times.num_seeds}", percent, median]


def steps_to_learn(view: View, task: TaskGroups, group: Group) -> Survival | None:
    """The steps of a row's seeds; None where goal, guess or curves are not known."""
    guesses = view.seed_values(group, f"trivial_{task.metric}")
    if not task.metric or task.ceiling is None or task.higher_is_better is None or guesses.empty:
        return None
    steps, solved = [], []
    curves = view.remember("validation curves", lambda: validation_curves(view))
    for run, seed in zip(group.finished["run_id"], group.finished["seed"], strict=True):
        curve = curves.get((run, f"valid/{task.metric}"))
        if curve is None or not known(seed) or seed not in guesses.index:
            continue
        reached = [step for step, score in curve if learned(task, score, float(guesses[seed]))]
        steps.append(float(reached[0] if reached else curve[-1][0]))
        solved.append(bool(reached))
    return survival(steps, solved) if steps else None


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
