"""How long runs will take, and how many of them may run at once: arithmetic on what was measured, without measuring."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gru_bench.training.schedules import Limits

MEMORY_SHARE = 0.8
"""Of the memory that is free now, so much is given to workers: evaluation and longer batches may need more."""
FREE_ENOUGH = 0.7
"""A core counts as free from this share on: a browser that moves its mouse does not take one away."""


@dataclass(frozen=True)
class Span:
    """Seconds: the fewest and the most that the evidence allows, and what is likely between."""

    low: float
    likely: float
    high: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, factor: float) -> "Span":
        """So many of them."""
        return Span(self.low * factor, self.likely * factor, self.high * factor)

    def at_most(self, seconds: float | None) -> "Span":
        """No end of it beyond so many seconds; None for no limit."""
        if seconds is None:
            return self
        return Span(min(self.low, seconds), min(self.likely, seconds), min(self.high, seconds))


@dataclass(frozen=True)
class Pace:
    """What a pilot measured of one combination.

    Attributes:
        begin_s: Seconds before training: data, model, checks.
        step_s: Of a training step.
        evaluate_s: Of one evaluation on the validation split; None where it took longer than there was time for.
        evaluate_at_least_s: So long it had taken by then; 0 where it ended.
        epoch_steps: Steps of a pass over the training data; None for data without end, or where that is not known.
        peak_bytes: Largest resident set of the process; None where the system does not say.
    """

    begin_s: float
    step_s: Span
    evaluate_s: float | None
    evaluate_at_least_s: float = 0.0
    epoch_steps: int | None = None
    peak_bytes: int | None = None


def spread(values: Sequence[float]) -> Span:
    """Of repeated measurements, the first of which warms up where there are others: quartiles and median.

    Raises:
        ValueError: There is none.
    """
    kept = sorted(values[1:] or values)
    if not kept:
        raise ValueError("nothing was measured")

    def at(share: float) -> float:
        place = share * (len(kept) - 1)
        low = math.floor(place)
        high = min(low + 1, len(kept) - 1)
        return kept[low] + (place - low) * (kept[high] - kept[low])

    return Span(at(0.25), at(0.5), at(0.75))


def from_runs(seconds: Sequence[float]) -> Span:
    """Of whole runs that finished: the quickest, their mean, the slowest.

    Raises:
        ValueError: There is none.
    """
    if not seconds:
        raise ValueError("no run has finished")
    return Span(min(seconds), sum(seconds) / len(seconds), max(seconds))


def number_of_steps(limits: Limits, epoch_steps: int | None) -> int | None:
    """Training steps until the first limit in steps or epochs; None where seconds alone end a run, or it is not known.

    Args:
        limits: The trainer's.
        epoch_steps: Of a pass over the training data; None for data without end.
    """
    by_epochs = None if limits.max_epochs is None or epoch_steps is None else limits.max_epochs * epoch_steps
    return min((steps for steps in (limits.max_steps, by_epochs) if steps is not None), default=None)


def run_seconds(pace: Pace, limits: Limits, eval_every: int | None) -> Span | None:
    """Seconds of a run that no stopping rule ends early: before training, its steps, its evaluations, the test.

    The test split counts as one more evaluation. The last step is always evaluated.

    Args:
        pace: What was measured.
        limits: The trainer's.
        eval_every: Steps between evaluations; None for once an epoch.

    Returns:
        None where nothing ends the run that is known.
    """
    steps = number_of_steps(limits, pace.epoch_steps)
    if steps is None and limits.max_seconds is None:
        return None
    training = Span(*(3 * [limits.max_seconds or 0.0])) if steps is None else pace.step_s.times(steps)
    training = training.at_most(limits.max_seconds)
    taken = training.likely / pace.step_s.likely if pace.step_s.likely > 0 else 0.0
    every = eval_every or pace.epoch_steps
    evaluations = 1 + max(1, math.ceil(taken / every - 1e-6) if every else 1)
    if pace.evaluate_s is None:  # then the top is a guess as well: nobody knows how much longer it takes
        least = pace.evaluate_at_least_s
        one = Span(least, 2 * least, 4 * least)
    else:
        one = Span(pace.evaluate_s, pace.evaluate_s, pace.evaluate_s)
    return Span(*(3 * [pace.begin_s])) + training + one.times(evaluations)


def sweep_seconds(runs: Iterable[tuple[Span, int]], workers: int) -> Span:
    """Seconds of all runs with so many workers, each of which always has one: no less than the longest run takes.

    Args:
        runs: Seconds of a run, and how many of these there are.
        workers: Runs at once.
    """
    listed = [(span, number) for span, number in runs if number > 0]

    def total(which: str) -> float:
        seconds = [(getattr(span, which), number) for span, number in listed]
        together = sum(one * number for one, number in seconds)
        return max(together / workers, max((one for one, _ in seconds), default=0.0))

    return Span(total("low"), total("likely"), total("high"))


@dataclass(frozen=True)
class Safe:
    """A number of workers that neither the cores nor the memory of the machine stand against.

    Attributes:
        workers: At least 1.
        by_cores: What free cores allow.
        by_memory: What free memory allows, 0 where not even one fits; None where no peak is known.
        by_runs: No more than there are runs.
        by_cards: No more than there are GPUs, where runs are on them; else None.
    """

    workers: int
    by_cores: int
    by_memory: int | None
    by_runs: int
    by_cards: int | None

    @property
    def reason(self) -> str:
        """Which of them sets the limit."""
        found = {"memory": self.by_memory, "GPUs": self.by_cards, "cores": self.by_cores, "runs": self.by_runs}
        return min((number, name) for name, number in found.items() if number is not None)[1]


def workers_by_cores(cores: int, others: float, threads: int) -> int:
    """How many runs of so many threads the free cores hold, at least 1.

    Args:
        cores: That may be used.
        others: Cores that other work uses.
        threads: Of a run.
    """
    return max(1, math.floor((cores - others + 1 - FREE_ENOUGH) / threads))


def safe_workers(by_cores: int, peak: int | None, free: int, runs: int, cards: int | None = None) -> Safe:
    """The number of workers.

    Args:
        by_cores: What :func:`workers_by_cores` says.
        peak: Bytes of a worker at its largest; None where that is not known.
        free: Bytes that can still be had.
        runs: That are to be run.
        cards: GPUs, where runs are on them.
    """
    by_memory = None if not peak else math.floor(MEMORY_SHARE * free / peak)
    limits = [by_cores, max(1, runs), *(n for n in (by_memory, cards) if n is not None)]
    return Safe(max(1, min(limits)), by_cores, by_memory, max(1, runs), cards)
