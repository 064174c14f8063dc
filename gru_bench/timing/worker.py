"""One timing: two arms and the twin of the first, built, checked, named and timed in this process."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gru_bench.errors import Unsupported, UserError
from gru_bench.measure.kernel import kernel_of_call
from gru_bench.measure.peak import best_product_gflops
from gru_bench.measure.resident import peak_resident_bytes
from gru_bench.timing.clock import clock_of, single_calls
from gru_bench.timing.costs import joules, memory_facts, percent_of_peak
from gru_bench.timing.rounds import Plan, Taken, measure, no_garbage_collection
from gru_bench.timing.situations.base import Situation
from gru_bench.timing.subjects import Call, Subject
from gru_bench.timing.watch import MachineWatch, Watch, between, longest_wait

Facts = dict[str, Any]
Build = Callable[[], Subject]

FIRST, SECOND = "first_", "second_"
CALLS = 5
"""After which the resident set of a process grows no more."""
PIECE = 100
"""Single steps that are timed in a row before the other arm has its turn."""
STRETCH_S = 0.1
"""So long the arms take turns between two looks at the machine: its counters step in hundredths of a second."""
TRIES = 3
"""How many times as many steps as asked for are timed at most, where some are disturbed."""
QUANTILES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99}


@dataclass
class Outcome:
    """What one timing gave.

    Attributes:
        status: ``finished``, ``failed`` or ``unsupported``.
        error: Why it did not finish.
        facts: By the names of the store's facts of a timing.
        samples: Every block, as equally long columns.
        latencies: Single steps as equally long columns, see :func:`timed_one_by_one`; empty where none were timed.
        busy: Whether something else used the machine meanwhile, in most rounds.
        peak_gflops: The machine's best product, to be given to the next timing.
    """

    status: str = "finished"
    error: str = ""
    facts: Facts = field(default_factory=dict)
    samples: dict[str, list[Any]] = field(default_factory=dict)
    latencies: dict[str, list[Any]] = field(default_factory=dict)
    busy: bool = False
    peak_gflops: float | None = None


def time_pair(
    situation: Situation,
    first: tuple[str, str, Build],
    second: tuple[str, str, Build],
    plan: Plan,
    *,
    peak_gflops: float | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Outcome:
    """Check both arms, name their kernels, and time them by turns.

    Args:
        situation: In which.
        first: Names of its cell and its backend, and what builds it: called twice, for it and its twin.
        second: Likewise.
        plan: How long to measure.
        peak_gflops: The machine's best product where it is known; else it is measured.
        seed: Of the order of the blocks.
        watch: Sees what else goes on; this machine's without one.

    Raises:
        Unsupported: A backend does not run its cell here, or not rightly: its parity is red.
        UserError: Something else that is asked for is not possible.
    """
    subjects: dict[str, Subject] = {}
    facts: Facts = {}
    for prefix, (cell, backend, build) in ((FIRST, first), (SECOND, second)):
        subject = subjects[prefix] = build()
        subject.parity().require(backend, cell)
    calls = {prefix: situation.call(subject) for prefix, subject in subjects.items()}
    for prefix, subject in subjects.items():
        facts |= {f"{prefix}parameters": subject.parameters, f"{prefix}state_bytes": subject.state_bytes}
    twin = situation.call(first[2]())
    device = subjects[FIRST].where.device
    watch = watch or MachineWatch(device)
    latencies: dict[str, list[Any]] = {}
    with situation.mode():
        taken = measure(calls[FIRST], calls[SECOND], twin, plan, clock=clock_of(device), watch=watch, seed=seed)
        if situation.latencies:
            latencies = timed_one_by_one(calls, situation.latencies, device, watch)
            facts |= quantiles(latencies)
        # after the last figure: profilers leave traces, and the twin has none
        for prefix, subject in subjects.items():
            facts[f"{prefix}kernel"] = kernel_of_call(calls[prefix], subject.model, subject.backend, device)
    facts |= facts_of(taken, seed)
    peak = peak_gflops or best_product_gflops(device, subjects[FIRST].where.computes_in)
    for prefix, subject in subjects.items():
        costs = costs_of(situation, calls[prefix], subject, facts[f"{prefix}ms"], peak)
        facts |= {f"{prefix}{name}": value for name, value in costs.items()}
    return Outcome(facts=facts, samples=taken.columns(), latencies=latencies, busy=taken.busy, peak_gflops=peak)


def costs_of(situation: Situation, call: Call, subject: Subject, ms: float, peak_gflops: float) -> Facts:
    """What an arm's call costs besides time. Measured after all that is timed: profilers leave traces."""
    gflop = subject.gflop(trains=situation.trains, single=situation.name == "stream")
    percent = None if gflop is None else percent_of_peak(gflop, ms, peak_gflops)
    with situation.mode():
        memory = memory_facts(call, subject)
        return memory | {"gflop": gflop, "percent_of_peak": percent, "joules": joules(call, subject.where.device)}


def resident_bytes(situation: Situation, build: Build) -> int:
    """Largest resident set of this process, which has done nothing else, after some calls of one arm."""
    call = situation.call(build())
    with situation.mode():
        for _ in range(CALLS):
            call()
    return peak_resident_bytes()


def facts_of(taken: Taken, seed: int) -> Facts:
    """What the rounds say."""
    ratio, floor = taken.ratio(seed=seed), taken.floor(seed=seed)
    return {
        f"{FIRST}ms": float(np.median(taken.first_s)) * 1000,
        f"{SECOND}ms": float(np.median(taken.second_s)) * 1000,
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "floor": floor,
        "finding": taken.finding(seed=seed),
        "rounds": taken.rounds,
        "repeated": taken.repeated,
        "warm": taken.warm.stable,
        "others_cores": round(taken.others_cores, 3),
        "steal_percent": round(taken.steal_percent, 3),
        "mhz_low": taken.mhz_low,
        "mhz_high": taken.mhz_high,
    }


def timed_one_by_one(
    calls: Mapping[str, Call], number: int, device: torch.device, watch: Watch
) -> dict[str, list[Any]]:
    """Time single calls of each arm, by turns in pieces, so that they see the same machine, and without collections.

    Args:
        calls: One call of each arm, by its prefix.
        number: Fewest of each arm that nothing disturbed; :data:`TRIES` times as many at most, with those that were.
        device: Where they run.
        watch: Sees what else goes on.

    Returns:
        Equally long columns: microseconds of each arm (``first_us``, ``second_us``), and ``disturbed``, why the stretch
        that a step lies in does not count, empty where it does.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    disturbed: list[str] = []
    with no_garbage_collection() as collect:
        while disturbed.count("") < number and len(disturbed) < TRIES * number:
            collect()
            before, waited = watch.look(), watch.waited()
            steps, start = 0, time.perf_counter()
            while not steps or time.perf_counter() - start < STRETCH_S:
                for name, call in calls.items():
                    call()  # the other arm has taken its place in the caches
                    taken[name] += [seconds * 1e6 for seconds in single_calls(call, PIECE, device)]
                steps += PIECE
            lost = longest_wait(waited, watch.waited())
            span = between(before, watch.look())
            disturbed += [span.disturbed_by(lost / span.seconds)] * steps
    return {**{f"{prefix}us": values for prefix, values in taken.items()}, "disturbed": disturbed}


def quantiles(latencies: Mapping[str, Sequence[Any]]) -> Facts:
    """Quantiles of each arm's steps that nothing disturbed; of all, where most were."""
    quiet = np.array([not reason for reason in latencies["disturbed"]])
    chosen = quiet if quiet.mean() >= 0.5 else np.ones_like(quiet)
    return {
        f"{prefix}{name}": float(np.quantile(np.asarray(latencies[f"{prefix}us"])[chosen], q))
        for prefix in (FIRST, SECOND)
        for name, q in QUANTILES.items()
    }


def outcome_of(time_it: Callable[[], Outcome]) -> Outcome:
    """The outcome, also where there is none: then its status and error say why."""
    try:
        return time_it()
    except Unsupported as error:
        return Outcome("unsupported", one_line(error))
    except UserError as error:
        return Outcome("failed", one_line(error))
    except (RuntimeError, MemoryError, ValueError, TypeError, NotImplementedError) as error:
        return Outcome("failed", f"{type(error).__name__}: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
