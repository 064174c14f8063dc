"""How to choose: which cell in which regime, as far as it was measured?"""

from collections import Counter
from collections.abc import Iterable, Sequence

from gru_bench.compare.compared import BUDGETS, FIRST, SECOND, Compared, by_budget, primary
from gru_bench.compare.far_claims import lstm_for_long
from gru_bench.compare.pairs import shown
from gru_bench.compare.speed import found_in, together
from gru_bench.report.markdown import Section, known, paragraphs, span, table
from gru_bench.report.parts import Small
from gru_bench.report.timings import RANGES, card
from gru_bench.report.view import View
from gru_bench.sections.claims import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, longer, slopes_of

NOT_MEASURED = "not measured"
EITHER = "either"
TEXT = "Each row follows from these measurements alone and holds for their tasks, sizes and machine."
OPEN = " Undecided: the runs do not say; what would is in the verdict."
COUNTED = f" Of speeds, {RANGES}."
ALWAYS = ("hidden", "parameters", "state")
"""Budgets whose row says so where nothing was measured; others have a row where something was."""
SPEEDS = {"train": "training speed", "batch": "speed of batch inference", "stream": "latency of one step"}
"""Situations of paired timings, and what matters there."""
Row = tuple[str, str, str]
"""Regime, what was measured, which cell."""


def render(view: View, /, *, slices: list[str], fewest_examples: int) -> Section:
    """Answer: which cell should one take when something in particular matters?

    Args:
        view: All runs.
        slices: Names of the slices that are a length or a distance in time steps.
        fewest_examples: Test examples below which a part is left out.
    """
    found = primary(view)
    scores = by_budget(found)
    rows = [
        by_length(view, slices, Small(below=fewest_examples, mergeable=[])),
        by_data(found),
        *(at_budget(name, scores.get(name, [])) for name in BUDGETS if name in scores or name in ALWAYS),
        *(
            row
            for situation, regime in SPEEDS.items()
            if (row := speed(view, situation, regime))[2] != NOT_MEASURED or situation != "batch"
        ),
        memory(view, found),
    ]
    if all(choice == NOT_MEASURED for _, _, choice in rows):
        return Section("How to choose", "")
    if view.all_runs.empty:  # no run could have measured the others
        rows = [row for row in rows if row[2] != NOT_MEASURED]
    text = (
        TEXT + ("" if view.all_runs.empty else OPEN) + (COUNTED if "times)" in " ".join(row[1] for row in rows) else "")
    )
    lines = [[regime, seen, choice if choice == NOT_MEASURED else f"**{choice}**"] for regime, seen, choice in rows]
    columns = ["what matters", "measured", "take"]
    whole = paragraphs(table(columns, lines), text)
    missing = [regime for regime, _, choice in rows if choice == NOT_MEASURED]
    if not missing:
        return Section("How to choose", whole)
    measured = table(columns, [line for line in lines if line[2] != NOT_MEASURED])
    return Section("How to choose", whole, brief=paragraphs(measured, f"Not measured: {', '.join(missing)}.", text))


def by_length(view: View, slices: list[str], small: Small) -> Row:
    """From the longest lags that a search found, else from the slope of the difference over the length."""
    lags = lstm_for_long(view, "")
    claim = lags or longer(slopes_of(view, slices, small))
    choices = {
        SUPPORTED: f"{shown(SECOND)} for long ones",
        CONTRADICTED: f"{shown(FIRST)} for long ones",
        UNDECIDED: UNDECIDED,
        NOT_TESTED: NOT_MEASURED,
    }
    measured = "longest lag that enough seeds solve in their steps" if lags else "difference by length"
    seen = NOT_MEASURED if claim.verdict == NOT_TESTED else f"{measured}: {claim.evidence}"
    return "long sequences", seen, choices.get(claim.verdict, f"depends on the task ({claim.verdict})")


def by_data(found: Sequence[Compared]) -> Row:
    """From runs on parts of the training data, where there are several parts."""
    parts = [one for one in found if "data.fraction" in one.pair.where]
    if not parts:
        return "little data", NOT_MEASURED, NOT_MEASURED
    seen = "; ".join(f"{one.task}, {one.pair.where}: {one.answer}" for one in parts)
    return "little data", seen, choice(one.verdict.answer for one in parts)


def at_budget(name: str, found: Sequence[Compared]) -> Row:
    """From the verdicts at one budget."""
    regime = f"the score at {BUDGETS[name]}"
    if not found:
        return regime, NOT_MEASURED, NOT_MEASURED
    counts = Counter(one.answer for one in found)
    order = (shown(FIRST), shown(SECOND), "equivalent", "undecided")
    seen = ", ".join(f"{answer} on {counts[answer]}" for answer in order if counts[answer])
    return regime, seen, choice(one.verdict.answer for one in found)


def choice(answers: Iterable[str]) -> str:
    """The cell that wins on most tasks and loses on none; else that it depends, that both do, or that it is open."""
    counts = Counter(answers)
    if counts["first"] and counts["second"]:
        return "depends on the task"
    winner, won = (FIRST, counts["first"]) if counts["first"] else (SECOND, counts["second"])
    if 2 * won > counts.total():
        return f"{shown(winner)} (undecided on some tasks)" if counts["undecided"] else shown(winner)
    if counts["undecided"]:
        return UNDECIDED
    return f"{EITHER} ({shown(winner)} on some tasks)" if won else EITHER


def speed(view: View, situation: str, regime: str) -> Row:
    """From paired timings, each cell on its fastest timed backend; where that is not known, both on the vendor's."""
    views = found_in(view, situation)
    if not views:
        return regime, NOT_MEASURED, NOT_MEASURED
    name, every = next(iter(views.items()))
    found = [one for one in every if not one.is_forced]
    if not found:
        return regime, f"{NOT_MEASURED} but on a busy machine, on demand", NOT_MEASURED
    answers = {"first": shown(FIRST), "second": shown(SECOND), "noise": EITHER}
    unit = "task" if found[0].task else "size"
    return regime, f"{name}, {card(found)}", answers.get(together(found), f"depends on the {unit}")


def memory(view: View, found: Sequence[Compared]) -> Row:
    """From the peak of tensors in training and the parameters, at equal hidden size on one backend."""
    alike = [one for one in found if one.pair.first.fact("hidden_size") == one.pair.second.fact("hidden_size")]
    peaks, sizes = [], []
    for one in alike:
        both = [view.seed_values(group, "peak_tensor_mib", "memory") for group in (one.pair.first, one.pair.second)]
        if all(len(values) for values in both):
            peaks.append(float(both[0].median() / both[1].median()))
        parameters = [group.fact("num_parameters") for group in (one.pair.first, one.pair.second)]
        if all(map(known, parameters)):
            sizes.append(float(parameters[0]) / float(parameters[1]))
    if not peaks:
        return "memory", NOT_MEASURED, NOT_MEASURED
    texts = [f"GRU at equal hidden size: {span(min(peaks), max(peaks), 2)} times the LSTM's peak in training"]
    if sizes:
        texts.append(f"{span(min(sizes), max(sizes), 2)} times its parameters")
    return "memory", ", ".join(texts), smaller(peaks)


def smaller(ratios: Sequence[float]) -> str:
    """The cell that needs less each time."""
    if all(ratio < 1 for ratio in ratios):
        return shown(FIRST)
    return shown(SECOND) if all(ratio > 1 for ratio in ratios) else "depends on the task or shape"
