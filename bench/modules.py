"""``gru_bench.nn`` against ``torch.nn`` on the CPU: the same module, weights and input, in blocks by turns.

    python bench/modules.py [--rounds 20] [--modules GRU,LSTM,RNN] [--parts training,inference,stream] [--threads 1]
                            [--cpu-time]

``training``: outputs of whole sequences, the gradients of all parameters from their sum, and a step of SGD in place.
``inference``: outputs under ``torch.inference_mode``. ``stream``: one step a call, the state carried by the caller,
likewise. One layer of as many inputs as units in float32, as TxBxH. Every call is what a user writes in Python.

Both arms must agree on the outputs before they are timed. In a round each has a turn of some calls, then again in the
opposite order; the next round starts with the other. A time is the median over the rounds of a call's, and a ratio is
taken within a round, with its interval at 95 % (``gru_bench.statistics.ratios``): how many times as fast we are.

``--cpu-time`` counts the time that this process has a core, for a machine on which others compute too: with one thread
it is what the wall clock shows where nobody else does, but for what others push out of the caches.

Prints a table as Markdown, as in ``docs/modules.md``, and then one line of JSON. Exit 1 where outputs differ.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from around import facts, require_rounds, take_names, warn_of_others
from cells_arms import turns
from peers_processes import Failed
from torch import Tensor, nn

import gru_bench.nn
from gru_bench.errors import UserError
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.measure.threads import resolve_threads
from gru_bench.statistics.ratios import FEWEST, paired_ratio

MODULES = ("GRU", "LSTM", "RNN")
SIZES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "training": ((32, 16, 32), (64, 32, 64), (64, 32, 128), (64, 32, 256), (256, 8, 128)),
    "inference": ((64, 1, 64), (64, 32, 64), (64, 32, 128), (64, 32, 256)),
    "stream": ((1, 1, 32), (1, 1, 64), (1, 1, 128), (1, 1, 256), (1, 8, 128)),
}
"""T, B and H of each part."""
OURS, TORCH = "gru_bench.nn", "torch.nn"
TURN_S, MOST_CALLS, LEAST_CALLS = 0.02, 200, 2
"""A turn has about as many calls of the slower arm as take so long."""
WITHIN = 1e-4
"""Difference of outputs in float32 that is still rounding; the outputs are of size 1 at most."""

Call = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """One module, used in one way at one size."""

    module: str
    part: str
    T: int
    B: int
    H: int

    @property
    def label(self) -> str:
        return f"{self.T}x{self.B}x{self.H}"


def call_of(case: Case, module: nn.RNNBase, x_TBD: Tensor) -> Call:
    """What is timed."""
    if case.part == "training":
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-6)

        def train() -> None:
            optimizer.zero_grad()
            module(x_TBD)[0].sum().backward()
            optimizer.step()

        return train
    state: Any = None

    @torch.inference_mode()
    def call() -> None:
        nonlocal state
        _, after = module(x_TBD, state)
        if case.part == "stream":
            state = after

    return call


def arms_of(case: Case) -> dict[str, Call]:
    """Both calls, of modules with the same weights.

    Raises:
        Failed: Their outputs differ, or ours did not run our code.
    """
    torch.manual_seed(0)
    theirs: nn.RNNBase = getattr(nn, case.module)(case.H, case.H)
    ours: Any = getattr(gru_bench.nn, case.module)(case.H, case.H)
    ours.load_state_dict(theirs.state_dict())
    x_TBD = torch.randn(case.T, case.B, case.H)
    with torch.no_grad():
        difference = float((ours(x_TBD)[0] - theirs(x_TBD)[0]).abs().max())
    if not difference <= WITHIN:
        raise Failed(f"{case.module} {case.label}: outputs differ by {difference:.1e}")
    if not ours.kernel().startswith("native "):
        raise Failed(f"{case.module} {case.label}: ran {ours.kernel()}")
    return {OURS: call_of(case, ours, x_TBD), TORCH: call_of(case, theirs, x_TBD)}


def taken_s(call: Call, calls: int, clock: Clock) -> float:
    """Seconds of one call: the mean of some, one after the other."""
    begin = clock()
    for _ in range(calls):
        call()
    return (clock() - begin) / calls


def measure(case: Case, rounds: int, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """A row: microseconds of a call of either, and how many times as fast we are.

    Raises:
        Failed: As :func:`arms_of`.
    """
    arms = arms_of(case)
    slower = max(min(taken_s(call, 1, clock) for _ in range(3)) for call in arms.values())
    calls = min(max(math.ceil(TURN_S / slower), LEAST_CALLS), MOST_CALLS)
    taking = {name: partial(taken_s, call, calls, clock) for name, call in arms.items()}
    turns(taking, 1)  # warms up
    found_s = turns(taking, rounds)
    ratio = paired_ratio(found_s[OURS], found_s[TORCH])
    return {
        "module": case.module,
        "part": case.part,
        "size": case.label,
        "ours_us": round(statistics.median(found_s[OURS]) * 1e6, 1),
        "torch_us": round(statistics.median(found_s[TORCH]) * 1e6, 1),
        "times_as_fast": round(ratio.value, 3),
        "low": round(ratio.low, 3),
        "high": round(ratio.high, 3),
    }


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    ratio = f"{row['times_as_fast']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"| {row['part']} | {row['module']} | {row['size']} | {row['torch_us']:,} | {row['ours_us']:,} | {ratio} |"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown module or part, too few rounds, or more threads than cores.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=FEWEST)
    parser.add_argument("--modules", default=",".join(MODULES), help=f"of {', '.join(MODULES)}")
    parser.add_argument("--parts", default=",".join(SIZES), help=f"of {', '.join(SIZES)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="not the wall clock's; of one thread alone")
    options = parser.parse_args(arguments)
    take_names(options, "modules", MODULES)
    take_names(options, "parts", SIZES)
    require_rounds(options.rounds)
    if options.cpu_time and options.threads != 1:
        raise UserError(
            f"--cpu-time with --threads={options.threads}: threads wait for each other; --threads=1 has one"
        )
    resolve_threads(options.threads, 1)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code, 0 where all agreed."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"modules: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    others = cores_used_by_others(1.0)
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    print("| use | module | TxBxH | torch.nn, µs | gru_bench.nn, µs | times as fast |\n|---|---|---|---:|---:|---:|")
    for part in options.parts:
        for name in options.modules:
            for size in SIZES[part]:
                try:
                    rows.append(measure(Case(name, part, *size), options.rounds, clock))
                    print(line(rows[-1]), flush=True)
                except Failed as error:
                    failures.append(str(error))
                    print(error, file=sys.stderr)
    if not options.cpu_time:
        warn_of_others(others)
    summary = {
        "bench": "modules",
        **facts(others),
        "threads": options.threads,
        "rounds": options.rounds,
        "cpu_time": options.cpu_time,
        "rows": rows,
        "failures": failures,
    }
    print(json.dumps(summary))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
