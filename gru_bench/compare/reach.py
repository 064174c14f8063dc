"""How far back gradients reach, from what the probe ``gradient_reach`` measured of each run.

Names of its values, all of the split ``probe``: ``gradient_MOMENT`` by slice ``lag``, ``half_life_steps_MOMENT``,
``horizon_steps_MOMENT`` and ``longest_lag_steps_MOMENT``; see :mod:`gru_bench.probes.gradient_reach`. Half-lives and
horizons may be infinite, and differ by orders of magnitude, so seeds are summed up by medians and compared by ranks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gru_bench.compare.horizons import lags_of, records
from gru_bench.report.groups import family_rank
from gru_bench.report.markdown import known, number
from gru_bench.report.view import View
from gru_bench.store.schema import HORIZON

MOMENTS = ("start", "middle", "end")
LAG = "lag"
PROBE = "probe"


@dataclass(frozen=True)
class Rows:
    """Runs of one cell on one task whose gradients are put together.

    Attributes:
        name: As the row is called.
        budget: What was held equal.
        runs: Their ids.
        lag: At which they were trained, of runs that belong to a search; else None.
    """

    task: str
    family: str
    cell: str
    name: str
    budget: str
    runs: tuple[str, ...]
    lag: int | None = None


@dataclass(frozen=True)
class Reach:
    """The gradients of such runs at one moment of training.

    Attributes:
        by_lag: Share of the gradient that is left at each lag, one number a run.
        half_lives: In steps, one a run; infinite where they are longer than the longest lag.
        horizons: The largest lag at which a hundredth is left, likewise; infinite where more is left at every lag.
        longest_lag: The longest lag that the probe looked at.
    """

    rows: Rows
    moment: str
    by_lag: dict[int, list[float]]
    half_lives: list[float]
    horizons: list[float]
    longest_lag: float

    @property
    def curve(self) -> tuple[list[int], list[float], list[float], list[float]]:
        """Lags, and at each the median over the runs, the smallest and the largest."""
        lags = sorted(self.by_lag)
        of_lag = [self.by_lag[lag] for lag in lags]
        return lags, [float(np.median(v)) for v in of_lag], [min(v) for v in of_lag], [max(v) for v in of_lag]


def reaches(view: View) -> list[Reach]:
    """Every row and moment at which gradients were measured; rows in the order of the tables."""
    found: list[Reach] = view.remember("reaches", lambda: reaches_anew(view))
    return list(found)


def reaches_anew(view: View) -> list[Reach]:
    """The same, not remembered."""
    by_moment: dict[str, dict[int, dict[str, float]]] = {}
    for (split, metric, slice, value), by_run in view.measured.items():
        moment = metric.removeprefix("gradient_")
        if split == PROBE and slice == LAG and moment in MOMENTS and metric != moment:
            by_moment.setdefault(moment, {})[int(float(value))] = by_run
    measured = {run for by_lag in by_moment.values() for by_run in by_lag.values() for run in by_run}
    found = []
    for rows in [*compared_rows(view, measured), *searched_rows(view, measured)]:
        for moment in MOMENTS:
            by_lag = {
                lag: values
                for lag, by_run in sorted(by_moment.get(moment, {}).items())
                if (values := [by_run[run] for run in rows.runs if run in by_run])
            }
            if by_lag:
                half_lives, horizons, measured_to = (
                    of_runs(view, rows, f"{name}_steps_{moment}") for name in ("half_life", "horizon", "longest_lag")
                )
                longest = max(measured_to, default=max(by_lag))
                found.append(Reach(rows, moment, by_lag, within(half_lives, longest), horizons, longest))
    return found


def of_runs(view: View, rows: Rows, metric: str) -> list[float]:
    """One value a run, of those that have one."""
    by_run = view.measured.get((PROBE, metric, "", ""), {})
    return [by_run[run] for run in rows.runs if run in by_run and not math.isnan(by_run[run])]


def compared_rows(view: View, measured: set[str]) -> list[Rows]:
    """The rows of the tables."""
    return [
        Rows(task.task, group.family, group.cell, group.label, str(group.fact("budget") or ""), runs)
        for task in view.tasks
        for group in task.groups
        if (runs := tuple(run for run in group.finished["run_id"] if run in measured))
    ]


def searched_rows(view: View, measured: set[str]) -> list[Rows]:
    """Of a search for the longest lag, each cell's runs at the one lag that most cells visited, the longest of these.

    So that cells are compared at one task, whether they solve it or not: the seeds, or the trials where none followed.
    """
    lags = lags_of(view)
    runs = [run for run in records(view.searched) if run["run_id"] in measured and run["run_id"] in lags]
    found = []
    for task, budget in sorted({(str(run["task"]), str(run["budget"] or "")) for run in runs}):
        mine = [run for run in runs if (str(run["task"]), str(run["budget"] or "")) == (task, budget)]
        visitors: dict[int, set[str]] = {}
        for run in mine:
            visitors.setdefault(lags[run["run_id"]], set()).add(str(run["cell"]))
        lag = max(visitors, key=lambda lag: (len(visitors[lag]), lag))
        cells = {str(run["cell"]): str(run["family"]) for run in mine if lags[run["run_id"]] == lag}
        for cell in sorted(cells, key=lambda cell: (family_rank(cells[cell]), cell != cells[cell], cell)):
            of_cell = [run for run in mine if run["cell"] == cell and lags[run["run_id"]] == lag]
            chosen = [run for run in of_cell if run["role"] == HORIZON] or of_cell
            chosen.sort(key=lambda run: (int(run["seed"]) if known(run["seed"]) else -1, str(run["run_id"])))
            found.append(Rows(task, cells[cell], cell, cell, budget, tuple(str(r["run_id"]) for r in chosen), lag))
    return found


def rank_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Mann and Whitney's test that neither of two samples tends to be larger; 1 where one is empty."""
    if not first or not second or len({*first, *second}) == 1:
        return 1.0
    return float(stats.mannwhitneyu(first, second, alternative="two-sided").pvalue)


def within(half_lives: Sequence[float], longest: float) -> list[float]:
    """Half-lives, infinite where they are longer than any lag that was looked at: nothing tells those apart."""
    return [math.inf if value > longest else value for value in half_lives]


def half_life_text(value: float, longest: float) -> str:
    """``3.1``, or ``> 49`` beyond the longest lag that was looked at."""
    return f"> {longest:.0f}" if value > longest else number(value, 2)


def middle(values: Sequence[float]) -> float:
    """The median; of two middle values the mean, infinite with either of them."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
