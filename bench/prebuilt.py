"""What a wheel's compiled code loses against code made for this very processor, and whether both give the same numbers.

    python bench/prebuilt.py [--cells rnn,lstm,gru] [--shapes TxBxH,...] [--rounds 15] [--march native]
                             [--libraries FOLDER] [--json FILE]

Each round runs a forward and backward pass on every library in turn, on one thread, so that all have the same company;
what is timed is the thread's own processor time, which other work on the machine changes less than the clock on the
wall. Columns: milliseconds of a pass by the code compiled here; then for each library of the wheel that this processor
runs the median over the rounds of its time over that one's, with the quartiles (1.02 is 2% slower); and the largest
difference of outputs and gradients, relative to the largest number, where 0 is bit for bit the same.

--march compiles the code to compare with for another processor, as ``haswell`` for one without AVX-512. --libraries
names a folder with the libraries of a wheel; without it they are made now, which takes a minute.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cells import chosen
from cells_arms import Place, Shape
from torch import Tensor

from gru_bench.backends.bptt import BPTT
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import compiling, prebuilt
from gru_bench.backends.native import layer as native
from gru_bench.backends.native.build import CannotBuild
from gru_bench.config.check import construct
from gru_bench.errors import UserError
from gru_bench.measure.environment import cores_used_by_others

Row = dict[str, Any]
Pass = Callable[[], tuple[Tensor, ...]]

SHAPES = "35x20x200,100x32x128,100x64x256"
SAMPLE_S = 0.05
PLACE = Place(torch.device("cpu"), torch.float32, "float32")


def take(choice: str) -> None:
    """Let layers run by that library from now on, as ``$GRU_BENCH_NATIVE`` would."""
    os.environ[prebuilt.VARIABLE] = choice
    for function in (native_build.from_wheel, native_build.library, native_build.build_id, native.kernel):
        function.cache_clear()


def levels_here() -> list[str]:
    """The libraries of the wheel that this processor runs, best first."""
    return [level for level, needs in prebuilt.NEEDS.items() if needs <= prebuilt.processor_flags()]


def layer_pass(cell: str, shape: Shape) -> Pass:
    """One forward and backward pass: outputs and gradients."""
    make_cell = construct(chosen("cell", cell) | {"_partial_": True})
    encoder = shape.encoder(make_cell, BPTT(native="required"), PLACE)
    generator = torch.Generator().manual_seed(0)
    x_TBD, dh_TBH = (torch.randn(shape.T, shape.B, size, generator=generator) for size in (shape.D, shape.H))

    def run() -> tuple[Tensor, ...]:
        h_TBH = encoder(x_TBD)[0]
        return h_TBH.detach(), *torch.autograd.grad(h_TBH, list(encoder.parameters()), dh_TBH)

    return run


def timed(run: Pass, times: int) -> float:
    """Seconds of this thread for one pass, over so many."""
    started = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - started) / times


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest one, relative to each tensor's largest number."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp(min=1e-30)) for one, other in pairs)


def against(
    cell: str, shape: Shape, codes: Mapping[str, Callable[[], None]], rounds: int
) -> tuple[float, dict[str, Row]]:
    """One cell at one shape on several compiled codes by turns, each compared with the first.

    Args:
        cell: Of the layer.
        shape: Likewise.
        codes: What takes each of them, by name.
        rounds: In every second one the order is the opposite.

    Returns:
        Seconds of a pass by the first; and of each other one ``ratio``, ``low``, ``high`` and ``difference``.
    """
    first, *others = codes
    codes[first]()
    run = layer_pass(cell, shape)
    reference = run()
    times = max(1, round(SAMPLE_S / timed(run, 2)))
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    off = dict.fromkeys(codes, 0.0)
    for turn in range(rounds):
        for name in codes if turn % 2 == 0 else reversed(list(codes)):
            codes[name]()
            off[name] = max(off[name], difference(run(), reference))  # warms what the others have left cold, too
            seconds[name].append(timed(run, times))
    found = {}
    for name in others:
        ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds[first], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {"ratio": middle, "low": low, "high": high, "difference": off[name]}
    return statistics.median(seconds[first]), found


def row_of(cell: str, shape: Shape, levels: Sequence[str], rounds: int) -> Row:
    """One cell at one shape."""
    codes = {choice: partial(take, choice) for choice in ("compile", *levels)}
    seconds, found = against(cell, shape, codes, rounds)
    return {"cell": cell, "shape": shape.text, "compile_ms": 1e3 * seconds, **found}


def text_of(row: Row, levels: Sequence[str]) -> str:
    """A row of the table."""
    text = f"{row['cell']:<6} {row['shape']:<12} {row['compile_ms']:>8.2f}"
    for level in levels:
        of = row[level]
        text += f"   {of['ratio']:>6.3f} ({of['low']:.3f}..{of['high']:.3f}) {of['difference']:>8.1e}"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="rnn,lstm,gru")
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--march", default="native")
    parser.add_argument("--libraries", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    native_build.FLAGS = tuple(re.sub(r"^-march=.*", f"-march={options.march}", f) for f in native_build.FLAGS)  # type: ignore[assignment]
    before = os.environ.get(prebuilt.VARIABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            prebuilt.FOLDER = options.libraries or Path(folder)
            if options.rounds < 2:
                raise UserError(f"--rounds={options.rounds}: must be at least 2")
            shapes = [Shape.parse(text) for text in options.shapes.split(",")]
            cells = options.cells.split(",")
            for cell in cells:
                chosen("cell", cell)
            levels = levels_here()
            if not levels:
                raise UserError("this processor runs no library of a wheel: it needs AVX2, on Linux")
            if options.libraries is None:
                compiling.compile_for_wheel(Path(folder))
            for choice in ("compile", *levels):
                take(choice)
                print(f"{choice}: {native_build.native_code()}")
            print(f"others use {cores_used_by_others(1.0):.1f} cores")
            print(f"{'cell':<6} {'T x B x H':<12} {'ms':>8}" + "".join(f"   {level:>6} {'':23}" for level in levels))
            rows = []
            for cell in cells:
                for shape in shapes:
                    rows.append(row_of(cell, shape, levels, options.rounds))
                    print(text_of(rows[-1], levels), flush=True)
            for level in levels:
                print(f"{level}: geometric mean {statistics.geometric_mean(row[level]['ratio'] for row in rows):.3f}")
            if options.json:
                options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    except (UserError, CannotBuild) as error:
        print(f"prebuilt: {error}", file=sys.stderr)
        return 2
    finally:
        os.environ.pop(prebuilt.VARIABLE, None)
        if before is not None:
            os.environ[prebuilt.VARIABLE] = before
    return 0


if __name__ == "__main__":
    sys.exit(main())
