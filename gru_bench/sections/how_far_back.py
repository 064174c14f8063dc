"""How far back: which is the longest lag that most seeds of each cell solve?"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.compare.compared import BUDGETS, SECOND
from gru_bench.compare.horizons import Horizon, enough, horizons
from gru_bench.compare.pairs import shown
from gru_bench.compare.wording import budget_text
from gru_bench.report.figures import Look, handle, legend_below, line_variants, looks, panels, set_log, style
from gru_bench.report.groups import family_rank
from gru_bench.report.markdown import Section, paragraphs, table
from gru_bench.report.view import View
from gru_bench.store.schema import FAMILIES

TITLE = "How far back"
TEXT = (
    "The longest lag, in time steps, that at least {enough} of a cell's seeds solve, and the next one that was tried. "
    "A search bisects a grid of lags; at each lag every cell gets the same trials of learning rates, and the best rate "
    "goes on with the seeds. Solved: the best validation score is at the task's ceiling. A run that has not got there "
    "when its steps end, or that is given up, counts as not solved: a horizon is what a cell learns within these "
    "steps. The lag is the length of the sequence{adding}."
)
ADDING = "; in adding the marked numbers stand anywhere in it"
TRIALS = "Where no seeds followed the trials, the trials are shown (as 0 of 3 trials)."
SAME_RUNS = (
    "The LSTM is the reference of both budgets: its runs are the same in both columns, and no second piece of evidence."
)
DETAILS = "Steps, rates and intervals of each lag are in the details."
HEIGHT = 2.5
"""Inches of a row of panels."""
WANTED: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.2}
HOLLOW: dict[str, Any] = {"color": "0.35", "marker": "o", "markerfacecolor": "white", "linestyle": "none"}
ASIDE = 0.035
"""Neighbouring cells of a panel stand apart by this share of a lag, so that their intervals can be told apart."""


def render(view: View, /) -> Section:
    """Answer: which is the longest lag that most seeds of each cell solve?

    Args:
        view: All runs.
    """
    found = horizons(view)
    if not found:
        return Section(TITLE, "")
    parts = [f"**{answer(found)}**" if answer(found) else "", text(found)]
    for task in dict.fromkeys(one.task for one in found):
        mine = [one for one in found if one.task == task]
        parts += [f"### {task}" if len({one.task for one in found}) > 1 else "", short_table(mine)]
    parts.append("![Share of seeds that solve each lag, with 95 % intervals](figures/how_far_back.png)")
    return Section(TITLE, paragraphs(*parts), {"how_far_back": draw(view, found)})


def text(found: Sequence[Horizon]) -> str:
    """What is shown, as far as it is."""
    adding = ADDING if any(one.task.startswith("adding") for one in found) else ""
    trials = any(tried.of_trials for one in found for tried in one.tried)
    parts = [TEXT.format(enough=enough(found), adding=adding), TRIALS if trials else "", same_runs(found), DETAILS]
    return " ".join(filter(None, parts))


def same_runs(found: Sequence[Horizon]) -> str:
    """That the reference cell's runs stand under two budgets, where they do."""
    runs = {(one.task, one.budget): (one.facts.get("hidden_size"), one.tried) for one in found if one.name == SECOND}
    pairs = [(runs[place], runs.get((place[0], "state"))) for place in runs if place[1] == "parameters"]
    return SAME_RUNS if pairs and all(one == other for one, other in pairs) else ""


def answer(found: Sequence[Horizon]) -> str:
    """``adding, equal number of parameters: RNN 10, LSTM 100, GRU at least 600 time steps.``, each task and budget."""
    texts = []
    for task, budget in places(found):
        here = [one for one in found if (one.task, one.budget) == (task, budget) and one.of_cell in FAMILIES]
        for where in dict.fromkeys(one.where for one in here):
            mine = sorted((one for one in here if one.where == where), key=lambda one: family_rank(one.family))
            if len(mine) > 1:
                told = ", ".join(f"{shown(one.cell)} {one.text()}" for one in mine)
                place = ", ".join(filter(None, (task, budget_text(budget), where)))
                texts.append(f"{place}: {told} time steps.")
    return " ".join(texts)


def places(found: Sequence[Horizon]) -> list[tuple[str, str]]:
    """The different tasks and budgets: budgets in the order of the report."""
    order = [*BUDGETS, *sorted({one.budget for one in found} - BUDGETS.keys())]
    return sorted({(one.task, one.budget) for one in found}, key=lambda place: (place[0], order.index(place[1])))


def short_table(found: Sequence[Horizon]) -> str:
    """A row a cell, a column a budget."""
    budgets = [budget for _, budget in places(found)]
    named = {(one.name, one.budget): one for one in found}
    rows = [
        [name, *(named[name, budget].in_short() if (name, budget) in named else "not run" for budget in budgets)]
        for name in dict.fromkeys(one.name for one in sorted(found, key=rank))
    ]
    return table(["cell", *(budget_text(budget) for budget in budgets)], rows)


def rank(one: Horizon) -> tuple[object, ...]:
    """Families in their order, the reference cell first."""
    return family_rank(one.family), one.cell != one.family, one.name


def draw(view: View, found: Sequence[Horizon]) -> Figure:
    """A row of panels for each task and budget, one panel a family: share of seeds against lag."""
    families = sorted({one.family for one in found}, key=family_rank)
    cell_looks = looks(view)
    rows = places(found)
    lines = line_variants((one.family, one.name) for one in sorted(found, key=rank))
    cells = {one.name: one.cell for one in sorted(found, key=rank)}
    with style():
        figure, axes = panels(len(rows) * len(families), len(families), HEIGHT)
        for ax, (place, family) in zip(axes, [(p, f) for p in rows for f in families], strict=True):
            mine = [one for one in found if (one.task, one.budget) == place and one.family == family]
            task, budget = place
            for position, one in enumerate(mine):
                aside = (1 + ASIDE) ** (position - (len(mine) - 1) / 2)
                draw_cell(ax, one, cell_looks[one.cell], lines[one.name], aside)
            lags = [tried.lag for one in found if one.task == task for tried in one.tried]
            set_log(ax, "x", [float(lag) for lag in lags])
            ax.set_xlim(min(lags) / 1.25, max(lags) * 1.25)
            ax.set_ylim(-0.04, 1.04)
            for share in {one.share for one in found}:
                ax.axhline(share, **WANTED, zorder=1)
            ax.set_title(f"{task}: {shown(family)} family\n{budget_text(budget)}", loc="left")
            ax.set_xlabel("lag (time steps)")
            ax.set_ylabel("share of seeds that solve it")
            ax.label_outer()
        handles = [handle(cell_looks[cell], lines[name], name) for name, cell in cells.items()]
        handles.append(Line2D([], [], **WANTED, label=f"{enough(found)} of the seeds"))
        if any(tried.of_trials for one in found for tried in one.tried):
            handles.append(Line2D([], [], **HOLLOW, label="hollow: trials alone"))
        legend_below(figure, handles)
    return figure


def draw_cell(ax: Axes, one: Horizon, look: Look, variant: int, aside: float) -> None:
    """One cell's share by lag with Wilson's interval; hollow where only trials ran."""
    label = handle(look, variant, one.name)
    places = [tried.lag * aside for tried in one.tried]
    shares = [tried.share for tried in one.tried]
    below = [max(0.0, tried.share - tried.interval.low) for tried in one.tried]
    above = [max(0.0, tried.interval.high - tried.share) for tried in one.tried]
    ax.errorbar(places, shares, yerr=[below, above], color=look.color, linestyle=label.get_linestyle(), linewidth=1.3,
                elinewidth=0.9, capsize=1.5, zorder=2)  # fmt: skip
    for x, tried in zip(places, one.tried, strict=True):
        ax.plot([x], [tried.share], marker=look.marker, markersize=5.5, linestyle="none", zorder=3, clip_on=False,
                markerfacecolor="white" if tried.of_trials else look.color, markeredgecolor=look.color)  # fmt: skip
