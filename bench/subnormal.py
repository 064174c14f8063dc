"""What subnormal numbers (below 1.2e-38) cost, and that native code which counts them as zero is nowhere slower.

    python bench/subnormal.py [--steps 80] [--rounds 15] [--cells rnn,lstm,gru] [--shapes TxBxH,...] [--json FILE]

First the case that has them: an LSTM of 128 units on the adding problem, seed 1, at the learning rate that was chosen
for 32 units (0.064). Its gates saturate, and its gradients vanish to subnormal numbers. It is trained for --steps
steps; then the forward and the backward pass of one long batch are timed with these weights on native code that keeps
subnormal numbers (as it was), on native code as it is, on the vendor's kernel and on the loop, each as Python finds
the processor and after ``torch.set_flush_denormal(True)``, which every run of gru-bench calls.

Then layers of ordinary numbers, forward and backward: native code as it is over native code that keeps them, the median
over the rounds of the time's ratio with its quartiles (1.02 is 2% slower), and the largest difference of outputs and
gradients relative to the largest number, where 0 is bit for bit the same. All arms take turns, in both orders, on one
thread, whose own processor time is measured. Code that keeps them is compiled first, which takes a minute.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cells import chosen
from cells_arms import Shape
from prebuilt import SHAPES, against, take
from seeds_arms import Alone, Problem, named

from gru_bench.backends.native import build as native_build
from gru_bench.backends.native.build import CannotBuild
from gru_bench.config.check import construct
from gru_bench.errors import UserError
from gru_bench.run.build import make_cell
from gru_bench.tasks.base import Batch

Row = dict[str, Any]

FLAGS = native_build.FLAGS
KEEPS = "-DGRU_BENCH_KEEP_SUBNORMALS"
ARMS = {"native, keeps": "bptt", "native": "bptt", "vendor": "vendor", "loop": "loop"}


def take_native(*, keeps: bool) -> None:
    """Let layers run by native code that keeps subnormal numbers, or as it is, from now on."""
    native_build.FLAGS = (*FLAGS, KEEPS) if keeps else FLAGS  # type: ignore[assignment]
    take("compile")


def saturated(steps: int) -> tuple[Problem, Alone]:
    """The case that has subnormal numbers, trained for so many steps by native code that keeps them."""
    take_native(keeps=True)
    problem = Problem("adding", "lstm", 128)
    alone = Alone(problem, seed=1)
    for _ in range(steps):
        alone.step()
    return problem, alone


def both_ways(problem: Problem, alone: Alone, batch: Batch, backend: str) -> Callable[[], tuple[float, float]]:
    """Milliseconds of this thread for the forward and for the backward pass of a batch, with that model's weights."""
    made = construct(chosen("backend", backend))
    model = problem.builder.build(make_cell(problem.node), made, problem.hidden_size, 1).train()
    ours = named(model)
    for name, values in named(alone.model).items():
        ours[name].copy_(values)

    def run() -> tuple[float, float]:
        model.zero_grad()
        started = time.thread_time()
        loss, _, _ = problem.task.loss(model, batch, None)
        half = time.thread_time()
        loss.backward()
        return 1e3 * (half - started), 1e3 * (time.thread_time() - half)

    return run


def saturated_rows(steps: int, rounds: int) -> list[Row]:
    """Medians of every arm, with the processor as Python finds it and with subnormal numbers counted as zero."""
    problem, alone = saturated(steps)
    batch = max((alone.feed.next() for _ in range(20)), key=lambda batch: batch.inputs.shape[0])  # the longest
    passes = {arm: both_ways(problem, alone, batch, backend) for arm, backend in ARMS.items()}
    taken: dict[tuple[str, bool], list[tuple[float, float]]] = {
        (arm, zero): [] for zero in (False, True) for arm in ARMS
    }
    for turn in range(rounds):
        for arm, zero in list(taken) if turn % 2 == 0 else reversed(taken):
            take_native(keeps=arm == "native, keeps")
            torch.set_flush_denormal(zero)
            passes[arm]()  # warms what the others have left cold
            taken[arm, zero].append(passes[arm]())
    torch.set_flush_denormal(False)
    rows = []
    for (arm, zero), times in taken.items():
        forward, backward = map(statistics.median, zip(*times, strict=True))
        rows.append({"arm": arm, "flush_denormal": zero, "forward_ms": forward, "backward_ms": backward})
    return rows


def ordinary_row(cell: str, shape: Shape, rounds: int) -> Row:
    """Native code as it is over native code that keeps subnormal numbers, at one shape."""
    codes = {name: partial(take_native, keeps=keeps) for name, keeps in (("keeps", True), ("as it is", False))}
    return {"cell": cell, "shape": shape.text, **against(cell, shape, codes, rounds)[1]["as it is"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", default="rnn,lstm,gru")
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        if options.rounds < 2:
            raise UserError(f"--rounds={options.rounds}: must be at least 2")
        shapes = [Shape.parse(text) for text in options.shapes.split(",")]
        rows = saturated_rows(options.steps, options.rounds)
        print(f"adding, LSTM of 128, after {options.steps} steps: ms forward and backward")
        for row in rows:
            mode = "flush_denormal" if row["flush_denormal"] else ""
            print(f"{row['arm']:<14} {mode:<15} {row['forward_ms']:>8.2f} {row['backward_ms']:>8.2f}")
        print("native as it is over native that keeps subnormal numbers, in layers of ordinary ones")
        for cell in options.cells.split(","):
            for shape in shapes:
                row = ordinary_row(cell, shape, options.rounds)
                rows.append(row)
                spread = f"({row['low']:.3f}..{row['high']:.3f})"
                print(f"{cell:<6} {shape.text:<12} {row['ratio']:>6.3f} {spread} {row['difference']:.1e}", flush=True)
        print(f"geometric mean {statistics.geometric_mean(row['ratio'] for row in rows if 'ratio' in row):.3f}")
        if options.json:
            options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    except (UserError, CannotBuild) as error:
        print(f"subnormal: {error}", file=sys.stderr)
        return 2
    finally:
        take_native(keeps=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
