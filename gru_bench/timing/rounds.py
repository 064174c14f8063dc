"""Times two things against each other, and the first against its twin, in blocks A B B A.

A round is two quads: first, second, second, first; and first, twin, twin, first, where the twin is an identical copy of
the first. Which quad comes first and which arm is outside is drawn anew each round. A drift that is linear over a
quad cancels in it. The twins are timed in the very same way, so what they differ by is the instrument's noise.

Rounds in which something else used the machine (:mod:`gru_bench.timing.watch`) are flagged and repeated; they
stay among the samples. Where more are disturbed than not, the machine is busy.
"""

import gc
import math
import random
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from gru_bench.errors import UserError
from gru_bench.statistics import ratios
from gru_bench.statistics.ratios import Ratio, paired_ratio
from gru_bench.timing.clock import Call, Clock, CpuClock
from gru_bench.timing.warm_up import Warm, warm_up
from gru_bench.timing.watch import MachineWatch, Span, Watch, between, longest_wait

FIRST, SECOND, TWIN = "first", "second", "twin"
PAIR, TWINS = "pair", "twins"
BUSY_FLOOR = 1.1
"""Least floor on a busy machine: what else runs may favour an arm for longer than a round, which twins may not show."""


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        rounds: Fewest rounds that count.
        seconds: Go on for at least so long, after the warm-up.
        block_s: Least length of a block; a block has one call at least. 10 ms are 100,000 times what reading the clock
            takes, and a round of eight is long enough for the system's counters of hundredths of a second. More
            rounds of shorter blocks narrow an interval more than fewer of longer ones.
        warm_up_s: Longest warm-up.
        limit_s: Stop after so long, whatever has been measured.
    """

    rounds: int = 30
    seconds: float = 5.0
    block_s: float = 0.01
    warm_up_s: float = 10.0
    limit_s: float = 600.0

    def __post_init__(self) -> None:
        if self.rounds < ratios.FEWEST:
            raise UserError(f"rounds={self.rounds}: a ratio needs at least {ratios.FEWEST}")
        for name in ("block_s", "limit_s"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}={getattr(self, name)}: must be above 0 seconds")


class Block(NamedTuple):
    """One block as it was taken: seconds a call, and the share of it for which some thread waited for a core.

    ``disturbed`` is why its round does not count, in words joined by +; empty where it does.
    """

    round: int
    quad: str
    arm: str
    calls: int
    seconds: float
    lost: float
    disturbed: str


@dataclass(frozen=True)
class Taken:
    """What was measured: seconds a call by round, for the rounds that count, and every sample.

    Where ``busy``, every round counts: there were not enough quiet ones to choose from.

    Attributes:
        first_s: Of the first, in the quad with the second.
        second_s: Of the second.
        again_s: Of the first, in the quad with its twin.
        twin_s: Of the twin.
        blocks: All blocks, in the order in which they were taken.
        warm: How the warm-up went.
        rounds: Rounds that count.
        repeated: Rounds that were disturbed.
        busy: Whether more rounds were disturbed than not, or too few for a ratio were quiet.
        others_cores: Cores that other processes used meanwhile, on average over all rounds.
        steal_percent: Time that the host took away, likewise.
        mhz_low: Lowest clock seen; None where the system does not tell it.
        mhz_high: Highest.
    """

    first_s: list[float]
    second_s: list[float]
    again_s: list[float]
    twin_s: list[float]
    blocks: list[Block] = field(repr=False)
    warm: Warm
    rounds: int
    repeated: int
    busy: bool
    others_cores: float
    steal_percent: float
    mhz_low: float | None
    mhz_high: float | None

    def ratio(self, *, level: float = 0.95, seed: int = 0) -> Ratio:
        """Time of the second over time of the first."""
        return paired_ratio(self.first_s, self.second_s, level=level, seed=seed)

    def twins(self, *, level: float = 0.95, seed: int = 0) -> Ratio:
        """Time of the twin over time of the first."""
        return paired_ratio(self.again_s, self.twin_s, level=level, seed=seed)

    def finding(self, *, level: float = 0.95, seed: int = 0) -> str:
        """``first`` or ``second``, whichever is faster, or ``noise``; of a busy machine always ``noise``."""
        if self.busy:
            return ratios.NOISE
        return ratios.finding(self.ratio(level=level, seed=seed), self.floor(level=level, seed=seed))

    def floor(self, *, level: float = 0.95, seed: int = 0) -> float:
        """How far from 1 the interval of the twins reaches, as a factor; if ``busy``, at least :data:`BUSY_FLOOR`."""
        return max(ratios.floor_of(self.twins(level=level, seed=seed)), BUSY_FLOOR if self.busy else 1.0)

    def columns(self) -> dict[str, list[object]]:
        """The samples as equally long columns, one entry a block: see :class:`Block`."""
        return {name: [getattr(block, name) for block in self.blocks] for name in Block._fields}


def measure(
    first: Call,
    second: Call,
    twin: Call,
    plan: Plan | None = None,
    *,
    clock: Clock | None = None,
    watch: Watch | None = None,
    seed: int = 0,
) -> Taken:
    """Warm up, then take rounds until there are enough of them and the plan's seconds have passed.

    It ends early where the machine is busy: ``plan.rounds`` rounds disturbed, and more disturbed than not.

    Args:
        first: One call of the first.
        second: One call of the second.
        twin: One call of what is identical to the first, made anew.
        plan: How long to measure.
        clock: Measures blocks; the CPU's without one.
        watch: Sees what else goes on; this machine's without one.
        seed: Of the order of the blocks.

    Raises:
        UserError: Fewer rounds fit into the limit than a ratio needs.
    """
    plan, clock, watch = plan or Plan(), clock or CpuClock(), watch or MachineWatch()
    arms = {FIRST: first, SECOND: second, TWIN: twin}
    order = random.Random(seed)
    with no_garbage_collection() as collect:
        warm = warm_up(list(arms.values()), plan.block_s, plan.warm_up_s, clock)
        calls = dict(zip(arms, warm.calls, strict=True))
        calls[TWIN] = calls[FIRST]
        primed = max(calls.values()) > 1  # all arms alike; calls that all fill a block are not doubled
        overhead_s = clock.overhead_s()
        blocks: list[Block] = []
        spans: list[Span] = []
        quiet: list[bool] = []
        start = clock.now()
        while not _enough(quiet, clock.now() - start, plan):
            collect()
            before = watch.look()
            taken: list[Block] = []
            for quad, arm in _order(order):
                if primed:
                    arms[arm]()  # the other arm has taken its place in the caches
                waited = watch.waited()
                seconds = clock.block(arms[arm], calls[arm])
                lost = longest_wait(waited, watch.waited()) / max(seconds, 1e-12)
                a_call_s = max(seconds / calls[arm] - overhead_s, 1e-12)
                taken.append(Block(len(quiet), quad, arm, calls[arm], a_call_s, lost, ""))
            span = between(before, watch.look())
            disturbed = span.disturbed_by(max(block.lost for block in taken))
            blocks += [block._replace(disturbed=disturbed) for block in taken]
            spans.append(span)
            quiet.append(not disturbed)
    return _taken(blocks, spans, quiet, warm, plan)


def _enough(quiet: list[bool], passed_s: float, plan: Plan) -> bool:
    counted, disturbed = quiet.count(True), quiet.count(False)
    if counted >= plan.rounds and passed_s >= plan.seconds:
        return True
    return passed_s >= plan.limit_s or (disturbed >= plan.rounds and disturbed > counted)


def _order(order: random.Random) -> Iterator[tuple[str, str]]:
    quads = [(PAIR, SECOND), (TWINS, TWIN)]
    order.shuffle(quads)
    for quad, other in quads:
        a, b = order.sample([FIRST, other], 2)
        for arm in (a, b, b, a):
            yield quad, arm


def _taken(blocks: list[Block], spans: list[Span], quiet: list[bool], warm: Warm, plan: Plan) -> Taken:
    counted = quiet.count(True)
    repeated = len(quiet) - counted
    # calls so long that the limit ends it early are not busy, while the quiet rounds are enough for a ratio
    busy = repeated > counted or counted < ratios.FEWEST <= len(quiet)
    chosen = range(len(quiet)) if busy else [number for number, good in enumerate(quiet) if good]
    if len(chosen) < ratios.FEWEST:
        raise UserError(
            f"only {len(chosen)} rounds fit into {plan.limit_s:g} s, a ratio needs {ratios.FEWEST}: one call takes too "
            "long; take smaller sizes"
        )
    by_round: dict[tuple[int, str, str], list[float]] = {}
    for block in blocks:
        by_round.setdefault((block.round, block.quad, block.arm), []).append(block.seconds)

    def seconds(quad: str, arm: str) -> list[float]:
        return [statistics.fmean(by_round[number, quad, arm]) for number in chosen]

    length = math.fsum(span.seconds for span in spans)
    mhz = [clock for span in spans for clock in span.mhz]
    return Taken(
        first_s=seconds(PAIR, FIRST),
        second_s=seconds(PAIR, SECOND),
        again_s=seconds(TWINS, FIRST),
        twin_s=seconds(TWINS, TWIN),
        blocks=blocks,
        warm=warm,
        rounds=len(chosen),
        repeated=repeated,
        busy=busy,
        others_cores=math.fsum(span.others_cores * span.seconds for span in spans) / length,
        steal_percent=100 * math.fsum(span.steal * span.seconds for span in spans) / length,
        mhz_low=min(mhz, default=None),
        mhz_high=max(mhz, default=None),
    )


@contextmanager
def no_garbage_collection() -> Iterator[Callable[[], int]]:
    """Collect when asked and never else; what is there already is left out of it, so that asking is cheap."""
    was_on = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
