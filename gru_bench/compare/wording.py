"""How a comparison is told: effect, interval, n, shares, and what would change the verdict."""

import math

from gru_bench.compare.compared import BUDGETS, Compared, by_budget
from gru_bench.compare.pairs import shown
from gru_bench.report.markdown import UNKNOWN, count, number, plural
from gru_bench.statistics.intervals import Interval
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.planning import MORE_EXAMPLES


def signed(value: float, digits: int = 2) -> str:
    """``+0.12``: a difference always shows which way it goes."""
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def interval_text(interval: Interval) -> str:
    """``-0.01 to +0.03``, or that nothing bounds it."""
    if not interval.known:
        return UNKNOWN
    return f"{signed(interval.low)} to {signed(interval.high)}"


def effect(one: Compared) -> str:
    """``+0.12 (+0.08 to +0.16) bits/char``."""
    if not math.isfinite(one.estimate.value):
        return UNKNOWN
    return f"{bounded(one.estimate.value, one.verdict.interval)} {one.unit}"


def bounded(value: float, interval: Interval) -> str:
    """``+0.12 (+0.08 to +0.16)``."""
    if not interval.known or interval.high == interval.low:
        return f"{signed(value)} ({interval_text(interval)})"
    # as many decimals as show half of the interval's width with two digits
    decimals = max(0, 1 - math.floor(math.log10((interval.high - interval.low) / 2)))
    shown_value, low, high = (f"{end:+,.{decimals}f}" for end in (value, interval.low, interval.high))
    return f"{shown_value} ({low} to {high})"


def n_text(one: Compared) -> str:
    """``5 seeds; 1,000 examples``."""
    seeds = plural(len(one.seeds), "seed")
    return f"{seeds}; {count(one.num_examples)} examples" if one.num_examples else seeds


def shares_text(one: Compared) -> str:
    """``8 / 90 / 2 %``: second better, no difference that matters, first better."""
    if any(map(math.isnan, one.verdict.shares)):
        return UNKNOWN
    return f"{' / '.join(f'{100 * share:.0f}' for share in one.verdict.shares)} %"


def verdict_text(one: Compared) -> str:
    """The answer, and of a winner whether the difference is one that matters."""
    if one.verdict.answer in ("equivalent", "undecided") or one.margin is None:
        return one.answer
    if one.verdict.exceeds_margin:
        return f"{one.answer}, by more than the margin"
    return f"{one.answer}, by less than the margin" if abs(one.estimate.value) < one.margin else one.answer


def change(one: Compared) -> str:
    """What would change the verdict."""
    verdict = one.verdict
    if not one.seeds:
        return "seeds that both cells ran"
    if verdict.answer == "undecided":
        if verdict.seeds_needed is None:
            least = f"at least {MIN_SEEDS} seeds; " if len(one.seeds) < MIN_SEEDS else ""
            return least + verdict.reason.rpartition("; ")[2]
        needed = verdict.seeds_needed
        spread = f" ({count(needed.low)} to {count(needed.high)})" if needed.low < needed.high else ""
        return f"about {count(needed.typical)} seeds{spread}"
    furthest = max(abs(verdict.equivalence.low), abs(verdict.equivalence.high))
    if not furthest:
        return "nothing that these runs show: no seed of one differs from that of the other"
    if verdict.answer == "equivalent":
        return f"a margin below {number(furthest, 2)}"
    return f"a margin above {number(furthest, 2)}"


def short_of_examples(one: Compared) -> bool:
    """Whether it is undecided, and no number of seeds would decide it."""
    return MORE_EXAMPLES in one.verdict.reason


def flips(found: list[Compared]) -> str:
    """Where two budgets give different answers, in a sentence; nothing where they never do."""
    texts = []
    for task in dict.fromkeys(one.task for one in found):
        answers: dict[str, list[str]] = {}
        for budget, of_budget in by_budget([one for one in found if one.task == task]).items():
            for one in of_budget:
                if one.answer != "undecided" and budget not in answers.setdefault(one.answer, []):
                    answers[one.answer].append(budget)
        if len(answers) > 1:
            told = [f"{answer} at {' and '.join(map(budget_text, budgets))}" for answer, budgets in answers.items()]
            texts.append(f"{task} ({', '.join(told)})")
    return f"The answer depends on what is held equal on {'; '.join(texts)}." if texts else ""


def budget_text(budget: str) -> str:
    """``equal hidden size``."""
    return BUDGETS.get(budget, budget or "an unknown budget")


def row_name(one: Compared) -> str:
    """The task, what sets the pair apart, and that shares are compared where they are."""
    return f"{one.pair.name} (share of seeds that solve it)" if one.kind == "share solved" else one.pair.name


def against(one: Compared) -> str:
    """``GRU against rnn_article``."""
    return f"{shown(one.pair.first.cell)} against {shown(one.pair.second.cell)}"
