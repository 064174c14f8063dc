"""Whether cells beat a bag of words: if none does, the task needs no recurrent network, whichever is the better one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gru_bench.compare.compared import ALPHA
from gru_bench.compare.evidence import are_right_or_wrong, at_one_length, pieces_by_seed, taken_apart
from gru_bench.compare.pieces import pseudo_values
from gru_bench.compare.wording import bounded
from gru_bench.report.baselines import Baseline, on_data_of
from gru_bench.report.groups import Group, TaskGroups, drawn_rows
from gru_bench.report.markdown import count, number, paragraphs, plural, table
from gru_bench.report.view import View
from gru_bench.statistics.crossed import Estimate, crossed, seeds_only
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.verdict import Verdict, decide

ANSWERS = {
    "first": "yes",
    "second": "no: it is worse",
    "equivalent": "no: no difference that matters",
    "undecided": "not shown",
}
"""The answer of a verdict whose first is the cell."""


@dataclass(frozen=True)
class Held:
    """One row of a task against the bag of words on its data.

    Attributes:
        score: The row's mean over its seeds.
        seeds: How many.
        estimate: The difference, positive where the cell is better.
        verdict: Holm over all rows that are held against one.
    """

    task: TaskGroups
    group: Group
    baseline: Baseline
    score: float
    seeds: int
    estimate: Estimate
    verdict: Verdict

    @property
    def beats(self) -> bool:
        """Whether the cell is shown to be the better one."""
        return self.verdict.answer == "first"


def held(view: View) -> list[Held]:
    """Every row that has a bag of words on its data, by task."""
    found: list[Held] = view.remember("bag of words", lambda: hold(view))
    return list(found)


def hold(view: View) -> list[Held]:
    """The same, not remembered."""
    rows = []
    for task in view.tasks:
        if task.higher_is_better is None:
            continue
        for group in drawn_rows(task.groups):
            baseline = on_data_of(view.baselines, group, task.metric, higher_is_better=task.higher_is_better)
            seeds = view.seed_values(group, task.metric)
            if baseline is not None and len(seeds):
                rows.append((task, group, baseline, seeds, difference(view, task, group, baseline)))
    estimates = {place: row[4] for place, row in enumerate(rows)}
    margins = {place: row[0].margin for place, row in enumerate(rows)}
    verdicts = decide(estimates, margins, alpha=ALPHA, plan=False) if rows else {}
    return [
        Held(task, group, baseline, float(seeds.mean()), len(seeds), estimate, verdicts[place])
        for place, (task, group, baseline, seeds, estimate) in enumerate(rows)
    ]


def difference(view: View, task: TaskGroups, group: Group, baseline: Baseline) -> Estimate:
    """The cell's score less the baseline's, oriented, on the same test rows; over seeds alone where rows are not kept.

    The baseline is one fit without a seed: the noise of the cell's seeds, and of the test rows that both saw.
    """
    sign = 1 if task.higher_is_better else -1
    score = baseline.test[task.metric]
    seeds = view.seed_values(group, task.metric)
    examples = view.examples(baseline.run_id)
    pieces_N = None if not examples else pseudo_values(task.metric, examples, score)
    if pieces_N is not None:
        of_seeds = pieces_by_seed(group, [int(seed) for seed in seeds.index], taken_apart(view, task.metric, group))
        both = at_one_length(of_seeds, [[{None: pieces_N}]])
        if both is not None:
            right_or_wrong = all(are_right_or_wrong(side) for side in both)
            return crossed(sign * (both[0] - both[1]), right_or_wrong=right_or_wrong)
    return seeds_only(sign * (np.asarray(seeds, dtype=np.float64) - score))


def by_task(found: Sequence[Held]) -> dict[str, list[Held]]:
    """The rows of each task."""
    tasks: dict[str, list[Held]] = {}
    for one in found:
        tasks.setdefault(one.task.task, []).append(one)
    return tasks


def warning(view: View) -> str:
    """What a reader must hear first, in bold: the tasks on which no cell beats a bag of words. Nothing where all do."""
    sentences = []
    for task, rows in by_task(held(view)).items():
        if any(one.beats for one in rows):
            continue
        sign = 1 if rows[0].task.higher_is_better else -1
        best = max(rows, key=lambda one: sign * one.score)
        unclear = any(one.verdict.answer == "undecided" for one in rows)
        what = "is shown to beat" if unclear else "beats"
        bar = number(best.baseline.test[best.task.metric])
        took = best.baseline.seconds
        after = "" if took is None else f" after {number(took, 2)} s of training"
        alone = sum(one.score == best.score for one in rows) == 1
        sentences.append(
            f"On {task} no cell {what} a bag of words: that has {best.task.metric} {bar}{after}, "
            f"and {f'{best.group.label}, the best cell,' if alone else 'the best cells'} {number(best.score)}."
        )
    return " ".join(f"**{sentence}**" for sentence in sentences)


def card(view: View) -> str:
    """A table with a row for each row of a task: whether it beats a bag of words, and by how much."""
    found = held(view)
    if not found:
        return ""
    columns = ["task", "cell", "score", "bag of words", "better by (interval)", "n", "beats a bag of words"]
    rows = [
        [
            one.task.task,
            one.group.label,
            number(one.score),
            number(one.baseline.test[one.task.metric]),
            bounded(one.estimate.value, one.verdict.interval),
            amount(one),
            ANSWERS[one.verdict.answer],
        ]
        for one in found
    ]
    note = (
        "A logistic regression on words and pairs of words, or parts of words, whatever their order, trained on the "
        "same rows and chosen on the same validation rows. Intervals cover the noise of seeds, and of test examples "
        "where n names them, adjusted for all rows (Holm); fewer than "
        f"{MIN_SEEDS} seeds show nothing."
    )
    return paragraphs(
        "Against a bag of words, the simplest model that is worth a try.", table(columns, rows), f"*{note}*"
    )


def amount(one: Held) -> str:
    """``5 seeds; 1,821 examples``."""
    seeds = plural(one.seeds, "seed")
    return f"{seeds}; {count(one.estimate.num_examples)} examples" if one.estimate.num_examples else seeds
