"""Four verdicts over a family of comparisons: equivalent, first, second, undecided."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from gru_bench.errors import UserError
from gru_bench.statistics.crossed import Shares, Uncertain
from gru_bench.statistics.intervals import Interval
from gru_bench.statistics.looks import MIN_SEEDS, nominal_level, overall_level
from gru_bench.statistics.planning import SeedsNeeded, seeds_needed
from gru_bench.statistics.significance import check_margin, holm, holm_levels

K = TypeVar("K")
Answer = Literal["equivalent", "first", "second", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """The answer to one comparison, and what it stands on.

    ``interval`` is adjusted by Holm for the family and for repeated looks, and names its level; ``equivalence`` is the
    90 % interval, adjusted for looks alone. ``p`` is of a single look at this comparison alone, ``adjusted_p`` is to be
    held against alpha. ``exceeds_margin``: whether the whole interval lies beyond the margin; None without a margin.
    ``seeds_needed`` is given for what is undecided; where it is None, ``reason`` says why.
    """

    answer: Answer
    interval: Interval
    equivalence: Interval
    p: float
    adjusted_p: float
    exceeds_margin: bool | None
    seeds_needed: SeedsNeeded | None
    shares: Shares
    reason: str


def decide(
    estimates: Mapping[K, Uncertain],
    margins: Mapping[K, float | None],
    *,
    alpha: float = 0.05,
    looks: int | Mapping[K, int] = 1,
) -> dict[K, Verdict]:
    """The verdict of each comparison of one family; ``looks`` is the most looks that were planned.

    In this order: the 90 % interval inside ± margin: equivalent. The adjusted interval clear of zero: first or second.
    Else undecided. Below :data:`MIN_SEEDS` seeds, or without a finite difference: undecided, always. Without a margin
    nothing is equivalent. A comparison that cannot be decided yet still counts in the family, with p = 1.
    """
    if not 0 < alpha < 0.5:
        raise UserError(f"alpha={alpha}: a share between 0 and 0.5 is needed, such as 0.05")
    missing = [key for key in estimates if key not in margins]
    if missing:
        raise UserError(f"no margin for {missing}: a number for each comparison, or None where none is known")
    counts = {key: looks if isinstance(looks, int) else looks[key] for key in estimates}
    alone = {key: _usable_p(estimate) for key, estimate in estimates.items()}
    over_looks = {key: overall_level(p, counts[key]) for key, p in alone.items()}
    adjusted, levels = holm(over_looks), holm_levels(over_looks, alpha)
    verdicts: dict[K, Verdict] = {}
    for key, estimate in estimates.items():
        margin = margins[key]
        if margin is not None:
            check_margin(margin)
        level = nominal_level(levels[key], counts[key])
        # each of the two one-sided tests has alpha
        equivalence_level = nominal_level(2 * alpha, counts[key])
        verdicts[key] = _decide_one(estimate, margin, alone[key], adjusted[key], level, equivalence_level)
    return verdicts


def _usable_p(estimate: Uncertain) -> float:
    usable = math.isfinite(estimate.value) and estimate.num_seeds >= MIN_SEEDS
    return estimate.p_value() if usable else 1.0


def _decide_one(
    estimate: Uncertain, margin: float | None, p: float, adjusted_p: float, level: float, equivalence_level: float
) -> Verdict:
    interval, equivalence = estimate.interval(1 - level), estimate.interval(1 - equivalence_level)
    answer, reason = _answer(estimate, margin, interval, equivalence)
    needed = None
    if answer == "undecided":
        needed, why = seeds_needed(estimate, margin, level=level, equivalence_level=equivalence_level)
        reason += f"; {why}" if why and why not in reason else ""
    return Verdict(
        answer,
        interval,
        equivalence,
        p,
        adjusted_p,
        None if margin is None else interval.low > margin or interval.high < -margin,
        needed,
        (math.nan, math.nan, math.nan) if margin is None else estimate.shares(margin),
        reason,
    )


def _answer(estimate: Uncertain, margin: float | None, interval: Interval, equivalence: Interval) -> tuple[Answer, str]:
    if not math.isfinite(estimate.value):
        return "undecided", "the difference is not a finite number"
    if estimate.num_seeds < MIN_SEEDS:
        return "undecided", f"{estimate.num_seeds} of at least {MIN_SEEDS} seeds"
    if not interval.known:
        return "undecided", interval.method
    if margin is not None and equivalence.inside(margin):
        return "equivalent", f"the {equivalence.level:.3g} interval lies inside the margin"
    if interval.clear_of():
        return "first" if estimate.value > 0 else "second", f"the {interval.level:.4g} interval lies clear of zero"
    if margin is None:
        return "undecided", "the interval contains zero, and no margin is known"
    return "undecided", "the interval contains zero and reaches beyond the margin"
