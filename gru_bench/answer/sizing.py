"""How much work fits into the time: learning rates, seeds of their trials, and seeds of the comparison.

Arithmetic on what a pilot measured. The length of a run is never touched: what a task's yaml says of steps and epochs
holds, since a cell that was cut short would lose for want of time and not for what it is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gru_bench.statistics.looks import MIN_SEEDS

START_S = 8.0
"""Seconds until the workers of a sweep have started and its parent run is closed again."""
REPORT_S = 20.0
"""Seconds that the report takes, at most, for a few dozen runs."""
PAIR_S = 15.0
"""Seconds that one pair takes in one situation, with its process: five of them at least are its rounds."""
CONTENTION = 1.25
"""How much longer runs take beside each other than a pilot that is alone."""
SITUATIONS = 4
"""That are timed: training, whole batches, single steps of one sequence and of several."""


@dataclass(frozen=True)
class Size:
    """How much each cell gets; every cell the same.

    Attributes:
        rates: Learning rates that are tried; 1 for none but the one that is there.
        trial_seeds: On which each of them is tried.
        seeds: Of the comparison, before any are added.
        timed: Whether training, batches and single steps are timed as well.
    """

    rates: int
    trial_seeds: int
    seeds: int
    timed: bool

    @property
    def trials(self) -> int:
        """Runs of one cell that choose its learning rate."""
        return self.rates * self.trial_seeds if self.rates > 1 else 0


LADDER = (
    Size(1, 0, MIN_SEEDS, False),
    Size(1, 0, MIN_SEEDS, True),
    Size(3, 1, MIN_SEEDS, True),
    Size(3, 2, MIN_SEEDS, True),
    Size(5, 2, MIN_SEEDS, True),
    Size(5, 2, 8, True),
)
"""From the least that can decide anything to all that is worth its time: each does what the one before does, and more.

Timing comes before trials, since it takes a minute whatever the task; trials before more seeds, since seeds are added
until it is decided in any case, and no number of them makes up for a rate that does not suit a cell.
"""
FACTORS = {1: (1.0,), 3: (0.25, 1.0, 4.0), 5: (0.25, 0.5, 1.0, 2.0, 4.0)}
"""Times the middle rate. The fewer are among the more: with more time, what was tried counts."""


@dataclass(frozen=True)
class Sized:
    """What is to be done.

    Attributes:
        size: For each cell.
        seconds: That it takes at most, as the pilot says: trials, seeds, timing and the report.
        fits: Whether that is within the time. Else it is the least, and what the time leaves undone is missing.
        fullest: The most that is worth doing; ``size`` where nothing was left out.
        fullest_s: What that takes.
    """

    size: Size
    seconds: float
    fits: bool
    fullest: Size
    fullest_s: float


def sized(
    run_s: Mapping[str, float], workers: int, seconds: float, *, tunes: bool = True, max_seeds: int = LADDER[-1].seeds
) -> Sized:
    """The most that fits.

    Args:
        run_s: By cell, seconds that a run takes at most.
        workers: Runs at once.
        seconds: That are left for all of it.
        tunes: Whether learning rates are tried; not where the user has given one.
        max_seeds: Most seeds of one cell, at least :data:`MIN_SEEDS`.
    """
    ladder = [size for size in LADDER if (tunes or size.rates == 1) and size.seeds <= max_seeds]
    costs = [total_s(size, run_s, workers) for size in ladder]
    fitting = [number for number, cost in enumerate(costs) if cost <= seconds]
    chosen = fitting[-1] if fitting else 0
    return Sized(ladder[chosen], costs[chosen], bool(fitting), ladder[-1], costs[-1])


def total_s(size: Size, run_s: Mapping[str, float], workers: int) -> float:
    """Seconds that all of it takes at most."""
    # the sweep of the trials goes on with one seed, and the next one with the others
    rounds = [[size.trials, 1], [size.seeds - 1]] if size.trials else [[size.seeds]]
    sweeps = sum(START_S + sum(round_s(run_s, each, workers) for each in sweep) for sweep in rounds)
    return sweeps + timing_s(size, len(run_s)) + REPORT_S


def timing_s(size: Size, cells: int) -> float:
    """Seconds for the timing of every two cells; 0 without."""
    return math.comb(cells, 2) * SITUATIONS * PAIR_S if size.timed else 0.0


def round_s(run_s: Mapping[str, float], each: int, workers: int) -> float:
    """Seconds of so many runs of each cell at most, in whatever order: Graham's bound for a list of jobs.

    R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969: no order takes longer than an equal share for each
    worker and, for all but one of them, the longest run on top.
    """
    slower = CONTENTION if workers > 1 else 1.0
    longest, together = max(run_s.values()), each * sum(run_s.values())
    return slower * (together / workers + (1 - 1 / workers) * longest)


def rates_around(middle: float, number: int) -> list[float]:
    """Learning rates to try, ascending, with three digits: ``[0.0005, 0.002, 0.008]``."""
    return [float(f"{middle * factor:.3g}") for factor in FACTORS[number]]


def middle_of(rates: Sequence[float]) -> float:
    """The middle of a task's rates by their ratios: they differ by factors, and each cell is to get the same grid."""
    logs = [math.log(rate) for rate in rates]
    return math.exp((min(logs) + max(logs)) / 2)
