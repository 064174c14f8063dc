"""Every cell on every backend by turns in one process: forward plus backward of one layer, and the article's model.

    python bench/cells.py [--rounds 15] [--cells rnn,lstm,gru] [--backends vendor,bptt] [--threads N] [--store [URI]]
                          [--device cuda] [--dtype bfloat16] [--shapes TxBxH,...] [--forward] [--json FILE]

One layer of D inputs and H units over T steps of B sequences (TxBxDxH; TxBxH: D is H): outputs, then the gradients of
the input and of all parameters from a given gradient of the outputs. TxBxDxHxL has L layers, with a b at the end in
both directions; such shapes are no part of the grid's mean. ``article`` is a whole training step of the article's model
(three layers of 128 on (100, 32, 64), dense layers, loss, Adam) as the trainer makes it, in float32 alone. A backend
may carry settings: ``bptt:chunk=50`` is ``backend=bptt backend.chunk=50``.

Everything is in the type of ``--dtype``, parameters too; ``tf32`` is float32 whose products a CUDA device may round to
10 bits, which float32 itself never allows here. On CUDA a turn is several steps between two events.

Each backend must pass its parity check first; a red one is not timed. A round times each backend once in order and
once in the opposite order; the next round starts with another one. Times are medians over the rounds, ratios are
taken within a round; from 20 rounds on they have an interval at 95 %, before that the smallest and the largest are
given. The rate in per cent is that of the layer's matrix products against the best product that torch
made here just before, oneDNN's or its default, on the same threads.

``--march x86-64-v3`` compiles our code for that level in place of this processor's own: AVX2 without AVX-512, say.

Prints a table, then one line of JSON; ``--store`` also writes the figures to the tracking store, where reports find
them. Exit 1 where a backend could not be timed. What layers need of memory: ``bench/memory.py``.
"""

import argparse
import json
import math
import os
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from around import facts, warn_of_others
from cells_arms import Arm, Place, Shape, article_arm, layer_arm, timed
from omegaconf import OmegaConf
from peers import ratio

from gru_bench.backends.base import Backend
from gru_bench.backends.native import build as native_build
from gru_bench.config.check import Node, check_node, conf_dir, construct, to_node
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure import parity
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.measure.peak import best_product_gflops
from gru_bench.measure.threads import resolve_threads, set_threads, usable_cores
from gru_bench.models.encoder import MakeCell
from gru_bench.store.bench import store_figures

Row = dict[str, Any]

GRID = (
    "35x20x200",
    "100x32x128",
    "100x64x256",
    "35x64x512",
    "64x32x32x64",  # the recurrent layer of RLtools
    "100x64x512",  # torch's fastrnns benchmark
    "400x32x128",
)
ARTICLE = "article"
CELLS = ("rnn", "lstm", "gru")
VENDOR = "vendor"
BACKENDS = {
    "cpu": (VENDOR, "vendor_aten", "loop", "compiled", "bptt:native=never", "bptt", "bptt:chunk=50"),
    "cuda": (VENDOR, "loop", "compiled"),
}
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def chosen(group: str, name: str) -> Node:
    """A yaml of ``conf/``, with ``:key=value,key=value`` after its name laid over it.

    Raises:
        UserError: There is no such yaml, or no such key in it.
    """
    stem, _, settings = name.partition(":")
    path = conf_dir() / group / f"{stem}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise UserError(f"--{group}s: unknown {stem!r}; valid: {names}")
    node = to_node(OmegaConf.load(path))  # type: ignore[arg-type]
    laid = to_node(OmegaConf.from_dotlist(settings.split(",") if settings else []))
    unknown = sorted(laid.keys() - node.keys())
    if unknown:
        raise UserError(f"--{group}s {name}: {stem} has no {', '.join(unknown)}; valid: {', '.join(sorted(node))}")
    check_node(node | laid, group)
    return node | laid


def measure(cell: str, options: argparse.Namespace, place: Place, peak: float) -> Iterable[Row]:
    """The rows of one cell, shape by shape, the article's step last. What cannot be timed has a reason."""
    make_cell = construct(chosen("cell", cell) | {"_partial_": True})
    nodes = {name: chosen("backend", name) for name in options.backends}
    made = {name: construct(node) for name, node in nodes.items()}
    reasons: dict[str, str] = {}
    red: set[str] = set()
    for name, backend in made.items():
        try:
            found = parity.check(make_cell, backend, place.device, place.dtype)
            if not found.passed:
                red.add(name)
                reasons[name] = f"parity is red: {max(found.output_error, found.gradient_error):.1e}"
        except Unsupported as error:
            reasons[name] = str(error)
        except RuntimeError as error:
            if place.device.type == "cpu":
                raise
            reasons[name] = first_line(error)
    whole_step = place.dtype is torch.float32 and not options.forward
    for shape in (*options.shapes, *((ARTICLE,) if whole_step and options.article else ())):
        yield from rows_of(cell, make_cell, nodes, made, shape, reasons, red, options, place, peak)


def rows_of(
    cell: str,
    make_cell: MakeCell,
    nodes: dict[str, Node],
    made: dict[str, Backend],
    shape: Shape | str,
    reasons: dict[str, str],
    red: set[str],
    options: argparse.Namespace,
    place: Place,
    peak: float,
) -> Iterable[Row]:
    """One cell on all backends at one shape. On CUDA an error, such as want of memory, is the reason of one row."""
    arms: dict[str, Arm] = {}
    here = dict(reasons)
    sizes = shape if isinstance(shape, Shape) else None
    for name in [name for name in made if name not in here]:
        try:
            if isinstance(shape, Shape):
                arms[name] = layer_arm(make_cell, made[name], shape, place, forward=options.forward)
            else:
                arms[name], sizes = article_arm(cell, nodes[name], place)
            if place.device.type == "cuda":
                arms[name].step()
                place.wait()
        except RuntimeError as error:
            if place.device.type == "cpu":
                raise
            arms.pop(name, None)
            here[name] = first_line(error)
    times = timed({name: arms[name] for name in made if name in arms}, options.rounds, place)
    label = shape.text if isinstance(shape, Shape) else shape
    for name in made:
        row: Row = {"cell": cell, "backend": name, "shape": label}
        row |= {} if sizes is None else {"T": sizes.T, "B": sizes.B, "H": sizes.H}
        if name in here:
            yield row | {"parity": "red" if name in red else None, "reason": here[name]}
            continue
        ms, arm = statistics.median(times[name]), arms[name]
        row |= {"kernel": arm.kernel, "parity": "green", "ms": round(ms, 3)}
        row["percent_of_peak"] = round(arm.flops / ms / 1e4 / peak, 1)
        if VENDOR in times:
            keys = ("ratio_to_vendor", "ratio_low", "ratio_high")
            row |= zip(keys, (round(value, 3) for value in ratio(times[VENDOR], times[name])), strict=True)
        yield row


def first_line(error: BaseException) -> str:
    """An error in one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'without a word'}"


def geometric_means(rows: Sequence[Row], grid: set[str]) -> list[Row]:
    """Of the grid's ratios to the vendor, for each cell on each backend that was timed at every shape of it."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["shape"] in grid and "ratio_to_vendor" in row:
            ratios.setdefault((row["cell"], row["backend"]), []).append(row["ratio_to_vendor"])
    return [
        {"cell": cell, "backend": backend, "ratio_to_vendor": round(math.exp(statistics.mean(map(math.log, some))), 3)}
        for (cell, backend), some in ratios.items()
    ]


def line(row: Row) -> str:
    """One row of the table."""
    head = f"{row['cell']:<5} {row['backend']:<16} {row['shape']:<11}"
    if "reason" in row:
        return f"{head} not timed: {row['reason']}"
    timed_row = f"{head} {row['kernel']:<19} {row['ms']:>8.2f} {row['percent_of_peak']:>5.0f}"
    if "ratio_to_vendor" not in row:
        return timed_row
    return f"{timed_row}  {row['ratio_to_vendor']:>5.2f} ({row['ratio_low']:.2f}..{row['ratio_high']:.2f})"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell, backend, shape, device or type, or a number out of range.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--backends", help="separated by blanks or, without settings, commas")
    parser.add_argument("--shapes", default=",".join(GRID), help="TxB[xD]xH,... or TxBxDxHxL[b],...")
    parser.add_argument("--no-article", dest="article", action="store_false", help="without the article's step")
    parser.add_argument("--forward", action="store_true", help="the forward pass alone, as in inference")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help=", ".join(DTYPES))
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all usable cores")
    parser.add_argument(
        "--march", default="native", help="what our code is compiled for, as in -march; default: native"
    )
    parser.add_argument("--store", nargs="?", const="", help="write the figures there; default: mlflow.db here")
    parser.add_argument("--json", type=Path, help="write what the last line says there, anew after each cell")
    options = parser.parse_args(arguments)
    if options.device not in BACKENDS:
        raise UserError(f"--device={options.device}: not supported; valid: cpu, cuda")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device=cuda: torch sees no CUDA device here; valid: cpu")
    if options.dtype not in DTYPES or (options.dtype == "tf32" and options.device == "cpu"):
        valid = [name for name in DTYPES if options.device == "cuda" or name != "tf32"]
        raise UserError(f"--dtype={options.dtype}: not supported on {options.device}; valid: {', '.join(valid)}")
    options.cells = list(dict.fromkeys(options.cells.split(",")))
    names = options.backends or " ".join(BACKENDS[options.device])
    options.backends = list(dict.fromkeys(names.split() if ":" in names or " " in names else names.split(",")))
    options.shapes = [Shape.parse(text) for text in dict.fromkeys(options.shapes.split(","))]
    if options.rounds < 1:
        raise UserError(f"--rounds={options.rounds}: must be at least 1")
    if options.forward and options.store is not None:
        raise UserError("--store: takes forward and backward passes; valid: without --forward")
    if options.march != "native" and options.store is not None:
        raise UserError("--store: takes code made for this processor; valid: without --march")
    for cell in options.cells:
        chosen("cell", cell)
    for backend in options.backends:
        chosen("backend", backend)
    resolve_threads(options.threads, 1)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, store where asked. Returns the exit code, 0 where all was timed."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"cells: {error}", file=sys.stderr)
        return 2
    if options.march != "native":
        os.environ["GRU_BENCH_NATIVE"] = "compile"
    native_build.FLAGS = tuple(re.sub(r"^-march=.*", f"-march={options.march}", f) for f in native_build.FLAGS)  # type: ignore[assignment]
    place = Place(torch.device(options.device), DTYPES[options.dtype], options.dtype)
    others = cores_used_by_others(1.0)
    set_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.dtype == "tf32"
    peak = best_product_gflops(place.device, place.dtype, options.threads)
    around = facts(others)
    on = f"on {options.threads} threads" if options.device == "cpu" else f"on {torch.cuda.get_device_name()}"
    print(f"best product {peak:.0f} GFLOP/s in {options.dtype} {on}; torch {torch.__version__}")
    heading = f"{'cell':<5} {'backend':<16} {'T x B x H':<11} {'kernel':<19} {'ms':>8} {'peak%':>5}  vendor ms / its ms"
    print(heading, flush=True)
    rows: list[Row] = []
    grid = {shape.text for shape in options.shapes if shape.in_grid}

    def summary() -> str:
        found = {
            **around,
            "threads": options.threads,
            "dtype": options.dtype,
            "device": options.device,
            "forward": options.forward,
            "march": options.march,
            "peak_gflops": round(peak, 1),
            "rounds": options.rounds,
            "rows": [row for row in rows if row["parity"] is not None],
            "not_run": [row for row in rows if row["parity"] is None],
            "geomean": geometric_means(rows, grid),
        }
        return json.dumps(found)

    for cell in options.cells:
        for row in measure(cell, options, place, peak):
            rows.append(row)
            print(line(row), flush=True)
        if options.json is not None:
            options.json.write_text(summary() + "\n", encoding="utf-8")
    print("\ngeometric mean over the grid, vendor ms / its ms")
    for mean in geometric_means(rows, grid):
        print(f"{mean['cell']:<5} {mean['backend']:<16} {mean['ratio_to_vendor']:>5.2f}")
    warn_of_others(others)
    text = summary()
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.store is not None:
        store_figures(text, uri=options.store or None)
    return 1 if any("reason" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
