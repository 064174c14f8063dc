"""What stands under a task's table: what a reader must know before comparing its rows."""

import pandas as pd

from gru_bench.report.groups import TaskGroups, distinct
from gru_bench.report.markdown import escape, known, number, plural
from gru_bench.report.rates import rate_notes
from gru_bench.report.scores import Outcome, best_typical, gain_over_trivial
from gru_bench.report.view import View, differing_settings


def notes(view: View, task: TaskGroups, outcomes: dict[str, Outcome]) -> list[str]:
    """What a reader must know before comparing the rows of one table."""
    lines = [margin_note(task, outcomes), ceiling_note(task, outcomes), *split_notes(task, outcomes), *task.remarks]
    lines += ending_notes(view, task)
    lines += rate_notes(task)
    lines += [f"The rows differ in {text}." for text in differing_settings(task)]
    lines += [f"About the data: {escape(text)}." for group in task.groups[:1] if (text := group.fact("notes"))]
    chosen = distinct(pd.concat([group.runs["test_selection"] for group in task.groups]))
    lines += [f"The test rows were selected differently from the validation rows: {escape(text)}." for text in chosen]
    seeds = {tuple(found.seeds.index) for found in outcomes.values() if len(found.seeds)}
    if len(seeds) > 1:
        lines.append("The rows do not all have the same seeds.")
    return ["\n".join(f"- {line}" for line in lines if line)] if any(lines) else []


def ending_notes(view: View, task: TaskGroups) -> list[str]:
    """How the finished runs of a task ended: still improving, by patience, no better than the trivial guess."""
    late = [view.still_improving(group) for group in task.groups]
    patient = [view.ended_by_patience(group) for group in task.groups]
    by = f", or by less than {task.margin:g}" if task.margin else ""
    guessing = [view.never_left_the_guess(task, group) for group in task.groups]
    return [
        ending(
            "Still improving at the last evaluation",
            task,
            late,
            "their best validation score came last, so longer training may change the scores and their order",
        ),
        ending(
            "Ended by patience",
            task,
            patient,
            "training stopped because the validation score had not improved for that long; with more patience it might",
        ),
        ending(
            "Never left the trivial guess",
            task,
            guessing,
            f"their test score is no better than that of a guess that looks at no input{by}",
        ),
    ]


def ending(what: str, task: TaskGroups, counts: list[tuple[int, int]], meaning: str) -> str:
    """``Ended by patience: 3 of 6 runs (lstm 1, gru 2)``, and what that means; nothing where it is true of none."""
    met, known_of = sum(count for count, _ in counts), sum(number for _, number in counts)
    if not met:
        return ""
    rows = [f"{group.label} {count}" for group, (count, _) in zip(task.groups, counts, strict=True) if count]
    which = f" ({', '.join(rows)})" if len(task.groups) > 1 else ""
    return f"{what}: {met} of {plural(known_of, 'run')}{which}: {meaning}."


def margin_note(task: TaskGroups, outcomes: dict[str, Outcome]) -> str:
    """Whether any cell learned something: by how much the best mean beats the trivial guess."""
    gain = gain_over_trivial(task, outcomes.values())
    if gain is None or not known(task.beats_trivial_by):
        return ""
    wanted = float(task.beats_trivial_by or 0)
    asked = f"a useful model beats it by at least {wanted:g}"
    split = any(found.is_split for found in outcomes.values())
    middle = "mean or median" if split else "mean"
    if gain >= wanted:
        return f"The best {middle} beats the trivial guess by {number(gain)} ({asked})."
    failed = "No cell learned this task with most of its seeds" if split else "No cell learned this task"
    if gain > 0:
        return f"{failed}: the best {middle} beats the trivial guess by only {number(gain)} ({asked})."
    return f"{failed}: no {middle} beats the trivial guess ({asked})."


def split_notes(task: TaskGroups, outcomes: dict[str, Outcome]) -> list[str]:
    """The rows whose mean would mislead, since some of their seeds learned the task and others did not."""
    split = [
        f"{label} ({found.num_learned} of {len(found.seeds)})" for label, found in outcomes.items() if found.is_split
    ]
    if not split:
        return []
    return [
        f"Split over seeds: some learned the task and others of the same row did not: {', '.join(split)}. Between the "
        "two lies a gap of at least half of the way from the trivial guess to the score that counts as solved "
        f"({float(task.ceiling or 0):g}). Such a row shows the median instead of the mean, and the share of the seeds "
        "that learned the task instead of sd; a mean may lie where no seed does."
    ]


def ceiling_note(task: TaskGroups, outcomes: dict[str, Outcome]) -> str:
    """Whether the task still tells the families apart."""
    families: dict[str, list[Outcome]] = {}
    for group in task.groups:
        families.setdefault(group.family, []).append(outcomes[group.label])
    best = {family: best_typical(task, found) for family, found in families.items()}
    if not known(task.ceiling) or any(value is None for value in best.values()):
        return ""
    ceiling, better = float(task.ceiling or 0), task.higher_is_better
    at = [f for f, value in best.items() if value is not None and (value >= ceiling if better else value <= ceiling)]
    bound = f"{'at least' if better else 'at most'} {ceiling:g}"
    if not at:
        return ""
    if len(at) == len(best):
        return f"Every family is at the ceiling ({bound}): here this task cannot tell them apart."
    return f"At the ceiling ({bound}): {', '.join(at)}. The other families are not."
