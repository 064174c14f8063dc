"""Inference without gradients on the CPU: our native code against ``torch.nn`` and ONNX Runtime, in blocks by turns.

    python bench/inference.py [--rounds 20] [--cells gru,lstm,rnn] [--parts stream,batch] [--threads 1]

``stream``: one step of one layer a call, H inputs and H units, batch 1 and 8, the state carried by the caller; at least
1,000 timed steps an arm, each timed by itself: the median, the 90th and the 99th percentile. ``batch``: one layer over
whole sequences, on the grid of ``bench/cells.py``. float32. Every call is what a user writes in Python, for
all arms of this process under ``torch.inference_mode``, which is held around the calls.

ONNX Runtime runs in a process of its own, in an environment made here from ``inference.txt`` when first needed
(``.venv-inference``); one that cannot be made is said so and left out. All arms get the same weights and inputs and
must agree on the outputs before they are timed. In a round each arm has a turn of some calls, then again in the
opposite order; the next round starts with another arm. A ratio is of the means of both turns' medians, with its
interval at 95 % (``gru_bench.statistics.ratios``): how many times as fast we are.

Prints a table, the grid's geometric means, where an arm is faster than ours, and then one line of JSON. Exit 1 where
outputs differ.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from around import facts, require_rounds, take_names, warn_of_others
from cells import CELLS, GRID, chosen
from cells_arms import turns
from peers_processes import BENCH, Failed, interpreter, plain_environment, worker_environment
from torch import Tensor

from gru_bench.backends.bptt import BPTT
from gru_bench.backends.vendor import Vendor, VendorStack
from gru_bench.cells.base import Cell
from gru_bench.config.check import construct
from gru_bench.errors import UserError
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.measure.threads import resolve_threads
from gru_bench.statistics.ratios import FEWEST, paired_ratio

PARTS = ("stream", "batch")
CPU = torch.device("cpu")
HIDDEN, BATCHES = (64, 128, 256, 512), (1, 8)
STREAM_LENGTH = 16
"""Inputs of a stream, which start again when they are used up."""
TURN_S, MOST_CALLS, LEAST_CALLS = 0.02, 200, 2
"""A turn has about as many calls of the slowest arm as take so long."""
LEAST_STEPS = 1000
WITHIN = 1e-4
"""Difference of outputs in float32 that is still rounding; the outputs are of size 1 at most."""
PINS, ENVIRONMENT = BENCH / "inference.txt", BENCH.parent / ".venv-inference"
OURS, TORCH, ONNX = "native", "torch.nn", "onnxruntime"

Row = dict[str, Any]
Turn = Callable[[int], list[float]]
"""Seconds of each of so many calls."""
Call = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""Input and state to output and state."""


@dataclass(frozen=True)
class Case:
    """One cell at one shape, streamed or as a whole."""

    cell: str
    part: str
    T: int
    B: int
    D: int
    H: int

    @property
    def label(self) -> str:
        if self.part == "stream":
            return f"H={self.H} B={self.B}"
        return "x".join(str(size) for size in (self.T, self.B, *([] if self.D == self.H else [self.D]), self.H))


class OnnxRuntime:
    """The other process; see ``inference_onnx.py``.

    Raises:
        Failed: It cannot be made ready.
    """

    def __init__(self, threads: int, folder: Path) -> None:
        python = interpreter(PINS, ENVIRONMENT, "about 150 MB")
        if isinstance(python, Failed):
            raise python
        self.process = subprocess.Popen(
            [str(python), str(BENCH / "inference_onnx.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=plain_environment() | worker_environment(threads),
            text=True,
        )
        self.folder, self.threads = folder, threads
        self.version: str = self._hear()["version"]

    def ask(self, **question: Any) -> Any:
        try:
            cast(IO[str], self.process.stdin).write(json.dumps(question) + "\n")
            cast(IO[str], self.process.stdin).flush()
        except OSError as error:
            raise Failed(f"ONNX Runtime's process does not listen any more: {error}") from None
        return self._hear()

    def _hear(self) -> Any:
        line = cast(IO[str], self.process.stdout).readline()
        if not line:
            raise Failed(f"ONNX Runtime's process died with exit code {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what a dead process was not told yet
                cast(IO[str], stream).close()
        self.process.wait()

    def take(self, case: Case, cell: Cell, x_TBD: Tensor) -> tuple[Tensor, Turn]:
        """Its outputs, and its turns."""
        name = f"{case.cell} {case.part} {case.label}"
        path = self.folder / f"{name}.npz"
        arrays: dict[str, Any] = {key: value.detach().numpy() for key, value in cell.named_parameters()}
        arrays |= {"x": x_TBD.numpy(), "cell": case.cell, "is_stream": case.part == "stream", "threads": self.threads}
        np.savez(path, **arrays)
        outputs = torch.tensor(self.ask(case=name, path=str(path)))
        return outputs, lambda calls: self.ask(case=name, calls=calls)


def arm(call: Call, inputs: Sequence[Tensor]) -> tuple[Tensor, Turn]:
    """Outputs (T, B, H) of one call an input, which carry the state on, and the turns of such calls."""
    outputs: list[Tensor] = []
    state: Any = None
    with torch.inference_mode():
        for x in inputs:
            out, state = call(x, state)
            outputs.append(out.reshape(-1, *out.shape[-2:]))

    @torch.inference_mode()
    def turn(calls: int) -> list[float]:
        now, taken, carried = time.perf_counter, [], state
        for number in range(-2, calls):
            x = inputs[number % len(inputs)]
            begin = now()
            _, carried = call(x, carried)
            end = now()
            if number >= 0:
                taken.append(end - begin)
        return taken

    return torch.cat(outputs), turn


def our_arms(case: Case, cell: Cell, x_TBD: Tensor) -> dict[str, tuple[Tensor, Turn]]:
    """Those of this process, by name."""
    module = cast(VendorStack, Vendor().stack([cell], CPU, torch.float32)).module
    stack = BPTT(native="required").stack([cell], CPU, torch.float32)
    inputs = x_TBD.split(1) if case.part == "stream" else [x_TBD]

    def ours(x_TBD: Tensor, _: Any) -> tuple[Tensor, Any]:
        return stack(x_TBD)[0], None

    def theirs(x_TBD: Tensor, _: Any) -> tuple[Tensor, Any]:
        return module(x_TBD)[0], None

    if case.part == "stream":
        steps = [x_TBD[0] for x_TBD in inputs]
        return {OURS: arm(stack.stepper(case.B), steps), TORCH: arm(module, inputs)}
    return {OURS: arm(ours, inputs), TORCH: arm(theirs, inputs)}


def agreeing(case: Case, onnx: OnnxRuntime | None) -> dict[str, Turn]:
    """The arms' turns.

    Raises:
        Failed: The arms' outputs differ.
    """
    make_cell = construct(chosen("cell", case.cell) | {"_partial_": True})
    cell: Cell = make_cell(case.D, case.H, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            if name.startswith("b"):  # else a bias in the wrong place would not be seen
                parameter.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(len(name)))
    x_TBD = torch.randn(case.T, case.B, case.D, generator=torch.Generator().manual_seed(1))
    found = our_arms(case, cell, x_TBD)
    if onnx is not None:
        found[ONNX] = onnx.take(case, cell, x_TBD)
    expected = found[TORCH][0]
    for name, (outputs, _) in found.items():
        difference = float((outputs - expected).abs().max()) if outputs.shape == expected.shape else math.inf
        if not difference <= WITHIN:
            raise Failed(f"{case.cell} {case.label}: {name} differs from {TORCH} by {difference:.1e}")
    return {name: turn for name, (_, turn) in found.items()}


def measure(case: Case, onnx: OnnxRuntime | None, rounds: int) -> list[Row]:
    """One row an arm: microseconds of a call, and how many times as fast we are.

    Raises:
        Failed: The arms' outputs differ.
    """
    arms = agreeing(case, onnx)
    slowest = max(statistics.median(turn(3)) for turn in arms.values())
    least = math.ceil(LEAST_STEPS / (2 * rounds)) if case.part == "stream" else LEAST_CALLS
    calls = min(max(int(TURN_S / slowest), least), MOST_CALLS)
    all_s: dict[str, list[float]] = {name: [] for name in arms}

    def median_s(name: str) -> float:
        some = arms[name](calls)
        all_s[name] += some
        return statistics.median(some)

    rounds_s = turns({name: partial(median_s, name) for name in arms}, rounds)
    rows: list[Row] = []
    for name in arms:
        p50, p90, p99 = (float(value) * 1e6 for value in np.quantile(all_s[name], (0.5, 0.9, 0.99)))
        row: Row = {"cell": case.cell, "part": case.part, "shape": case.label, "arm": name, "calls": len(all_s[name])}
        row |= {"T": 1 if case.part == "stream" else case.T, "B": case.B, "D": case.D, "H": case.H}
        row |= {"p50_us": round(p50, 2), "p90_us": round(p90, 2), "p99_us": round(p99, 2)}
        if name != OURS:
            found = paired_ratio(rounds_s[OURS], rounds_s[name])
            row |= {"ours_faster": round(found.value, 3), "low": round(found.low, 3), "high": round(found.high, 3)}
        rows.append(row)
    return rows


def line(row: Row) -> str:
    """One row of the table."""
    head = f"{row['cell']:<5} {row['part']:<7} {row['shape']:<11} {row['arm']:<12}"
    times = " ".join(f"{row[key]:>10.1f}" for key in ("p50_us", "p90_us", "p99_us"))
    ratio = f"  {row['ours_faster']:>6.2f} ({row['low']:.2f}..{row['high']:.2f})" if "ours_faster" in row else ""
    return f"{head} {times}{ratio}"


def geometric_means(rows: Sequence[Row]) -> list[Row]:
    """Over the shapes of each cell and part, of how many times as fast we are as each arm."""
    ratios: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if "ours_faster" in row:
            ratios.setdefault((row["cell"], row["part"], row["arm"]), []).append(row["ours_faster"])
    return [
        {"cell": cell, "part": part, "arm": name, "ours_faster": round(statistics.geometric_mean(some), 3)}
        for (cell, part, name), some in ratios.items()
    ]


def cases(cells: Sequence[str], parts: Sequence[str]) -> list[Case]:
    """All that is measured, in order."""
    found = [Case(cell, "stream", STREAM_LENGTH, B, H, H) for cell in cells for H in HIDDEN for B in BATCHES]
    for cell in cells:
        for shape in GRID:
            T, B, *D, H = map(int, shape.split("x"))
            found.append(Case(cell, "batch", T, B, D[0] if D else H, H))
    return [case for case in found if case.part in parts]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell or part, too few rounds, or more threads than cores.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=FEWEST)
    parser.add_argument("--cells", default=",".join(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-onnx", action="store_true", help="leave ONNX Runtime out")
    options = parser.parse_args(arguments)
    take_names(options, "cells", CELLS)
    take_names(options, "parts", PARTS)
    require_rounds(options.rounds)
    resolve_threads(options.threads, 1)
    return options


def started(options: argparse.Namespace, folder: Path) -> OnnxRuntime | None:
    """ONNX Runtime's process; None, with a word why, where there is none."""
    if options.without_onnx:
        return None
    try:
        return OnnxRuntime(options.threads, folder)
    except Failed as error:
        print(f"without ONNX Runtime: {error}")
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code, 0 where all agreed."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"inference: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    others = cores_used_by_others(1.0)
    if hasattr(os, "sched_setaffinity"):  # the other process inherits it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    rows: list[Row] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        onnx = started(options, Path(name))
        print(f"{'':<37} {'p50 us':>10} {'p90 us':>10} {'p99 us':>10}  we are so many times as fast", flush=True)
        try:
            for case in cases(options.cells, options.parts):
                try:
                    new = measure(case, onnx, options.rounds)
                except Failed as error:
                    failures.append(str(error))
                    print(error, flush=True)
                    continue
                rows += new
                print("\n".join(map(line, new)), flush=True)
        finally:
            if onnx is not None:
                onnx.close()
    means = geometric_means(rows)
    for mean in means:
        print(
            f"{mean['cell']:<5} {mean['part']:<7} geometric mean against {mean['arm']:<12} {mean['ours_faster']:>5.2f}"
        )
    for row in rows:
        if row.get("high", math.inf) < 1:
            print(f"{row['arm']} is faster than we are: {line(row)}")
    warn_of_others(others)
    summary = {
        "bench": "inference",
        **facts(others),
        "onnxruntime": None if onnx is None else onnx.version,
        "threads": options.threads,
        "dtype": "float32",
        "device": "cpu",
        "rounds": options.rounds,
        "rows": rows,
        "geomean": means,
        "failures": failures,
    }
    print(json.dumps(summary))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
