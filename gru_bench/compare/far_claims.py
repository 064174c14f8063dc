"""The article's claims on long dependencies, held against memory horizons and gradients.

Each function returns None where there are no runs that bear on its claim. Which cell reaches further is said by
:func:`gru_bench.compare.horizons.compared`; each budget of each task is judged by itself. Half-lives of gradients are
compared by ranks over the runs (Mann and Whitney), with Holm's adjustment over the comparisons of the claim; those that
are longer than the lags that were looked at tie.
"""

import re
from collections.abc import Sequence

from gru_bench.compare.claim import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED, Claim, overall
from gru_bench.compare.compared import ALPHA, BUDGETS, FIRST, SECOND
from gru_bench.compare.horizons import ONE_SIDED, Horizon, Order, compared, enough, horizons
from gru_bench.compare.pairs import shown
from gru_bench.compare.reach import Reach, half_life_text, middle, rank_p, reaches, within
from gru_bench.report.view import View
from gru_bench.statistics.significance import holm

PLAIN, GATED = "rnn", (SECOND, FIRST)
WITHOUT_RESET, PRINTED = "gru_no_reset", "gru_article"
WITH_RESET = (FIRST, "gru_reset_before")
FEWEST_RUNS = 3
"""Of a cell, for a verdict on its gradients: the test is exact, and a lag that is not solved may have trials alone."""
CLEAR = 2.0
"""Times as long as the shorter half-life the longer one is at least, for a verdict."""
TEST = "longest lag that enough seeds solve in their steps"
TEXT = (
    "Horizons: {enough} of the seeds are enough. A cell reaches further than another where a larger share of its seeds "
    "solves the shortest lag that the other one does not (Boschloo's exact test, one-sided at "
    f"{100 * ONE_SIDED:g} %, not adjusted); where no seeds followed the trials it counts as one seed for each seed of "
    f"the trials. The lag is chosen by the data and sampling stops early, so the {100 * ONE_SIDED:g} % is nominal."
)
GRADIENTS = (
    "Gradients: a half-life is that of the share of the gradient which is left so many steps back; shorter by Mann and "
    f"Whitney's test over the runs (seeds, or trials at several rates where none followed), at {100 * ALPHA:g} % with "
    f"Holm's adjustment, with at least {FEWEST_RUNS} runs a cell, where the longer one is at least {CLEAR:g} times as "
    "long. Half-lives beyond the longest lag that was looked at are not told apart."
)


def text(view: View) -> str:
    """What decides on horizons."""
    return TEXT.format(enough=enough(horizons(view)))


def by_place(view: View) -> dict[tuple[str, str, str], dict[str, Horizon]]:
    """The horizons of each task, budget and other settings, by the cell and its own settings."""
    found: dict[tuple[str, str, str], dict[str, Horizon]] = {}
    order = [*BUDGETS]
    for one in sorted(
        horizons(view), key=lambda one: (one.task, order.index(one.budget) if one.budget in order else 9)
    ):
        found.setdefault((one.task, one.budget, one.where), {})[one.of_cell] = one
    return found


def told(places: Sequence[tuple[tuple[str, str, str], Sequence[Horizon]]]) -> str:
    """``adding, budget parameters: RNN 10 (9 of 10; 25: 3 of 6), GRU at least 400 (10 of 10)``, by task and budget."""
    texts = []
    for (task, budget, where), cells in places:
        place = ", ".join(filter(None, (task, f"budget {budget}" if budget else "", where)))
        texts.append(f"{place}: {', '.join(f'{shown(one.of_cell)} {one.in_short()}' for one in cells)}")
    return "; ".join(texts)


def verdict(answers: dict[str, str]) -> str:
    """As :func:`overall`; answers may differ by budget and cell as well as by task, so that they are comparisons."""
    whole = overall(answers).replace("depends on the task", "depends on the task, budget or cell")
    return re.sub(r" on (\d+)", rf" on \1 of {len(answers)} comparisons", whole, count=1)


def plain_fails(view: View, claim: str) -> Claim | None:
    """Whether some gated cell reaches further than the plain RNN; contradicted where it reaches as far as each."""
    answers, places = {}, []
    for place, cells in by_place(view).items():
        gated = [cells[name] for name in GATED if name in cells]
        if PLAIN not in cells:
            continue
        places.append((place, [cells[PLAIN], *gated]))
        if gated:
            found = {compared(one, cells[PLAIN]) for one in gated}
            if "further" in found:
                answers[str(place)] = SUPPORTED
            else:
                answers[str(place)] = CONTRADICTED if found <= {"nearer", "alike"} else UNDECIDED
        else:
            answers[str(place)] = UNDECIDED
    if not places:
        return None
    return Claim(claim, f"{TEST}: RNN against LSTM and GRU", told(places), verdict(answers))


def gates_solve(view: View, claim: str) -> Claim | None:
    """Whether LSTM and GRU each reach further than the plain RNN, or as far as was looked.

    Contradicted where one solves no lag that was tried, or the plain RNN reaches as far or further.
    """
    answers, places = {}, []
    for place, cells in by_place(view).items():
        gated = [cells[name] for name in GATED if name in cells]
        for one in gated:
            order: Order = compared(one, cells[PLAIN]) if PLAIN in cells else "undecided"
            key = f"{place} {one.name}"
            if one.longest is not None and (order == "further" or (one.is_open and one.next is None)):
                answers[key] = SUPPORTED
            elif order in ("nearer", "alike") or (one.longest is None and not one.is_open):
                answers[key] = CONTRADICTED
            else:
                answers[key] = UNDECIDED
        if gated:
            places.append((place, [*gated, *([cells[PLAIN]] if PLAIN in cells else [])]))
    if not places:
        return None
    return Claim(claim, f"{TEST}: LSTM and GRU against RNN, or to the end of the grid", told(places), verdict(answers))


def reset_harms(view: View, claim: str) -> Claim | None:
    """Whether the GRU without a reset gate reaches further than those with one; contradicted where it reaches less far.

    Equal horizons leave it open: ten seeds show no difference of shares below a quarter, and where both reach the end
    of the grid nothing longer was tried.
    """
    test = f"{TEST}: GRUs with reset gate against one without"
    return which_is_further(view, claim, test, WITHOUT_RESET, WITH_RESET, further=SUPPORTED, nearer=CONTRADICTED)


def as_printed(view: View, claim: str) -> Claim | None:
    """Whether the printed GRU reaches as far as the real one; contradicted where either reaches further."""
    test = f"{TEST}: GRU against the printed one"
    return which_is_further(view, claim, test, PRINTED, (FIRST,), further=CONTRADICTED, nearer=CONTRADICTED)


def lstm_for_long(view: View, claim: str) -> Claim | None:
    """Whether the LSTM reaches further than the GRU; contradicted where the GRU does."""
    test = f"{TEST}: LSTM against GRU"
    return which_is_further(view, claim, test, FIRST, (SECOND,), further=CONTRADICTED, nearer=SUPPORTED)


def which_is_further(
    view: View, claim: str, test: str, cell: str, others: Sequence[str], *, further: str, nearer: str
) -> Claim | None:
    """One cell's horizons against others'; undecided where neither reaches further.

    Args:
        view: All runs.
        claim: Its words.
        test: Likewise.
        cell: Told last.
        others: Those that it is held against.
        further: What follows where the cell reaches further than another.
        nearer: What follows where it reaches less far.
    """
    meaning = {"further": further, "nearer": nearer}
    answers, places = {}, []
    for place, cells in by_place(view).items():
        there = [cells[name] for name in others if name in cells]
        if cell in cells and there:
            places.append((place, [*there, cells[cell]]))
            for one in there:
                answers[f"{place} {one.name}"] = meaning.get(compared(cells[cell], one), UNDECIDED)
    return Claim(claim, test, told(places), verdict(answers)) if places else None


def gradients_vanish(view: View, claim: str) -> Claim | None:
    """Whether the gradient's half-life is shorter in the plain RNN than in LSTM and GRU, at the start and at the end.

    Contradicted where it is longer. Where start and end differ, both are said.
    """
    rows = rows_by_moment(view)
    tests = {
        (place, moment, name): (cells[PLAIN], cells[name])
        for (place, moment), cells in rows.items()
        for name in GATED
        if name in cells
    }
    if not tests:
        return None
    adjusted = holm({key: rank_p(*in_common(plain, gated)) for key, (plain, gated) in tests.items()})
    answers: dict[str, dict[str, str]] = {}
    for key, (plain, gated) in tests.items():
        answers.setdefault(key[1], {})[str(key)] = shorter(plain, gated, adjusted[key])
    verdicts = {moment: verdict(of_moment) for moment, of_moment in answers.items()}
    if len(set(verdicts.values())) == 1:
        whole = next(iter(verdicts.values()))
    else:
        whole = ", ".join(f"{which} at the {moment}" for moment, which in verdicts.items())
    test = (
        "half-life of the gradient in steps (shorter or longer; no test of the cause), RNN against LSTM and GRU, at "
        "the start and the end of training"
    )
    return Claim(claim, test, half_lives(rows), whole)


def rows_by_moment(view: View) -> dict[tuple[str, str], dict[str, Reach]]:
    """By task (with its budget) and moment the plain RNN's gradients and those of LSTM and GRU.

    Of several rows of a cell, such as rates, the one with most runs stands for it.
    """
    rows: dict[tuple[str, str], dict[str, Reach]] = {}
    for one in reaches(view):
        if one.half_lives and one.moment in ("start", "end") and one.rows.cell in (PLAIN, *GATED):
            place = f"{one.rows.task}, budget {one.rows.budget}" if one.rows.budget else one.rows.task
            cells = rows.setdefault((place, one.moment), {})
            best = cells.get(one.rows.cell)
            if best is None or len(one.half_lives) > len(best.half_lives):
                cells[one.rows.cell] = one
    return {key: cells for key, cells in rows.items() if PLAIN in cells and len(cells) > 1}


def in_common(plain: Reach, gated: Reach) -> tuple[list[float], list[float]]:
    """The half-lives of both, as far as both were looked at."""
    longest = min(plain.longest_lag, gated.longest_lag)
    return within(plain.half_lives, longest), within(gated.half_lives, longest)


def shorter(plain: Reach, gated: Reach, p: float) -> str:
    """What one comparison of half-lives says."""
    first, second = in_common(plain, gated)
    if min(len(first), len(second)) < FEWEST_RUNS or p > ALPHA:
        return UNDECIDED
    longest = min(plain.longest_lag, gated.longest_lag)  # what lies beyond it is at least so long
    one, other = (min(middle(values), longest) for values in (first, second))
    if max(one, other) < CLEAR * min(one, other):
        return UNDECIDED
    return SUPPORTED if one < other else CONTRADICTED


def half_lives(rows: dict[tuple[str, str], dict[str, Reach]]) -> str:
    """``adding, budget hidden, start: RNN 1.3, LSTM 0.9, GRU 1.1 (n = 5)``, each task and moment."""
    texts = []
    for (place, moment), cells in rows.items():
        told_cells = [
            f"{shown(name)} {half_life_text(middle(cells[name].half_lives), cells[name].longest_lag)}"
            for name in (PLAIN, *GATED)
            if name in cells
        ]
        counts = sorted({len(one.half_lives) for one in cells.values()})
        n = " .. ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
        texts.append(f"{place}, {moment}: {', '.join(told_cells)} (n = {n})")
    return "; ".join(texts)


def untested(claim: str) -> Claim:
    """The claim about gradients without any that were measured."""
    return Claim(claim, "gradients by distance", "gradients are not measured", NOT_TESTED)
