"""The article's claims: what do these runs say of each?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gru_bench.compare import far_claims
from gru_bench.compare.claim import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Claim, overall
from gru_bench.compare.compared import FIRST, SECOND, Compared, by_budget, primary, secondary
from gru_bench.compare.pairs import best_row, rows_of
from gru_bench.compare.pairs import shown as name_of
from gru_bench.compare.wording import signed
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, known, number, paragraphs, span, table
from gru_bench.report.parts import Small, as_number, cut
from gru_bench.report.scores import learned
from gru_bench.report.view import View
from gru_bench.statistics.crossed import seeds_only
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.success import wilson
from gru_bench.statistics.verdict import Verdict, decide

TITLE = "The article's claims"
PLAIN_FAILS = "Plain RNNs cannot learn long dependencies"
VANISH = "… because their gradients vanish"
GATES = "Gates solve it"
RESET = "The reset gate may harm long memory"
LONG = "Long → LSTM, short → GRU"
PRINTED = "The GRU is as printed, with no path that carries h on"
LONG_RANGE = " on a long-range task"
MOST_WORDS = 30
"""Of an evidence that is short enough for the first page."""
MOST_IN_WORDS = 3
"""Comparisons of one claim that are given with their numbers; of more, the tasks by answer."""
TEXT = (
    "Differences are positive where the GRU is better, with the interval that decides and n seeds. Learned: a seed's "
    "test score is at least half of the way from the trivial guess to the score that counts as solved, and as far from "
    f"the guess as a useful model's. Fewer than {MIN_SEEDS} seeds decide nothing."
)


def render(view: View, /, *, long_range: list[str], slices: list[str], fewest_examples: int) -> Section:
    """Answer: which claims of the article hold in these runs?

    Args:
        view: All runs.
        long_range: Tasks whose answer depends on something many steps back.
        slices: Names of the slices that are a length or a distance in time steps.
        fewest_examples: Test examples below which a part is left out.
    """
    small = Small(below=fewest_examples, mergeable=[])
    far = [task for task in view.tasks if task.task in long_range]
    long_pairs = [one for one in secondary(view) if one.task in long_range]
    reset_test = "GRU less the same without reset gate, long-range tasks"
    vanish = far_claims.gradients_vanish(view, VANISH)
    claims = [
        far_claims.plain_fails(view, PLAIN_FAILS) or learning(view, far, ["rnn"], slices, PLAIN_FAILS, reverse=True),
        vanish or far_claims.untested(VANISH),
        far_claims.gates_solve(view, GATES) or learning(view, far, [SECOND, FIRST], slices, GATES, reverse=False),
        simpler(view),
        weaker(view),
        far_claims.reset_harms(view, RESET)
        or against(long_pairs, "gru_no_reset", RESET, reset_test, second=SUPPORTED, where=LONG_RANGE),
        far_claims.lstm_for_long(view, LONG) or longer(slopes_of(view, slices, small)),
        far_claims.as_printed(view, PRINTED)
        or against(secondary(view), "gru_article", PRINTED, "GRU less the printed one", second=CONTRADICTED),
    ]
    if all(claim.verdict == NOT_TESTED for claim in claims):
        return Section(TITLE, "")
    rows = [[claim.claim, claim.test, claim.evidence, f"**{claim.verdict}**"] for claim in claims]
    texts = [
        TEXT,
        far_claims.text(view) if any(claim.test.startswith(far_claims.TEST) for claim in claims) else "",
        far_claims.GRADIENTS if vanish else "",
    ]
    tested = [claim for claim in claims if claim.verdict != NOT_TESTED]
    short = [[claim.claim, f"**{claim.verdict}**", in_brief(claim)] for claim in tested]
    untested = [f"“{claim.claim}”" for claim in claims if claim not in tested]
    return Section(
        TITLE,
        paragraphs(table(["claim", "test", "evidence", "verdict"], rows), " ".join(filter(None, texts))),
        brief=paragraphs(
            table(["claim", "verdict", "seen"], short),
            f"Not tested by these runs: {', '.join(untested)}." if untested else "",
        ),
    )


def in_brief(claim: Claim) -> str:
    """What was seen, where that takes a few words."""
    text = claim.brief or claim.evidence
    return text if len(text.split()) <= MOST_WORDS else ""


# whether seeds learn


def num_learned(view: View, task: TaskGroups, group: Group, slice: str = "", value: str = "") -> tuple[int, int]:
    """How many seeds of a row learned the task (or one part of it), of how many."""
    scores = view.seed_values(group, task.metric, "test", slice, value)
    guesses = view.seed_values(group, f"trivial_{task.metric}", "test", slice, value)
    both = [seed for seed in scores.index if seed in guesses.index]
    return sum(learned(task, float(scores[seed]), float(guesses[seed])) for seed in both), len(both)


def row_of(view: View, task: TaskGroups, cell: str) -> Group | None:
    """The row that stands for a cell: at equal hidden size where there is one, with the most seeds."""
    rows = rows_of(task, cell)
    rows = [group for group in rows if group.fact("budget") == "hidden"] or rows
    return best_row(view, task, rows)[0] if rows else None


def learning(
    view: View, tasks: list[TaskGroups], cells: list[str], slices: list[str], claim: str, *, reverse: bool
) -> Claim:
    """How many seeds of some cells learn each task.

    Args:
        view: All runs.
        tasks: The long-range tasks.
        cells: Those that the claim is about.
        slices: Slices that are a length.
        claim: Its words.
        reverse: The claim is that they do not learn.
    """
    answers, texts = {}, []
    counts: dict[str, list[str]] = {}
    for task in tasks:
        if task.ceiling is None or task.higher_is_better is None:
            continue
        for cell in cells:
            group = row_of(view, task, cell)
            count, total = num_learned(view, task, group) if group else (0, 0)
            if group is None or not total:
                continue
            share = wilson(count, total)
            answer = UNDECIDED
            if total >= MIN_SEEDS and share.clear_of(0.5):
                answer = SUPPORTED if (share.high < 0.5) == reverse else CONTRADICTED
            answers[f"{task.task} {cell}"] = answer
            whose = f"{name_of(cell)} " if len(cells) > 1 else ""
            percent = f"{100 * share.low:.0f} .. {100 * share.high:.0f} %"
            counts.setdefault(task.task, []).append(f"{whose}{count} of {total}")
            texts.append(f"{task.task}: {whose}{count} of {total}{by_length(view, task, group, slices)} ({percent})")
    where = "share of seeds that learn the long-range tasks, with Wilson's interval; by length"
    evidence = "; ".join(texts) or f"no such runs{LONG_RANGE}"
    brief = "; ".join(f"{task}: {', '.join(found)}" for task, found in counts.items())
    return Claim(claim, where, evidence, overall(answers), brief=f"seeds that learn: {brief}" if brief else "")


def by_length(view: View, task: TaskGroups, group: Group, slices: list[str]) -> str:
    """``; by length: 8 at 10, 3 at 25``: seeds that learned each part, where the parts are kept."""
    for slice in slices:
        parts = {
            value
            for split, metric, name, value in view.measured
            if (split, metric, name) == ("test", task.metric, slice)
        }
        counts = [
            (value, found[0])
            for value in sorted(parts, key=lambda text: (as_number(text), text))
            if (found := num_learned(view, task, group, slice, value))[1]
        ]
        if counts and len({count for _, count in counts}) == 1:
            return f" at each {slice}"
        if counts:
            return f"; by {slice}: {', '.join(f'{count} at {value}' for value, count in counts)}"
    return ""


# GRU against others


def simpler(view: View) -> Claim:
    """Whether the GRU's model has fewer parameters at the LSTM's hidden size."""
    pairs = [one.pair for one in primary(view)]
    ratios = [
        float(pair.first.fact("num_parameters")) / float(pair.second.fact("num_parameters"))
        for pair in pairs
        if pair.first.fact("hidden_size") == pair.second.fact("hidden_size")
        and all(known(group.fact("num_parameters")) for group in (pair.first, pair.second))
    ]
    fewer = {str(place): SUPPORTED if ratio < 1 else CONTRADICTED for place, ratio in enumerate(ratios)}
    evidence = f"{span(min(ratios), max(ratios), 2)} times as many in the whole model" if ratios else "no such runs"
    test = "parameters of GRU and LSTM at equal hidden size"
    brief = f"{span(min(ratios), max(ratios), 2)} times the LSTM's parameters" if ratios else ""
    return Claim("The GRU is the simpler LSTM", test, evidence, overall(fewer), brief=brief)


def weaker(view: View) -> Claim:
    """Whether the LSTM is better on some task. One suffices: Holm's adjustment covers all of them."""
    budgets = by_budget(primary(view))
    found = {name: [one.verdict.answer for one in of_budget] for name, of_budget in budgets.items()}
    verdicts = {name: sometimes(answers) for name, answers in found.items()}
    texts = [
        f"{f'budget {name}: ' if len(budgets) > 1 else ''}{effects(of_budget)}" for name, of_budget in budgets.items()
    ]
    decided = {verdict for verdict in verdicts.values() if verdict != UNDECIDED}
    verdict = "depends on the budget" if len(decided) > 1 else next(iter([*decided, *verdicts.values()]), NOT_TESTED)
    claim, test = "… and sometimes weaker", "GRU less LSTM, each task"
    return Claim(claim, test, "; ".join(texts) or "no such runs", verdict)


def sometimes(answers: Sequence[str]) -> str:
    """Supported where the second cell is better once; contradicted where every task is decided otherwise."""
    if "second" in answers:
        return SUPPORTED
    return UNDECIDED if "undecided" in answers else CONTRADICTED


def against(found: list[Compared], cell: str, claim: str, test: str, *, second: str, where: str = "") -> Claim:
    """The GRU against a variant of it.

    Args:
        found: Comparisons, of which those with this cell count.
        cell: The variant.
        claim: Its words.
        test: Likewise.
        second: What follows where the variant is better; the claim that it is no worse than the GRU has
            ``CONTRADICTED``, since such a GRU would not be the same either.
        where: On which tasks the comparisons are, where not on all.
    """
    mine = [one for one in found if one.pair.cells == (FIRST, cell)]
    meaning = {
        "second": second,
        "first": CONTRADICTED,
        "equivalent": CONTRADICTED if second == SUPPORTED else SUPPORTED,
        "undecided": UNDECIDED,
    }
    answers = {f"{one.task} {one.pair.where}": meaning[one.verdict.answer] for one in mine}
    return Claim(claim, test, effects(mine) or f"no runs of {cell} beside the GRU{where}", overall(answers))


def effects(found: list[Compared]) -> str:
    """Each difference with its interval; of many, the tasks by answer."""
    if len(found) <= MOST_IN_WORDS:
        return "; ".join(f"{one.task} {effect(one.verdict, one.estimate.value, len(one.seeds))}" for one in found)
    counts = sorted({len(one.seeds) for one in found})
    seeds = " .. ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    answers: dict[str, list[str]] = {}
    for one in found:
        answers.setdefault(one.answer, []).append(one.task)
    texts = [f"{answer}: {', '.join(tasks)}" for answer, tasks in answers.items()]
    return f"{'; '.join(texts)} (n = {seeds})"


def effect(verdict: Verdict, value: float, seeds: int) -> str:
    """``+0.12 (0.10 .. 0.14), n = 8``; without interval where none is known."""
    interval = verdict.interval
    ends = f" ({number(interval.low, 2)} .. {number(interval.high, 2)})" if interval.known else ""
    return f"{signed(value)}{ends}, n = {seeds}"


# by length


@dataclass(frozen=True)
class Slope:
    """Change of the difference with each doubling of the length on one task, and whether it is clear of zero."""

    value: float
    num_seeds: int
    verdict: Verdict


def slopes_of(view: View, slices: list[str], small: Small) -> dict[str, Slope]:
    """The slope of GRU less LSTM on each task with scores by length: one for each seed, Holm over the tasks."""
    found: dict[str, Slope] = view.remember(
        ("slopes", tuple(slices), repr(small)), lambda: slopes_anew(view, slices, small)
    )
    return found


def slopes_anew(view: View, slices: list[str], small: Small) -> dict[str, Slope]:
    """The same, not remembered."""
    slopes: dict[str, np.ndarray] = {}
    looks: dict[str, int] = {}
    for one in next(iter(by_budget(primary(view)).values()), []):
        for slice in slices:
            by_seed = slopes_by_seed(view, one, slice, small)
            if len(by_seed) and one.task not in slopes:
                slopes[one.task], looks[one.task] = by_seed, one.looks
    estimates = {task: seeds_only(found) for task, found in slopes.items()}
    verdicts = decide(estimates, dict.fromkeys(estimates), looks=looks, plan=False)
    return {task: Slope(estimates[task].value, len(slopes[task]), verdict) for task, verdict in verdicts.items()}


def longer(slopes: Mapping[str, Slope]) -> Claim:
    """Whether the LSTM gains on the GRU with the length."""
    meaning: dict[str, str] = {"first": CONTRADICTED, "second": SUPPORTED}
    answers = {task: meaning.get(slope.verdict.answer, UNDECIDED) for task, slope in slopes.items()}
    texts = [f"{task} {effect(slope.verdict, slope.value, slope.num_seeds)}" for task, slope in slopes.items()]
    test = "slope of GRU less LSTM for each doubling of the length (negative: the LSTM gains)"
    brief = gains(slopes)
    return Claim(LONG, test, "; ".join(texts) or "no scores by length", overall(answers), brief=brief)


def gains(slopes: Mapping[str, Slope]) -> str:
    """``with the length GRU gains on copy_memory; undecided: adding``; nothing without a task."""
    tasks: dict[str, list[str]] = {}
    for task, slope in slopes.items():
        cell = {"first": FIRST, "second": SECOND}.get(slope.verdict.answer)
        tasks.setdefault(f"{name_of(cell)} gains on" if cell else "undecided:", []).append(task)
    texts = [f"{what} {', '.join(names)}" for what, names in tasks.items()]
    return f"with the length {'; '.join(texts)}" if texts else ""


def slopes_by_seed(view: View, one: Compared, slice: str, small: Small) -> np.ndarray:
    """(S,) change of the oriented difference with each doubling of the length; empty with fewer than three lengths."""
    task = one.pair.task
    parts = cut(view, task, task.metric, slice, small)
    firsts, seconds = (parts.scores.get(group.label, {}) for group in (one.pair.first, one.pair.second))
    places = [value for value in parts.values if 0 < as_number(value) < math.inf]
    sign = 1 if task.higher_is_better else -1
    log_lengths = np.log2([as_number(value) for value in places])
    found = []
    for seed in one.seeds:
        if len(places) > 2 and all(
            seed in side[value].index and math.isfinite(side[value][seed])
            for side in (firsts, seconds)
            for value in places
        ):
            differences = [sign * (firsts[value][seed] - seconds[value][seed]) for value in places]
            found.append(float(np.polyfit(log_lengths, differences, 1)[0]))
    return np.array(found)
