"""Robustness: does the answer survive small changes of what it stands on?"""

from collections.abc import Sequence

import numpy as np

from gru_bench.compare.compared import Compared, by_budget, primary, secondary
from gru_bench.compare.evidence import Evidence
from gru_bench.compare.pairs import shown
from gru_bench.compare.robust import at_equal_seconds, comparable, fragile_seeds, over_tasks
from gru_bench.compare.wording import budget_text, flips, interval_text, row_name, signed
from gru_bench.report.markdown import Section, number, paragraphs, plural, table
from gru_bench.report.view import View
from gru_bench.statistics.across import Hierarchical, critical_difference, leave_one_out, probability_of_improvement
from gru_bench.statistics.looks import MIN_SEEDS

MOST_NAMED = 4
"""Tasks that are named in one cell of the table; of more only the number is given."""


def render(view: View, /) -> Section:
    """Answer: does the verdict survive without a task, a seed, at another budget, backend, or at equal seconds?

    Args:
        view: All runs.
    """
    every = primary(view)
    if not every:
        return Section("Robustness", "")
    found = next(iter(by_budget(every).values()))
    repeated = [one for one in secondary(view) if one.pair.cells == found[0].pair.cells]
    rows = [
        ["all tasks together", *together(found)],
        ["without one task", without_a_task(found)],
        ["without one seed", without_a_seed(found)],
        ["another budget", another_budget(every)],
        ["another backend", another_backend(found, repeated)],
        ["equal seconds of training, not equal steps", equal_seconds(view, found)],
        ["chance that one run beats another", improvement(found)],
        ["ranks of all cells", ranks([*found, *secondary(view)], found)],
    ]
    tasks = plural(len({one.task for one in found}), "task")
    note = f"*All of it stands on {tasks}. The tasks were chosen and are no random sample.*"
    rows = [row for row in rows if row[1]]
    unknown = [what for what, then in rows if then.startswith("not ")]
    if not unknown:
        return Section("Robustness", paragraphs(as_table(rows), note))
    seen = as_table([row for row in rows if row[0] not in unknown])
    brief = paragraphs(seen, f"Not known of these runs: {'; '.join(unknown)}.", note)
    return Section("Robustness", paragraphs(as_table(rows), note), brief=brief)


def as_table(rows: list[list[str]]) -> str:
    """A row a change; nothing without any."""
    return table(["what changes", "what then"], rows) if rows else ""


def names(found: Sequence[str]) -> str:
    """A few names, or how many there are."""
    return ", ".join(found) if len(found) <= MOST_NAMED else f"{len(found)} tasks"


def answer_name(one: Compared, answer: str) -> str:
    """An answer of statistics with the cells' names."""
    cells = {"first": shown(one.pair.first.cell), "second": shown(one.pair.second.cell)}
    return cells.get(answer, answer)


def mean_text(found: Hierarchical, one: Compared) -> str:
    """``GRU better by +1.2 margins (-0.3 to +2.7)``."""
    better = shown(one.pair.first.cell)
    bounds = interval_text(found.interval)
    return f"{better} better by {signed(found.value)} margins ({bounds}; tasks differ by {number(found.tau, 2)})"


def together(found: list[Compared]) -> list[str]:
    """The estimate over tasks in units of the margin."""
    whole = over_tasks(found)
    if whole is None or whole.num_tasks < 2:
        return ["not estimated: fewer than 2 tasks with a difference of means"]
    left = len(found) - len(comparable(found))
    return [
        mean_text(whole, found[0])
        + (f"; without {plural(left, 'comparison')} of shares or of one seed" if left else "")
    ]


def without_a_task(found: list[Compared]) -> str:
    """By how much the estimate over tasks moves when one is left out."""
    usable = {row_name(one): one for one in found if one in comparable(found)}
    if len(usable) < 3:
        return "not tested: it takes at least 3 tasks"
    left: dict[str, Hierarchical | None] = leave_one_out(usable, lambda rest: over_tasks(list(rest.values())))
    known = {task: value for task, value in left.items() if value is not None}
    low, high = (min(known, key=lambda task: side * known[task].value) for side in (1, -1))
    whole = over_tasks(list(usable.values()))
    turned = [task for task, value in known.items() if whole and clear(value) != clear(whole)]
    span = f"{signed(known[low].value)} (without {low}) to {signed(known[high].value)} (without {high}) margins"
    return f"{span}; " + (
        f"the answer over all tasks changes without {names(turned)}" if turned else "the answer over all tasks stays"
    )


def clear(value: Hierarchical) -> int:
    """On which side of zero an interval lies; 0 where it contains zero."""
    return (value.interval.low > 0) - (value.interval.high < 0)


def without_a_seed(found: list[Compared]) -> str:
    """Which verdicts hang on a single seed."""
    decided = [one for one in found if one.verdict.answer != "undecided"]
    if not decided:
        return "no verdict that could change"
    texts = []
    for one in decided:
        if fragile := fragile_seeds(one):
            seed, answer = next(iter(fragile.items()))
            more = f" or {len(fragile) - 1} others" if len(fragile) > 1 else ""
            texts.append(f"{row_name(one)} ({answer_name(one, answer)} without seed {seed}{more})")
    verdicts = "verdict stands" if len(decided) == 1 else "verdicts stand"
    stand = f"{len(decided) - len(texts)} of {len(decided)} {verdicts} without any one of its seeds"
    return f"{stand}; not: {', '.join(texts)}" if texts else stand


def another_budget(every: list[Compared]) -> str:
    """Whether the answers are the same at each budget."""
    budgets = by_budget(every)
    if len(budgets) < 2:
        return f"not run: all at {budget_text(next(iter(budgets)))}"
    return flips(every) or f"no decided answer differs between {' and '.join(map(budget_text, budgets))}"


def another_backend(found: list[Compared], repeated: list[Compared]) -> str:
    """Whether repeating the comparison on another backend gives the same answers."""
    if not repeated:
        used = ", ".join(dict.fromkeys(one.pair.backend for one in found if one.pair.backend))
        return f"not run: all on {used or 'one backend'}"
    main = {(one.task, one.pair.budget): one for one in found}
    both = [(main[key], one) for one in repeated if (key := (one.task, one.pair.budget)) in main]
    if not both:
        return "not run on the same tasks"
    turned = [
        f"{other.task} ({one.answer}, on {other.pair.backend} {other.answer})"
        for one, other in both
        if one.answer != other.answer
    ]
    same = f"the same answer in {len(both) - len(turned)} of {len(both)} repetitions"
    return f"{same}; not: {names(turned)}" if turned else same


def equal_seconds(view: View, found: list[Compared]) -> str:
    """Whether validation scores give another answer after equal seconds than after equal steps."""
    timed = [(one, at) for one in found if (at := at_equal_seconds(view, one)) is not None]
    if not timed:
        return (
            f"not known: it takes {MIN_SEEDS} seeds, validation curves, and training steps timed in pairs "
            "(`gru-bench time`) or runs that had the machine alone"
        )
    turned = [
        f"{row_name(one)} ({answer_name(one, at.steps)}, at equal seconds {answer_name(one, at.seconds)})"
        for one, at in timed
        if at.steps != at.seconds
    ]
    first, second = (shown(cell) for cell in found[0].pair.cells)
    ratios = [at.ratio for _, at in timed]
    low, high = number(min(ratios), 2), number(max(ratios), 2)
    cost = f"{first} took {low if low == high else f'{low} to {high}'} times the seconds of {second}"
    sources = ", ".join(dict.fromkeys(at.source for _, at in timed))
    same = f"the same answer by validation score on {len(timed) - len(turned)} of {plural(len(timed), 'comparison')}"
    return f"{same}{f'; not: {names(turned)}' if turned else ''} ({cost}; seconds from {sources})"


def oriented(one: Evidence, side: int) -> np.ndarray:
    """Scores of one side, higher is better."""
    return one.scores[side] * (1 if one.pair.task.higher_is_better else -1)


def improvement(found: list[Compared]) -> str:
    """Probability of improvement over tasks."""
    usable = [one for one in found if one.seeds and all(np.isfinite(side).all() for side in one.scores)]
    if not usable:
        return ""
    first, second = ([oriented(one, side) for one in usable] for side in (0, 1))
    chance = probability_of_improvement(first, second, np.random.default_rng(0))
    one, other = (shown(cell) for cell in found[0].pair.cells)
    if not chance.interval.known:
        return f"{100 * chance.value:.0f} % of the pairs of runs seen; they give no interval"
    ends = f"{100 * chance.interval.low:.0f} to {100 * chance.interval.high:.0f}"
    return f"{100 * chance.value:.0f} % ({ends}) that a run of {one} beats one of {other} on a task of these"


def ranks(every: list[Compared], found: list[Compared]) -> str:
    """Mean ranks of more than two cells over the tasks that all of them ran."""
    budget = found[0].pair.budget
    scores: dict[str, dict[str, float]] = {}
    for one in every:
        if one.pair.budget == budget and one.seeds:
            for side, cell in enumerate(one.pair.cells):
                scores.setdefault(row_name(one).split(" (share")[0], {}).setdefault(
                    cell, float(oriented(one, side).mean())
                )
    cells = sorted({cell for by_cell in scores.values() for cell in by_cell})
    full = [by_cell for by_cell in scores.values() if len(by_cell) == len(cells)]
    if len(cells) < 3 or len(full) < 2:
        return ""
    ranked = critical_difference([[by_cell[cell] for cell in cells] for by_cell in full])
    order = np.argsort(ranked.mean_ranks, kind="stable")
    texts = [f"{shown(cells[i])} {ranked.mean_ranks[i]:.1f}" for i in order]
    apart = f"less than {ranked.difference:.1f} apart is noise"
    return f"{', '.join(texts)} (mean over {plural(len(full), 'task')}, 1 is best; {apart})"
