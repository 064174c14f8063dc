"""Is the instrument right? Two things whose ratio is known are timed against each other, in a fresh process each time.

    python bench/instrument.py [--pairs 20] [--only nothing,slower,burning,coverage] [--quick]

- ``nothing``: the second is identical to the first. It must be found nothing in at least 19 of 20.
- ``slower``: one of the two does 34 times what the other does 33 times, which is 3.03 % more of the same work and
  nothing else. In every other pair it is the first. It must be found in 18 of 20 on a quiet machine, never reversed.
- ``burning``: the same while two other processes burn the cores. It must be said to be inside the noise in 18 of 20,
  and never be reversed. It is so by rule: where more rounds are disturbed than not, no gap below 10 % is called. What
  this shows is that the burning is noticed; how the ratio itself fares is in the rows.
- ``coverage``: no timing, but the interval of :mod:`gru_bench.statistics.ratios` on made-up rounds: how often it holds
  the true ratio, by kind of noise, number of rounds, and how far a round resembles the one before. It must be at least
  0.90 everywhere.

Reversed is a pair whose slower arm is found to be the faster, or lies there with its whole interval, floor or not. A
pair whose process fails is a row that says so, and no promise is kept then.

Pairs take turns between two kinds of work. ``layer`` is a forward pass of one layer of ``nn.GRU`` (5 steps, batch 1,
64 units; a hundred microseconds): what the instrument is for, with its allocations and weights in the caches.
``python`` is a loop of integer arithmetic: nothing but instructions, with hardly a memory access, so that its time is
known to be proportional to its turns. One thread, pinned, as ``gru-bench time`` does it, with its default plan but for
a warm-up of 3 s at most. All of it takes 9 minutes on two cores. It waits for the machine as ``gru-bench time`` does.

Prints a line a pair, a table, then one line of JSON. Exit 1 where a promise is not kept. --quick takes one short pair
of each kind and promises nothing but that none fails.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from gru_bench.errors import UserError
from gru_bench.measure import lanes
from gru_bench.measure.environment import cores_used_by_others, environment, machine_id
from gru_bench.statistics.ratios import FEWEST, FIRST, NOISE, SECOND, paired_ratio
from gru_bench.timing.instrument import settle
from gru_bench.timing.rounds import Plan, Taken, measure

Row = dict[str, Any]
Call = Callable[[], object]

REPEATS, MORE = 33, 34
COVERAGE = "coverage"
KINDS = ("nothing", "slower", "burning", COVERAGE)
FAILED = "failed"
WORKS = ("layer", "python")
PROMISED = {"nothing": 19 / 20, "slower": 18 / 20, "burning": 18 / 20}
BURNERS = 2
PLAN = Plan(warm_up_s=3.0)
QUICK = Plan(rounds=FEWEST, seconds=0.0, block_s=0.002, warm_up_s=0.1)
WITHIN_S = 300
NOISES = ("normal", "student", "spikes")
ROUNDS, RESEMBLANCES = (20, 30, 120), (0.0, 0.3, 0.6)
SIMULATIONS, QUICK_SIMULATIONS = 500, 5
COVERED = 0.90
TRUE_RATIO, SPREAD = 1.03, 0.02


def layer(repeats: int) -> Call:
    """So many forward passes of a layer made anew."""
    generator = torch.Generator().manual_seed(0)
    gru = torch.nn.GRU(64, 64)
    x_TBD = torch.randn(5, 1, 64, generator=generator)
    turns = range(repeats)

    def call() -> None:
        with torch.inference_mode():
            for _ in turns:
                gru(x_TBD)

    return call


def python(repeats: int) -> Call:
    """So many hundreds of turns of a loop of integer arithmetic."""
    turns = range(100 * repeats)

    def call() -> int:
        value = 1
        for _ in turns:
            value = value * 3 % 101
        return value

    return call


def slower_arm(kind: str, number: int) -> str | None:
    """Which of the two does more; None where neither does."""
    return None if kind == "nothing" else FIRST if number // 2 % 2 else SECOND


def heading(kind: str, number: int) -> Row:
    """What is known of a pair before it is timed. ``expected`` is what is true."""
    expected = {None: NOISE, FIRST: SECOND, SECOND: FIRST}[slower_arm(kind, number)]
    return {"kind": kind, "work": WORKS[number % 2], "expected": expected}


def pair(kind: str, number: int, plan: Plan) -> Row:
    """Time one pair in this process. ``found`` is what the instrument says."""
    make = {"layer": layer, "python": python}[WORKS[number % 2]]
    slow = slower_arm(kind, number)
    first = make(MORE if slow == FIRST else REPEATS)
    second = make(MORE if slow == SECOND else REPEATS)
    twin = make(MORE if slow == FIRST else REPEATS)
    started = time.perf_counter()
    taken: Taken = measure(first, second, twin, plan, seed=number)
    ratio, twins = taken.ratio(), taken.twins()
    return {
        **heading(kind, number),
        "found": taken.finding(),
        "us": round(1e6 * sorted(taken.first_s)[taken.rounds // 2], 2),
        "ratio": asdict(ratio),
        "twins": asdict(twins),
        "floor": taken.floor(),
        "rounds": taken.rounds,
        "repeated": taken.repeated,
        "busy": taken.busy,
        "others_cores": round(taken.others_cores, 2),
        "steal_percent": round(taken.steal_percent, 2),
        "warm_up_s": round(taken.warm.seconds, 2),
        "stable": taken.warm.stable,
        "seconds": round(time.perf_counter() - started, 2),
    }


@contextmanager
def burning(number: int) -> Iterator[None]:
    """Keep so many other processes busy meanwhile."""
    others = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def in_fresh_process(kind: str, number: int, quick: bool) -> Row:
    """What :func:`pair` says in a process of its own, or why it said nothing."""
    command = [sys.executable, __file__, "--pair", kind, str(number), *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=WITHIN_S, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        error = f"not done within {WITHIN_S} s"
    except subprocess.CalledProcessError as caught:
        error = f"exit code {caught.returncode}"
    except (OSError, ValueError, IndexError) as caught:
        error = f"no answer: {caught}"
    return {**heading(kind, number), "found": FAILED, "error": error}


def made_up(noise: str, rounds: int, resemblance: float, rng: np.random.Generator) -> list[float]:
    """Ratios of so many rounds about the true one: their logarithms have a first-order autocorrelation.

    Args:
        noise: ``normal``, ``student`` (3 degrees of freedom: now and then far off), or ``spikes``: normal, but one
            round in twenty takes up to 1.5 times as long, in either arm.
        rounds: How many.
        resemblance: Correlation with the round before.
        rng: Draws.
    """
    settled = 30
    size = rounds + settled
    fresh = rng.standard_t(3, size) / math.sqrt(3) if noise == "student" else rng.standard_normal(size)
    logs = fresh.copy()
    for place in range(1, size):
        logs[place] = resemblance * logs[place - 1] + math.sqrt(1 - resemblance**2) * fresh[place]
    logs = SPREAD * logs[settled:]
    if noise == "spikes":
        struck = rng.random(rounds) < 1 / 20
        logs[struck] += rng.choice([-1, 1], rounds)[struck] * np.log(rng.uniform(1, 1.5, rounds))[struck]
    return list(TRUE_RATIO * np.exp(logs))


def coverage(noise: str, rounds: int, resemblance: float, simulations: int) -> Row:
    """How often the interval at 0.95 holds the true ratio."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(simulations):
        found = paired_ratio([1.0] * rounds, made_up(noise, rounds, resemblance, rng), seed=seed)
        hits += found.low <= TRUE_RATIO <= found.high
    names = {"kind": COVERAGE, "noise": noise, "rounds": rounds, "resemblance": resemblance}
    return names | {"simulations": simulations, "covered": hits / simulations}


def line(row: Row) -> str:
    """One pair of the table."""
    if row["kind"] == COVERAGE:
        return (
            f"{row['kind']:<8} {row['noise']:<7} {row['rounds']:>4} rounds, resemblance {row['resemblance']:.1f}: "
            f"{row['covered']:.3f} of {row['simulations']}"
        )
    if row["found"] == FAILED:
        return f"{row['kind']:<8} {row['work']:<7} {FAILED}: {row['error']}"
    ratio = row["ratio"]
    disturbed = f"{row['repeated']} disturbed{', busy' if row['busy'] else ''}"
    return (
        f"{row['kind']:<8} {row['work']:<7} {row['us']:>8.1f} us  {ratio['value']:.4f} ({ratio['low']:.4f}.."
        f"{ratio['high']:.4f})  floor {row['floor']:.4f}  expected {row['expected']:<6} found {row['found']:<6} "
        f"{row['rounds']} rounds, {disturbed}, others {row['others_cores']:.2f}"
    )


def summary(kind: str, rows: Sequence[Row]) -> Row:
    """How often the instrument was right about one kind of pair."""
    if kind == COVERAGE:
        right = sum(row["covered"] >= COVERED for row in rows)
        counted = {"pairs": len(rows), "right": right, "wanted": len(rows), "reversed": 0, "busy": 0, "failed": 0}
        return {"kind": kind} | counted | {"kept": right == len(rows)}
    expected = [NOISE if kind == "burning" else row["expected"] for row in rows]
    right = sum(row["found"] == true for row, true in zip(rows, expected, strict=True))
    reversed_ = sum(map(is_reversed, rows))
    failed = sum(row["found"] == FAILED for row in rows)
    return {
        "kind": kind,
        "pairs": len(rows),
        "right": right,
        "wanted": math.ceil(PROMISED[kind] * len(rows)),
        "reversed": reversed_,
        "busy": sum(row.get("busy", False) for row in rows),
        "failed": failed,
        "kept": right >= PROMISED[kind] * len(rows) and not reversed_ and not failed,
    }


def is_reversed(row: Row) -> bool:
    """Whether the slower arm passes for the faster one, by the finding or by the whole interval."""
    if row["found"] == FAILED or row["expected"] == NOISE:
        return False
    ratio = row["ratio"]
    wrong = ratio["high"] < 1 if row["expected"] == FIRST else ratio["low"] > 1
    return wrong or {row["found"], row["expected"]} == {FIRST, SECOND}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown kind, or no pairs.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, help="of each kind")
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pair", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    unknown = [kind for kind in options.only if kind not in KINDS]
    if unknown:
        raise UserError(f"--only={','.join(unknown)}: valid: {', '.join(KINDS)}")
    if options.pairs < 1:
        raise UserError(f"--pairs={options.pairs}: must be at least 1")
    if options.quick:
        options.pairs = 1
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print. Returns the exit code."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"instrument: {error}", file=sys.stderr)
        return 2
    if options.pair:
        settle(1)
        kind, number = options.pair
        print(json.dumps(pair(kind, int(number), QUICK if options.quick else PLAN)))
        return 0
    with lanes.alone("bench/instrument.py", lambda text: print(text, file=sys.stderr, flush=True)):
        return measured(options)


def rows_of(kind: str, options: argparse.Namespace) -> Iterator[Row]:
    """The rows of one kind, as they come."""
    if kind == COVERAGE:
        for noise, rounds, resemblance in itertools.product(NOISES, ROUNDS, RESEMBLANCES):
            yield coverage(noise, rounds, resemblance, QUICK_SIMULATIONS if options.quick else SIMULATIONS)
        return
    with burning(BURNERS if kind == "burning" else 0):
        for number in range(options.pairs):
            yield in_fresh_process(kind, number, options.quick)


def measured(options: argparse.Namespace) -> int:
    """The rest of :func:`main`, with the machine for itself."""
    others = cores_used_by_others(1.0)
    rows: list[Row] = []
    for kind in options.only:
        for row in rows_of(kind, options):
            rows.append(row)
            print(line(row), flush=True)
    sums = [summary(kind, [row for row in rows if row["kind"] == kind]) for kind in options.only]
    print(f"\n{'kind':<8} {'pairs':>5} {'right':>5} {'wanted':>6} {'reversed':>8} {'busy':>4} {'failed':>6}")
    for one in sums:
        print(
            f"{one['kind']:<8} {one['pairs']:>5} {one['right']:>5} {one['wanted']:>6} {one['reversed']:>8} "
            f"{one['busy']:>4} {one['failed']:>6}  {'kept' if one['kept'] else 'NOT KEPT'}"
        )
    document = {
        "machine": machine_id(),
        "environment": environment(),
        "instrument": settle(1),
        "others_cores": round(others, 2),
        "summary": sums,
        "rows": rows,
    }
    print(json.dumps(document))
    kept = all(not one["failed"] if options.quick else one["kept"] for one in sums)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
