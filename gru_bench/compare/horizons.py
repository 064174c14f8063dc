"""Memory horizons: the longest lag that a cell solves in most of its seeds, read from the runs of a search.

The runs of a search have a role (:data:`gru_bench.store.schema.RUN_FACTS`): trials choose a learning rate at each lag
that the search visits; runs with the role ``horizon`` follow, with that rate and with seeds of their own, and no
further once the share is out of reach (none where every trial failed, nor, in older stores, where none solved the lag).
A run solves its lag where its best validation score is at or past the task's ceiling. All or nothing: only counts and
medians are taken, never a mean.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from gru_bench.report.groups import family_rank
from gru_bench.report.markdown import known
from gru_bench.report.view import View
from gru_bench.statistics.intervals import Interval
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.success import Survival, boschloo, survival, wilson
from gru_bench.store.schema import DIVERGED, HORIZON, TRIAL

SHARE = 0.9
"""Of the seeds, which must solve a lag; of runs stored without the fact ``search_share``."""
SETTING = re.compile(r", (?=[^\s=,]+=)")
"""Between two settings of a run."""
ONE_SIDED = 0.025
"""Level at which one cell reaches further than another."""
LAG_SLICES = ("length", "lag", "distance")
"""Slices of the test data that tell at which lag a run without the fact ``trained_to`` was trained."""


@dataclass(frozen=True)
class Attempt:
    """One run at one lag.

    Attributes:
        steps: Optimizer steps until it solved the lag, or that it took in all.
    """

    seed: int
    rate: float
    solved: bool
    steps: float


@dataclass(frozen=True)
class Tried:
    """What a cell did at one lag.

    Attributes:
        lag: In time steps.
        attempts: One for each seed of the runs with the rate that the trials chose.
        trials: Those that chose the rate.
        passed: Whether enough seeds solved it; None where the search ended before that was known.
    """

    lag: int
    attempts: tuple[Attempt, ...]
    trials: tuple[Attempt, ...]
    passed: bool | None

    @property
    def counted(self) -> tuple[Attempt, ...]:
        """The runs whose share is shown: the trials where no seeds followed."""
        return self.attempts or self.trials

    @property
    def of_trials(self) -> bool:
        """Whether only trials were run."""
        return not self.attempts

    @property
    def num_solved(self) -> int:
        return sum(attempt.solved for attempt in self.counted)

    @property
    def num(self) -> int:
        return len(self.counted)

    @property
    def num_seeds(self) -> int:
        """Different seeds among them: trials at several rates on one seed say little more than one of them."""
        return len({attempt.seed for attempt in self.counted})

    @property
    def share(self) -> float:
        return self.num_solved / self.num

    @property
    def interval(self) -> Interval:
        """Wilson's, 95 %. Trials differ in their rate too, so that theirs is a rough one."""
        return wilson(self.num_solved, self.num)

    @cached_property
    def steps(self) -> Survival:
        """Steps to solve it, where runs that did not are cut off at their last step."""
        return survival([one.steps for one in self.counted], [one.solved for one in self.counted])

    def counts(self) -> str:
        """``3 of 8``, and that they were trials where they were."""
        return f"{self.num_solved} of {self.num}{' trials' if self.of_trials else ''}"

    @property
    def rate(self) -> float | None:
        """The learning rate of the runs, where trials chose one."""
        return self.attempts[0].rate if self.attempts else None


@dataclass(frozen=True)
class Horizon:
    """How far one cell came on one task.

    Attributes:
        of_cell: The cell, and its own settings where others of the same cell have different ones.
        where: Other settings in which the rows of the task differ, such as ``backend vendor``; mostly empty.
        budget: What was held equal.
        facts: Of its runs, such as ``hidden_size``.
        tried: By lag, ascending; never empty.
        share: Of the seeds, which must solve a lag.
    """

    task: str
    family: str
    cell: str
    of_cell: str
    budget: str
    facts: Mapping[str, Any] = field(repr=False)
    tried: tuple[Tried, ...] = ()
    where: str = ""
    share: float = SHARE

    @property
    def name(self) -> str:
        """What sets it apart from all others of its task and budget."""
        return f"{self.of_cell}, {self.where}" if self.where else self.of_cell

    @property
    def longest(self) -> Tried | None:
        """The longest lag that enough seeds solve in their stepsd."""
        return next((one for one in reversed(self.tried) if one.passed), None)

    @property
    def lag(self) -> int:
        """Its lag; 0 where none was solved."""
        return self.longest.lag if self.longest else 0

    @property
    def next(self) -> Tried | None:
        """The shortest lag beyond it that was tried."""
        return next((one for one in self.tried if one.lag > self.lag), None)

    @property
    def is_open(self) -> bool:
        """Whether no longer lag is known to be unsolved: the horizon may lie further away."""
        return not any(one.passed is False and one.lag > self.lag for one in self.tried)

    @property
    def skipped(self) -> list[int]:
        """Lags below the horizon that were not solved: bisection takes for granted that there are none."""
        return [one.lag for one in self.tried if one.passed is False and one.lag < self.lag]

    def text(self) -> str:
        """``200``; ``at least 400``, ``not 25``; ``not known``."""
        if self.longest is None:
            return "not known" if self.is_open else f"not {self.tried[0].lag}"
        return f"at least {self.lag}" if self.is_open else f"{self.lag}"

    def in_short(self) -> str:
        """``200 (10 of 10; 400: 3 of 8)``, ``not 12 (7 of 10)``: also what happened at the next lag that was tried."""
        if self.longest is None and self.next is not None and not self.is_open:
            return f"{self.text()} ({self.next.counts()})"
        seen = [self.longest.counts()] if self.longest else []
        seen += [f"{self.next.lag}: {self.next.counts()}"] if self.next else []
        return f"{self.text()} ({'; '.join(seen)})" if seen else self.text()

    @property
    def reach(self) -> int:
        """The longest lag that more than half of all seeds solve, as far as Wilson's interval tells; 0 for none."""
        return max((one.lag for one in self.tried if one.interval.low > 0.5), default=0)


def enough(found: Iterable[Horizon]) -> str:
    """``90 %``: the shares of the seeds that must solve a lag."""
    return " or ".join(f"{100 * share:g}" for share in sorted({one.share for one in found})) + " %"


Order = Literal["further", "nearer", "alike", "undecided"]


def compared(one: Horizon, other: Horizon) -> Order:
    """Whether the first cell reaches further than the second; see :func:`further`.

    Alike are two cells with the same longest lag, which most seeds of both clearly solve, neither of which reaches
    further.
    """
    ahead, behind = further(one, other), further(other, one)
    if ahead != behind:
        return "further" if ahead else "nearer"
    return "alike" if not ahead and one.lag == other.lag == one.reach == other.reach > 0 else "undecided"


def further(one: Horizon, other: Horizon) -> bool:
    """Whether at the shortest lag that the second cell does not solve, more seeds of the first one do.

    By Boschloo's exact test of the two shares, one-sided at 2.5 %. The first cell's share is that at the same lag or,
    where it was not tried there, at the next longer one. Trials that no seeds followed count as one seed for each of
    theirs.
    """
    failed = other.next
    if failed is None or failed.passed is not False:
        return False
    there = next((tried for tried in one.tried if tried.lag >= failed.lag), None)
    if there is None or there.of_trials or there.num < MIN_SEEDS:
        return False
    return boschloo(there.num_solved, there.num, failed.num_solved, failed.num_seeds, "greater") <= ONE_SIDED


def horizons(view: View) -> list[Horizon]:
    """Every row of the searches for a longest lag: by task, budget, family and cell."""
    found: list[Horizon] = view.remember("horizons", lambda: horizons_anew(view))
    return list(found)


def horizons_anew(view: View) -> list[Horizon]:
    """The same, not remembered."""
    lags, reached = lags_of(view), steps_to_ceiling(view)
    runs = [run for run in records(view.searched) if counted(run) and run["run_id"] in lags]
    rows: dict[tuple[str, str, str, str, tuple[str, ...]], list[dict[str, Any]]] = {}
    searched = tasks_searched(view, runs, lags)
    for run in runs:
        if run["task"] in searched:
            own, others = settings_of(run, lags[run["run_id"]])
            key = (str(run["task"]), str(run["budget"] or ""), str(run["cell"]), own, others)
            rows.setdefault(key, []).append(run)
    planned = {
        task: most_seeds(run for key, of_row in rows.items() if key[0] == task for run in of_row) for task in searched
    }
    found = []
    for (task, budget, cell, own, others), of_row in rows.items():
        by_lag: dict[int, list[dict[str, Any]]] = {}
        for run in of_row:
            by_lag.setdefault(lags[run["run_id"]], []).append(run)
        tried = tuple(tried_at(lag, by_lag[lag], reached, planned[task], view) for lag in sorted(by_lag))
        family = next((str(run["family"]) for run in of_row if known(run["family"])), "")
        facts = {name: next((r[name] for r in of_row if known(r[name])), None) for name in ("hidden_size", "ceiling")}
        alike = [key[4] for key in rows if key[0] == task]
        where = ", ".join(text for place, text in enumerate(others) if text and len({a[place] for a in alike}) > 1)
        of_cell, share = f"{cell} ({own})" if own else cell, design(of_row, 0)[1]
        found.append(Horizon(task, family, cell, of_cell, budget, facts, tried, where, share))
    return sorted(found, key=place)


def counted(run: Mapping[str, Any]) -> bool:
    """Whether a run says how far its cell reaches: it finished, or its loss was lost; other failures are faults."""
    ended = run["status"] == "finished" or (run["status"] == "failed" and str(run["error"]).startswith(DIVERGED))
    return ended and known(run["seed"])


def tasks_searched(view: View, runs: Sequence[Mapping[str, Any]], lags: Mapping[str, int]) -> set[str]:
    """The tasks on which a longest lag was looked for.

    Known by the facts of the search; else by the role, or by trials at several lags with nothing that they chose a rate
    for: a search for a rate alone has trials too.
    """
    found = {str(run["task"]) for run in runs if run["role"] == HORIZON or known(run["search_seeds"])}
    levels: dict[str, set[int]] = {}
    for run in runs:
        levels.setdefault(str(run["task"]), set()).add(lags[run["run_id"]])
    return found | {task for task, of_task in levels.items() if len(of_task) > 1} - set(view.runs["task"])


def settings_of(run: Mapping[str, Any], lag: int) -> tuple[str, tuple[str, ...]]:
    """What sets a run's row apart from others: settings of its cell, and size, layers, backend and other settings.

    What the search varies is none of them: its key or, in stores without that fact, settings whose value is the lag.
    """
    key = str(run["search_key"]) if known(run["search_key"]) else ""
    own: list[str] = []
    others: list[str] = []
    for text in filter(None, SETTING.split(str(run["settings"]) if known(run["settings"]) else "")):
        name, _, value = text.partition("=")
        if name != key if key else value.strip("[] ") != str(lag):
            (own if name.startswith("cell.") else others).append(text)
    size, layers = (f"{int(run[name])}" if known(run[name]) else "" for name in ("hidden_size_asked", "num_layers"))
    backend = str(run["backend"]) if known(run["backend"]) else ""
    named = (("hidden size", size), ("layers", layers), ("backend", backend))
    return ", ".join(own), (*(f"{name} {value}" if value else "" for name, value in named), ", ".join(others))


def records(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Runs with their facts by name."""
    return [{str(name): value for name, value in run.items()} for run in runs.to_dict("records")]


def place(horizon: Horizon) -> tuple[Hashable, ...]:
    """Where a row stands."""
    rank = family_rank(horizon.family)
    return horizon.task, horizon.budget, rank, horizon.cell != horizon.family, horizon.name


def most_seeds(runs: Iterable[Mapping[str, Any]]) -> int:
    """The number of seeds that a lag gets which is solved, where no run has it: the most of any lag of the task."""
    numbers = Counter((run["group_key"], run["role"]) for run in runs)
    return max((number for (_, role), number in numbers.items() if role == HORIZON), default=0)


def design(runs: Iterable[Mapping[str, Any]], most: int) -> tuple[int, float]:
    """How many seeds a search gives a lag, and which share of them must solve it: as the search with most seeds says.

    Args:
        runs: Of one row.
        most: The seeds where no run has the fact.
    """
    stored = [(int(run["search_seeds"]), float(run["search_share"])) for run in runs if known(run["search_seeds"])]
    return max(stored, default=(most, SHARE))


def tried_at(
    lag: int, runs: Sequence[Mapping[str, Any]], reached: Mapping[str, float], planned: int, view: View
) -> Tried:
    """What the runs of a row at one lag say."""
    by_key: dict[tuple[str, str], dict[int, Attempt]] = {}
    for run in runs:
        steps = view.measured.get(("train", "steps", "", ""), {}).get(run["run_id"], 0.0)
        at = reached.get(run["run_id"])
        attempt = Attempt(int(run["seed"]), float(run["learning_rate"]), at is not None, steps if at is None else at)
        by_key.setdefault((run["role"], str(run["group_key"])), {})[attempt.seed] = attempt
    trials = [attempt for (role, _), seeds in by_key.items() if role == TRIAL for attempt in seeds.values()]
    chosen = [tuple(seeds.values()) for (role, _), seeds in sorted(by_key.items()) if role == HORIZON]
    attempts = max(chosen, key=lambda seeds: (len(seeds), sum(one.solved for one in seeds)), default=())
    trials.sort(key=lambda one: (one.rate, one.seed))
    return Tried(lag, attempts, tuple(trials), passed(attempts, trials, *design(runs, planned)))


def passed(attempts: Sequence[Attempt], trials: Sequence[Attempt], planned: int, share: float = SHARE) -> bool | None:
    """Whether enough seeds solve a lag; None where not all of those planned were run and it is open.

    Args:
        attempts: The seeds.
        trials: Those that chose the rate.
        planned: Seeds that a solved lag gets.
        share: Of them, that must solve it.
    """
    if not attempts:
        return None if any(one.solved for one in trials) else False
    failures = sum(not one.solved for one in attempts)
    if failures > planned - math.ceil(share * planned - 1e-9):
        return False
    return True if len(attempts) >= planned else None


def lags_of(view: View) -> dict[str, int]:
    """The lag of each run of a search: what it was trained at, else the only one that it was tested at."""
    tested: dict[str, set[str]] = {}
    wanted = set(view.searched["run_id"])
    for (split, _, slice, value), by_run in view.measured.items():
        if split == "test" and slice in LAG_SLICES:
            for run in by_run.keys() & wanted:
                tested.setdefault(run, set()).add(value)
    found = {run: int(float(next(iter(values)))) for run, values in tested.items() if len(values) == 1}
    return found | {
        run: int(level)
        for run, level in zip(view.searched["run_id"], view.searched["trained_to"], strict=True)
        if known(level)
    }


def steps_to_ceiling(view: View) -> dict[str, float]:
    """Of each run of a search that solved its lag, the step of the first validation score at or past the ceiling."""
    facts = {run["run_id"]: run for run in records(view.searched)}
    curves = view.curves[view.curves["run_id"].isin(facts.keys())].sort_values("step")
    first: dict[str, float] = {}
    columns = (curves[name].tolist() for name in ("run_id", "metric", "step", "value"))
    for run_id, metric, step, value in zip(*columns, strict=True):
        run = facts[run_id]
        if metric == f"valid/{run['primary_metric']}" and run_id not in first and at_ceiling(run, value):
            first[run_id] = float(step)
    for run_id, run in facts.items():  # a store without curves has the best score and its step
        best = view.measured.get(("valid", str(run["primary_metric"]), "", ""), {}).get(run_id)
        if run_id not in first and best is not None and at_ceiling(run, best):
            step = view.measured.get(("train", "best_step", "", ""), {}).get(run_id)
            first[run_id] = float(step if step is not None else math.nan)
    return first


def at_ceiling(run: Mapping[str, Any], score: float) -> bool:
    """Whether a score of a run has nothing left to gain."""
    if not known(run["ceiling"]) or not known(run["primary_higher_is_better"]):
        return False
    sign = 1 if str(run["primary_higher_is_better"]).lower() in ("true", "1") else -1
    return sign * (score - float(run["ceiling"])) >= 0
