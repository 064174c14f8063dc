"""A machine in which only work makes time pass: what a timing must find is known to the last digit."""

import math
import random
from collections.abc import Callable

from gru_bench.timing.clock import CpuClock
from gru_bench.timing.watch import Look


class Machine:
    """Clock and watch of a made-up machine.

    Args:
        slowness: By what factor work takes longer at a moment; 1 without.
        others: How many cores other processes use at a moment; none without.
        stolen: Share of a thread's time that goes to others at a moment, so that it takes longer by so much.
    """

    def __init__(
        self,
        slowness: Callable[[float], float] = lambda _: 1.0,
        others: Callable[[float], float] = lambda _: 0.0,
        stolen: Callable[[float], float] = lambda _: 0.0,
    ) -> None:
        self.slowness, self.others, self.stolen = slowness, others, stolen
        self.time = self.ran_s = self.waited_s = self.busy_s = 0.0
        self.clock = CpuClock(self.now)

    def now(self) -> float:
        return self.time

    def work(self, seconds: float, first_calls: tuple[float, ...] = ()) -> Callable[[], None]:
        """A call that takes so long, and longer at first."""
        longer = iter(first_calls)

        def call() -> None:
            ran = (seconds + next(longer, 0.0)) * self.slowness(self.time)
            passed = ran / (1 - self.stolen(self.time))
            self.busy_s += ran + self.others(self.time) * passed
            self.ran_s += ran
            self.waited_s += passed - ran
            self.time += passed

        return call

    def waited(self) -> dict[str, float]:
        return {"main": self.waited_s}

    def look(self) -> Look:
        return Look(self.time, self.ran_s, self.busy_s, 0.0, 0)


def autocorrelated(rho: float, spread: float, every_s: float, seed: int) -> Callable[[float], float]:
    """A slowness that wanders: first-order autocorrelation ``rho`` from one stretch of ``every_s`` to the next."""
    draw = random.Random(seed)
    values = [0.0]

    def slowness(time: float) -> float:
        while len(values) <= time / every_s:
            values.append(rho * values[-1] + math.sqrt(1 - rho**2) * spread * draw.gauss(0, 1))
        return math.exp(values[int(time / every_s)])

    return slowness
