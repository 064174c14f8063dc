"""The answer in three lines, from the same comparisons and sentences as the report's."""

from gru_bench.compare.bag_of_words import ANSWERS, Held, held, warning
from gru_bench.compare.compared import Compared, primary, secondary, sentence
from gru_bench.compare.nothing_learned import is_a_guess, nothing_learned
from gru_bench.compare.pairs import shown
from gru_bench.compare.wording import change, effect, n_text, row_name, short_of_examples, verdict_text
from gru_bench.report.groups import Group
from gru_bench.report.markdown import number
from gru_bench.report.view import View
from gru_bench.sections.choose import NOT_MEASURED, SPEEDS, memory, speed
from gru_bench.statistics.looks import MIN_SEEDS


def first_of_all(view: View) -> str:
    """That no cell beats a guess or a bag of words, which makes the question idle; nothing where one does."""
    return " ".join(filter(None, [nothing_learned(view), warning(view)])).replace("**", "")


def three_lines(view: View, by_word: float | None = None) -> list[str]:
    """Which cell, and by how much; against a guess; speed, memory, and what would change it.

    Args:
        view: All runs.
        by_word: Where words are tagged, what each word's own most frequent tag scores.
    """
    return [f"1. {which(view)}", f"2. {against_a_guess(view, by_word)}", f"3. {costs(view)}"]


def is_open(view: View) -> bool:
    """Whether more runs may decide something; not where no number of seeds would."""
    found = primary(view)
    return not found or any(
        one.verdict.answer == "undecided" and (one.verdict.seeds_needed or len(one.seeds) < MIN_SEEDS) for one in found
    )


def is_short_of_examples(view: View) -> bool:
    """Whether something is undecided that no number of seeds would decide."""
    return not is_open(view) and any(short_of_examples(one) for one in primary(view))


def which(view: View) -> str:
    """``undecided: GRU better by +0.012 (-0.02 to +0.05) accuracy; margin 0.01; 5 seeds; 40 examples``."""
    found = primary(view)
    if not found:
        return f"GRU or LSTM: {sentence(view)}"
    texts = [compared_text(one) for one in found]
    others = [
        f"{shown(one.pair.first.cell)} against {shown(one.pair.second.cell)}: {verdict_text(one)}"
        for one in secondary(view)
    ]
    return f"GRU or LSTM: {' '.join(texts)}" + (f" Other cells: {'; '.join(others)}." if others else "")


def compared_text(one: Compared) -> str:
    """One comparison in a sentence."""
    margin = f"margin {one.margin:g}" if one.margin else "no margin"
    first = shown(one.pair.first.cell)
    return f"{verdict_text(one)} on {row_name(one)}. {first} better by {effect(one)}; {margin}; {n_text(one)}."


def against_a_guess(view: View, by_word: float | None = None) -> str:
    """What each cell scores, and what a guess that looks at no input does, and one that looks at a word alone."""
    texts = []
    for task in view.tasks:
        outcomes = view.outcomes(task)
        scored = [(group, outcomes[group.label].typical) for group in task.groups if len(outcomes[group.label].seeds)]
        if not scored:
            continue
        told = ", ".join(f"{shown(group.cell)} {number(score)}" for group, score in scored)
        text = f"{task.metric}: {told}"
        if (guess := task.trivial_value) is not None:
            text += f"; the trivial guess {number(guess)}"
            if is_a_guess(view, task):
                text += f", which no cell beats by the {task.beats_trivial_by:g} that a useful model does"
        if by_word is not None:
            text += f"; each word's most frequent tag {number(by_word)}"
        texts.append(f"{text}{against_words([one for one in held(view) if one.task is task])}.")
    return " ".join(texts) or "No run of the comparison has finished, so there is no score yet."


def against_words(rows: list[Held]) -> str:
    """What a bag of words scores on the same rows, and whether each cell beats it; nothing without one."""
    if not rows:
        return ""
    first = rows[0]
    beats = "; ".join(f"{shown(one.group.cell)}: {ANSWERS[one.verdict.answer].replace(': ', ', ')}" for one in rows)
    return f"; a bag of words {number(first.baseline.test[first.task.metric])}. Better than that? {beats}"


def costs(view: View) -> str:
    """Which is faster, which needs less memory, and what would change the verdict."""
    parts = []
    for situation, regime in SPEEDS.items():
        _, seen, take = speed(view, situation, regime)
        parts.append(f"{regime}: {take}" + ("" if seen == NOT_MEASURED else f" ({seen})"))
    found = primary(view)
    _, seen, take = memory(view, found)
    parts.append(f"memory: {take}" + ("" if seen == NOT_MEASURED else f" ({seen})"))
    parts += [f"what would change the verdict: {change(one)}" for one in found]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def best_runs(view: View) -> list[tuple[str, str, float]]:
    """Of each cell the finished run that is best on validation data: cell, run id and that score."""
    found = []
    for task in view.tasks:
        seen = view.measured.get(("valid", task.metric, "", ""), {})
        for group in task.groups:
            if best := best_of(group, seen, bool(task.higher_is_better)):
                found.append((group.cell, *best))
    return found


def best_of(group: Group, seen: dict[str, float], higher_is_better: bool) -> tuple[str, float] | None:
    """The best of one row; None where none of its runs has a score."""
    scored = [(str(run), seen[run]) for run, _ in group.seeds if run in seen]
    if not scored:
        return None
    return (max if higher_is_better else min)(scored, key=lambda one: one[1])
