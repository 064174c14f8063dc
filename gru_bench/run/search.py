"""Which runs a search needs next, or what it has found: pure functions of how the runs went that are known by now.

Two searches, each for one row (a cell with a task, a budget ...):

- ``tried``: every learning rate on trial seeds of their own; the best one goes on with the seeds of the comparison.
- ``horizon``: the same at several lags of an ascending grid, for the longest lag that is solved in a given share of
  the seeds. It bisects, so it takes for granted that a row which solves a lag solves every shorter one. At each lag
  that it visits each row gets the same trials; the best rate goes on with seeds of its own, a few at first, and no
  further once the share is out of reach. Trials alone decide nothing: they share a seed, and choose the rate.

Nothing is kept between rounds: a search is played again from what is known, so that it goes on after an interruption.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gru_bench.store.schema import HORIZON, TRIAL


@dataclass(frozen=True)
class Attempt:
    """How one run went.

    Attributes:
        solved_at: The optimizer step at which the validation score had reached the task's ceiling; None if never.
        score: Best validation score in the direction in which higher is better; ``-inf`` for a run that failed.
        seconds: That it took.
    """

    solved_at: int | None
    score: float
    seconds: float = math.nan


FAILED = Attempt(None, -math.inf)


@dataclass(frozen=True)
class Wanted:
    """One run of a row.

    Attributes:
        lag: None in a search without lags.
        rate: Learning rate.
        seed: Of the run.
        role: ``trial``, ``horizon``, or nothing for one that is compared with others.
    """

    lag: int | None
    rate: float
    seed: int
    role: str = ""


Known = Callable[[Wanted], Attempt | None]
"""How a run went, or None where it has not been run."""


@dataclass(frozen=True)
class Stored:
    """One run that the store has.

    Attributes:
        attempt: How it went.
        status: ``finished``, ``failed`` or ``unsupported``.
        error: Why it did not finish; empty where it did, or where it diverged, which is a result.
        ceiling: The score from which it was to count as solved.
    """

    attempt: Attempt
    status: str
    error: str
    ceiling: float


Went = Mapping[tuple[str, int], Stored]
"""Runs by ``group_key`` and seed."""


class Read(Protocol):
    """Reads the store."""

    def __call__(self, uri: str, experiment: str) -> Went:
        """The runs that have ended, one of each key; nothing where the experiment has none yet."""


@dataclass(frozen=True)
class Design:
    """What a search tries. All rows of a sweep share the trials; each has its own seeds.

    Attributes:
        rates: Learning rates, ascending.
        trial_seeds: On which each of them is tried.
        seeds: Of the runs with the best rate.
        lags: Ascending; none for a search without.
        share: Of the seeds that must solve a lag.
    """

    rates: tuple[float, ...]
    trial_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    lags: tuple[int, ...] = ()
    share: float = 0.9

    @property
    def failures_allowed(self) -> int:
        """How many seeds may fail at a lag that counts as solved."""
        return len(self.seeds) - math.ceil(self.share * len(self.seeds) - 1e-9)


@dataclass(frozen=True)
class Visit:
    """One lag, or the whole of a search without lags.

    Attributes:
        lag: None in a search without.
        rate: The best of the trials; None where they are not complete, or none will do.
        solved: Seeds beside the trials' that solved it.
        tried: Seeds beside the trials' that ran.
        passed: Whether enough seeds solved it; None while that is open.
        wanted: Runs that are to come next.
    """

    lag: int | None
    rate: float | None = None
    solved: int = 0
    tried: int = 0
    passed: bool | None = None
    wanted: tuple[Wanted, ...] = ()


@dataclass(frozen=True)
class Found:
    """How far the search for one row has come.

    Attributes:
        visits: In their order.
        solved: The longest lag that is known to be solved; None for none yet.
        unsolved: The shortest that is known not to be; None for none yet.
        wanted: Runs that are to come next; none once the search has ended.
    """

    visits: tuple[Visit, ...]
    solved: int | None = None
    unsolved: int | None = None

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        return self.visits[-1].wanted


def search(design: Design, known: Known) -> Found:
    """Play a row's search as far as it is known."""
    if not design.lags:
        return Found((visit(design, None, known),))
    visits: list[Visit] = []
    low, high = -1, len(design.lags)  # the row solves the lag at low, and not the one at high
    while high - low > 1:
        middle = (low + high) // 2
        visits.append(visit(design, design.lags[middle], known))
        if visits[-1].passed is None:
            break
        low, high = (middle, high) if visits[-1].passed else (low, middle)
    return Found(
        tuple(visits),
        design.lags[low] if low >= 0 else None,
        design.lags[high] if high < len(design.lags) else None,
    )


def visit(design: Design, lag: int | None, known: Known) -> Visit:
    """One lag as far as it is known: first the trials, then the seeds."""
    trials = {rate: [Wanted(lag, rate, seed, TRIAL) for seed in design.trial_seeds] for rate in design.rates}
    went = {rate: [known(wanted) for wanted in of_rate] for rate, of_rate in trials.items()}
    asked = ((w, a) for rate, runs in trials.items() for w, a in zip(runs, went[rate], strict=True))
    if missing := tuple(wanted for wanted, attempt in asked if attempt is None):
        return Visit(lag, wanted=missing)
    rate = best_rate({rate: [attempt or FAILED for attempt in of_rate] for rate, of_rate in went.items()})
    if rate is None:
        return Visit(lag, passed=False)
    runs = [Wanted(lag, rate, seed, "" if lag is None else HORIZON) for seed in design.seeds]
    return confirmed(design, lag, rate, [(run, known(run)) for run in runs])


def best_rate(went: dict[float, list[Attempt]]) -> float | None:
    """The rate that solved the task most often, then soonest, then with the best score; of equals the smallest.

    None where every trial failed.
    """

    def quality(rate: float) -> tuple[float, float, float, float]:
        of_rate = went[rate]
        steps = [attempt.solved_at for attempt in of_rate if attempt.solved_at is not None]
        score = sum(attempt.score for attempt in of_rate) / len(of_rate)
        return len(steps), -sum(steps) / max(1, len(steps)), score, -rate

    best = max(went, key=quality)
    return None if all(attempt == FAILED for attempt in went[best]) else best


def confirmed(design: Design, lag: int | None, rate: float, runs: list[tuple[Wanted, Attempt | None]]) -> Visit:
    """How the seeds went with the best rate, and which are next.

    Without lags all of them are. With lags as few first as can show that the share is out of reach; then, while none
    has failed, all the rest, else as many again as ran: a lag that is not solved is to cost little, in few rounds.
    """
    solved = tried = 0
    count = len(runs) if lag is None else design.failures_allowed + 1
    while tried < len(runs):
        batch = runs[tried : tried + count]
        if left := tuple(wanted for wanted, attempt in batch if attempt is None):
            return Visit(lag, rate, solved, tried, None, left)
        tried += len(batch)
        solved += sum(attempt is not None and attempt.solved_at is not None for _, attempt in batch)
        failures = tried - solved
        if lag is not None and failures > design.failures_allowed:
            return Visit(lag, rate, solved, tried, False)
        count = tried if failures else len(runs)
    return Visit(lag, rate, solved, tried, True)
