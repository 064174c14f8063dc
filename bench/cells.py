"""Every cell on every backend by turns in one process: forward plus backward of one layer, and the article's model.

    python bench/cells.py [--rounds 15] [--cells rnn,lstm,gru] [--backends vendor,bptt] [--threads N] [--store [URI]]

One layer of D inputs and H units over T steps of B sequences (TxBxDxH; TxBxH: D is H), in float32 on the CPU:
outputs, then the gradients of the input and of all parameters from a given gradient of the outputs. ``article`` is a
whole training step of the article's model (three layers of 128 on (100, 32, 64), dense layers, loss, Adam) as the
trainer makes it. A backend may carry settings: ``bptt:chunk=50`` is ``backend=bptt backend.chunk=50``.

Each backend must pass its parity check first; a red one is not timed. A round times each backend once in order and
once in the opposite order; the next round starts with another one. Times are medians over the rounds, ratios are
taken within a round. The rate in per cent is that of the layer's matrix products against the best product that torch
made here just before, oneDNN's or its default, on the same threads.

``--march x86-64-v3`` compiles our code for that level in place of this processor's own: AVX2 without AVX-512, say.

Prints a table, then what the forward pass keeps for the backward pass, then one line of JSON; ``--store`` also writes
the figures to the tracking store, where reports find them. Exit 1 where a backend could not be timed.
"""

import argparse
import gc
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from peers import ratio, turn_order
from peers_ours import article, model_and_task
from torch import Tensor
from torch.autograd.profiler import profile

import gru_bench
from gru_bench.backends.base import Backend, Stack
from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import layer as native
from gru_bench.backends.native import workspace
from gru_bench.backends.native.build import CannotBuild
from gru_bench.cells.base import Cell
from gru_bench.config.check import Node, check_node, conf_dir, construct, to_node
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure import parity
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, environment, git_state, machine_id
from gru_bench.measure.kernel import kernel_name
from gru_bench.measure.threads import resolve_threads, set_threads, usable_cores
from gru_bench.models.encoder import MakeCell
from gru_bench.run import build
from gru_bench.store.bench import store_figures

Shape = tuple[int, ...]
"""(T, B, H), or (T, B, D, H)."""
Row = dict[str, Any]

CPU, DTYPE = torch.device("cpu"), torch.float32
GRID: tuple[Shape, ...] = (
    (35, 20, 200),
    (100, 32, 128),
    (100, 64, 256),
    (35, 64, 512),
    (64, 32, 32, 64),  # the recurrent layer of RLtools
    (100, 64, 512),  # torch's fastrnns benchmark
    (400, 32, 128),
)
CELLS = ("rnn", "lstm", "gru")
VENDOR = "vendor"
BACKENDS = (VENDOR, "vendor_aten", "loop", "compiled", "bptt:native=never", "bptt", "bptt:chunk=50")
PEAK_SIZES = (512, 1024, 2048)


@dataclass
class Arm:
    """One backend at one shape: how to make one step, and how much arithmetic its products have."""

    step: Callable[[], None]
    flops: float
    kernel: str


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


def sizes_of(shape: Shape) -> tuple[int, int, int, int]:
    """(T, B, D, H)."""
    T, B, *rest = shape
    return T, B, rest[0], rest[-1]


def layer_arm(make_cell: MakeCell, backend: Backend, shape: Shape) -> Arm:
    """One layer forward and backward."""
    T, B, D, H = sizes_of(shape)
    cell = make_cell(D, H, torch.Generator().manual_seed(0))
    num_weights = sum(parameter.numel() for parameter in cell.parameters() if parameter.dim() > 1)  # W, and U if any
    stack = backend.stack([cell], CPU, DTYPE)
    x_TBD = torch.randn(T, B, D, generator=torch.Generator().manual_seed(1)).requires_grad_()
    dh_TBH = torch.randn(T, B, H, generator=torch.Generator().manual_seed(2))

    def step() -> None:
        h_TBH, _ = stack(x_TBD)
        h_TBH.backward(dh_TBH)
        x_TBD.grad = None
        stack.zero_grad()

    # forward one product with each weight; backward two, for what it is multiplied with and for itself
    flops = 6.0 * T * B * num_weights
    return Arm(step, flops, kernel_name(stack, backend, D, CPU, DTYPE, num_steps=T, batch_size=B))


def article_arm(cell: str, backend_node: Node) -> tuple[Arm, Shape]:
    """A whole training step of the article's model, with its (T, B, H)."""
    settings, node = article(cell, VENDOR)
    node["backend"] = backend_node
    model, task = model_and_task(settings, node)
    task.load()
    batches = list(task.batches("train", torch.Generator().manual_seed(build.data_seed(settings.seed))))
    trainer = construct(node["trainer"])
    optimizer = trainer.make_optimizer(model)
    model.train()
    turn = iter(range(sys.maxsize))

    def step() -> None:
        trainer.step(model, optimizer, task, batches[next(turn) % len(batches)], None)

    T, B, D = batches[0].inputs.shape
    H = settings.hidden_size
    num_rows = len(build.make_cell(node)(D, H, torch.Generator()).gates) * H
    inputs = [D, *[H] * (settings.num_layers - 1)]
    flops = (
        sum(6.0 * T * B * num_rows * (size + H) for size in inputs) - 2.0 * T * B * num_rows * D
    )  # no dx at the data
    kernel = kernel_name(model.encoder, construct(backend_node), D, CPU, DTYPE, num_steps=T, batch_size=B)
    return Arm(step, flops, kernel), (T, B, H)


def timed(arms: dict[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a step in each round: the mean of the arm's two turns."""
    for arm in arms.values():
        arm.step()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for round_number in range(-1, rounds):  # the first warms up
        taken: dict[str, list[float]] = {name: [] for name in arms}
        for name in turn_order(list(arms), max(round_number, 0)):
            start = time.perf_counter()
            arms[name].step()
            taken[name].append((time.perf_counter() - start) * 1000)
        if round_number >= 0:
            for name, pair in taken.items():
                times[name].append(statistics.mean(pair))
    return times


def peak_gflops() -> float:
    """The best rate of a square float32 product here, of torch's default and of oneDNN with its weights laid out."""
    best = 0.0
    for n in PEAK_SIZES:
        a, b = torch.randn(n, n), torch.randn(n, n)
        products: list[Callable[[], object]] = [lambda a=a, b=b: a @ b]  # type: ignore[misc]
        if torch.backends.mkldnn.is_available():
            laid = torch.ops.mkldnn._reorder_linear_weight(b, n)
            products.append(lambda a=a, laid=laid: torch.ops.mkldnn._linear_pointwise(a, laid, None, "none", [], ""))  # type: ignore[misc]
        for product in products:
            for _ in range(10):
                start = time.perf_counter()
                product()
                best = max(best, 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def measure(cell: str, backends: Sequence[str], shapes: Sequence[Shape], rounds: int, peak: float) -> Iterable[Row]:
    """The rows of one cell, shape by shape, the article's step last. What cannot be timed has a reason."""
    make_cell = construct(chosen("cell", cell) | {"_partial_": True})
    nodes = {name: chosen("backend", name) for name in backends}
    made = {name: construct(node) for name, node in nodes.items()}
    reasons: dict[str, str] = {}
    red: set[str] = set()
    for name, backend in made.items():
        try:
            found = parity.check(make_cell, backend, CPU, DTYPE)
            if not found.passed:
                red.add(name)
                reasons[name] = f"parity is red: {max(found.output_error, found.gradient_error):.1e}"
        except Unsupported as error:
            reasons[name] = str(error)
    for shape in (*shapes, None):
        arms: dict[str, Arm] = {}
        sizes = None if shape is None else (*shape[:2], shape[-1])
        for name in backends:
            if name in reasons:
                continue
            if shape is None:
                arms[name], sizes = article_arm(cell, nodes[name])
            else:
                arms[name] = layer_arm(make_cell, made[name], shape)
        times = timed(arms, rounds)
        assert sizes is not None
        label = "article" if shape is None else "x".join(map(str, shape))
        for name in backends:
            row: Row = {"cell": cell, "backend": name, "shape": label, **dict(zip("TBH", sizes, strict=True))}
            if name in reasons:
                yield row | {"parity": "red" if name in red else None, "reason": reasons[name]}
                continue
            ms, arm = statistics.median(times[name]), arms[name]
            row |= {"kernel": arm.kernel, "parity": "green", "ms": round(ms, 3)}
            row["percent_of_peak"] = round(arm.flops / ms / 1e4 / peak, 1)
            if VENDOR in times:
                keys = ("ratio_to_vendor", "ratio_low", "ratio_high")
                row |= zip(keys, (round(value, 3) for value in ratio(times[VENDOR], times[name])), strict=True)
            yield row


def geometric_means(rows: Sequence[Row]) -> list[Row]:
    """Of the grid's ratios to the vendor, for each cell on each backend that was timed at every shape of it."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["shape"] != "article" and "ratio_to_vendor" in row:
            ratios.setdefault((row["cell"], row["backend"]), []).append(row["ratio_to_vendor"])
    return [
        {"cell": cell, "backend": backend, "ratio_to_vendor": round(math.exp(statistics.mean(map(math.log, some))), 3)}
        for (cell, backend), some in ratios.items()
    ]


def kept_bytes(stack: Stack, x_TBD: Tensor) -> int:
    """Bytes that are alive after a forward pass and were not before, as the profiler saw them come and go."""
    workspace.clear()  # a piece that is used again would not be counted
    gc.collect()
    with profile(use_cpu=True, profile_memory=True) as profiled:
        outputs = stack(x_TBD)
    events = cast(Any, profiled).kineto_results.events()
    del outputs  # alive until here
    return sum(event.nbytes() for event in events if event.name() == "[memory]")


def memory_row(cell_name: str, name: str, shape: Shape) -> Row | None:
    """Bytes that a token leaves in memory for the backward pass, as measured and, for our compiled code, by formula."""
    T, B, D, H = sizes_of(shape)
    backend: Backend = construct(chosen("backend", name))
    cell: Cell = construct(chosen("cell", cell_name) | {"_partial_": True})(D, H, torch.Generator().manual_seed(0))
    try:
        stack = backend.stack([cell], CPU, DTYPE)
    except Unsupported:
        return None
    measured = kept_bytes(stack, torch.randn(T, B, D, requires_grad=True)) / (T * B)
    row: Row = {
        "cell": cell_name,
        "backend": name,
        "shape": "x".join(map(str, shape)),
        "bytes_a_token": round(measured),
    }
    if name == "bptt":
        try:
            if native.has_kernel(cell, DTYPE):
                row["by_formula"] = native.saved_values(cell, DTYPE) * DTYPE.itemsize
        except CannotBuild:
            return row
    return row


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
        UserError: An unknown cell, backend or shape, or a number out of range.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument(
        "--backends", default=" ".join(BACKENDS), help="separated by blanks or, without settings, commas"
    )
    parser.add_argument("--shapes", default=",".join("x".join(map(str, shape)) for shape in GRID), help="TxB[xD]xH,...")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all usable cores")
    parser.add_argument(
        "--march", default="native", help="what our code is compiled for, as in -march; default: native"
    )
    parser.add_argument("--store", nargs="?", const="", help="write the figures there; default: mlflow.db here")
    options = parser.parse_args(arguments)
    options.cells = list(dict.fromkeys(options.cells.split(",")))
    names = options.backends
    options.backends = list(dict.fromkeys(names.split() if ":" in names or " " in names else names.split(",")))
    try:
        shapes = [tuple(int(size) for size in text.split("x")) for text in options.shapes.split(",")]
    except ValueError:
        shapes = [()]
    if any(len(shape) not in (3, 4) or min(shape) < 1 for shape in shapes):
        raise UserError(f"--shapes={options.shapes}: must be TxBxH or TxBxDxH, as 35x20x200,64x32x32x64")
    options.shapes = shapes
    if options.rounds < 1:
        raise UserError(f"--rounds={options.rounds}: must be at least 1")
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
    native_build.FLAGS = tuple(re.sub(r"^-march=.*", f"-march={options.march}", f) for f in native_build.FLAGS)  # type: ignore[assignment]
    others = cores_used_by_others(1.0)
    set_threads(options.threads)
    peak = peak_gflops()
    commit, dirty = git_state(Path(gru_bench.__file__).parent)
    print(f"best product {peak:.0f} GFLOP/s in float32 on {options.threads} threads; torch {torch.__version__}")
    heading = f"{'cell':<5} {'backend':<16} {'T x B x H':<11} {'kernel':<19} {'ms':>8} {'peak%':>5}  vendor ms / its ms"
    print(heading, flush=True)
    rows: list[Row] = []
    for cell in options.cells:
        for row in measure(cell, options.backends, options.shapes, options.rounds, peak):
            rows.append(row)
            print(line(row), flush=True)
    means = geometric_means(rows)
    print("\ngeometric mean over the grid, vendor ms / its ms")
    for mean in means:
        print(f"{mean['cell']:<5} {mean['backend']:<16} {mean['ratio_to_vendor']:>5.2f}")
    wanted = [(cell, name) for cell in options.cells for name in options.backends]
    found = [memory_row(cell, name, options.shapes[-1]) for cell, name in wanted]
    memory = [row for row in found if row is not None]
    print("\nbytes per token that the forward pass leaves for the backward pass, its outputs among them")
    for row in memory:
        formula = f", by formula {row['by_formula']}" if "by_formula" in row else ""
        print(f"{row['cell']:<5} {row['backend']:<16} {row['shape']:<11} {row['bytes_a_token']:>7}{formula}")
    if others > OTHERS_ABOVE:
        print(f"others used {others:.1f} cores at the start: do not trust these times")
    summary = {
        "machine": machine_id(),
        "torch": torch.__version__,
        "threads": options.threads,
        "dtype": "float32",
        "device": "cpu",
        "march": options.march,
        "commit": commit,
        "dirty": dirty,
        "peak_gflops": round(peak, 1),
        "rounds": options.rounds,
        "others_cores": round(others, 2),
        "environment": environment(),
        "rows": [row for row in rows if row["parity"] is not None],
        "not_run": [row for row in rows if row["parity"] is None],
        "geomean": means,
        "memory": memory,
    }
    text = json.dumps(summary)
    print(text)
    if options.store is not None:
        store_figures(text, uri=options.store or None)
    return 1 if any("reason" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
