"""What do unequal lengths cost? A ragged batch against batches of equally many tokens without padding.

    python bench/ragged.py [--rounds 15] [--cells rnn,lstm,gru] [--backends bptt,vendor,loop,packed] [--threads N]
                           [--size TxBxH] [--lengths equal,uniform,sentences]

One layer of H inputs and H units, forward and backward in float32 on the CPU, as in ``bench/cells.py``; ``packed`` is
``torch.nn`` between ``pack_padded_sequence`` and ``pad_packed_sequence``, as users have it. Lengths of B sequences, at
most T, always the same for the same size:

    equal      all of them T: nothing is padding, the lengths are only given
    uniform    from 1 to T, equally far apart
    sentences  evenly spaced quantiles of a log-normal distribution with median T / 5 and sigma 0.7, the longest T

The batch (T, B) with these lengths is compared with two full batches of as many tokens, to which no lengths are given:

    same B     as many sequences of the mean length. The stricter comparison: fewer steps, each of them full
    same T     as many steps, of fewer sequences: on average as many rows a step, and the steps cannot be run at once

Both are rounded to whole steps and sequences, so times are compared per token. A ratio of 1.1 says that a token costs
1.1 times as much where lengths differ. All batches of a cell are timed by turns, once in order and once in the
opposite order a round; ratios are medians of the ratios within a round. ``padded`` is the padding's share of the
ragged batch.

Prints a table and then one line of JSON.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import torch
from cells import chosen
from peers import turn_order
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gru_bench.backends.base import Backend
from gru_bench.config.check import construct
from gru_bench.errors import UserError
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, environment, machine_id
from gru_bench.measure.threads import resolve_threads, set_threads, usable_cores
from gru_bench.models.encoder import MakeCell

PACKED = "packed"
MODULES: dict[str, Callable[[int, int], nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
BACKENDS = ("bptt", "vendor", "loop", PACKED)
SIZE = (100, 32, 128)

CPU, DTYPE = torch.device("cpu"), torch.float32

Row = dict[str, Any]
Layer = Callable[[Tensor, Tensor | None], Tensor]


def equal(T: int, B: int) -> list[int]:
    """Nothing is padding."""
    return [T] * B


def uniform(T: int, B: int) -> list[int]:
    """From 1 to T."""
    return [max(round(T * (i + 1) / B), 1) for i in range(B)]


def sentences(T: int, B: int) -> list[int]:
    """Many short ones and a few long ones."""
    quantiles = [math.exp(0.7 * NormalDist().inv_cdf((i + 0.5) / B)) for i in range(B)]
    return [*(min(max(round(T / 5 * q), 1), T) for q in quantiles[:-1]), T]


LENGTHS: dict[str, Callable[[int, int], list[int]]] = {"equal": equal, "uniform": uniform, "sentences": sentences}


def layer_of(name: str, cell: str, H: int) -> tuple[Layer, nn.Module]:
    """(x_TBD, lengths or None) -> h_TBH, and the module that it runs."""
    if name == PACKED:
        torch.manual_seed(0)
        module = MODULES[cell](H, H)

        def packed(x_TBD: Tensor, lengths: Tensor | None) -> Tensor:
            if lengths is None:
                return module(x_TBD)[0]
            outputs = module(pack_padded_sequence(x_TBD, lengths, enforce_sorted=False))[0]
            return pad_packed_sequence(outputs, total_length=x_TBD.shape[0])[0]

        return packed, module
    make_cell: MakeCell = construct(chosen("cell", cell) | {"_partial_": True})
    backend: Backend = construct(chosen("backend", name))
    stack = backend.stack([make_cell(H, H, torch.Generator().manual_seed(0))], CPU, DTYPE)
    return lambda x_TBD, lengths: stack(x_TBD, None, lengths)[0], stack


def step_of(layer: Layer, module: nn.Module, T: int, B: int, H: int, lengths: list[int] | None) -> Callable[[], None]:
    """Forward and backward of one batch; sequences in an order that has nothing to do with their lengths."""
    generator = torch.Generator().manual_seed(1)
    x_TBH = torch.randn(T, B, H, generator=generator).requires_grad_()
    dh_TBH = torch.randn(T, B, H, generator=generator)
    lengths_B = None if lengths is None else torch.tensor(lengths)[torch.randperm(B, generator=generator)]

    def step() -> None:
        layer(x_TBH, lengths_B).backward(dh_TBH)
        x_TBH.grad = None
        module.zero_grad()

    return step


def measure(
    cell: str, backends: Sequence[str], size: tuple[int, int, int], names: Sequence[str], rounds: int
) -> list[Row]:
    """The rows of one cell."""
    T, B, H = size
    steps: dict[str, Callable[[], None]] = {}
    tokens: dict[str, int] = {}
    for backend in backends:
        layer, module = layer_of(backend, cell, H)
        for name in names:
            lengths = LENGTHS[name](T, B)
            total = sum(lengths)
            shapes = {
                "ragged": (T, B),
                "same_B": (max(round(total / B), 1), B),
                "same_T": (T, max(round(total / T), 1)),
            }
            for kind, (t, b) in shapes.items():
                key = f"{backend} {name} {kind}"
                ragged = kind == "ragged"
                steps[key] = step_of(layer, module, t, b, H, lengths if ragged else None)
                tokens[key] = total if ragged else t * b
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {key: [] for key in steps}
    for round_number in range(rounds):
        taken: dict[str, list[float]] = {key: [] for key in steps}
        for key in turn_order(list(steps), round_number):
            start = time.perf_counter()
            steps[key]()
            taken[key].append((time.perf_counter() - start) * 1e6 / tokens[key])
        for key, pair in taken.items():
            times[key].append(statistics.mean(pair))
    rows = []
    for backend in backends:
        for name in names:
            ragged_us = times[f"{backend} {name} ragged"]
            row: Row = {"cell": cell, "backend": backend, "lengths": name, "tokens": tokens[f"{backend} {name} ragged"]}
            row["padded"] = round(1 - row["tokens"] / (T * B), 3)
            row["us_a_token"] = round(statistics.median(ragged_us), 3)
            for kind in ("same_B", "same_T"):
                full_us = times[f"{backend} {name} {kind}"]
                row[kind] = round(statistics.median(a / b for a, b in zip(ragged_us, full_us, strict=True)), 3)
            rows.append(row)
    return rows


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell, backend or distribution, or a number out of range.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", default=",".join(MODULES))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--lengths", default=",".join(LENGTHS))
    parser.add_argument("--size", default="x".join(map(str, SIZE)), help="TxBxH")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all usable cores")
    options = parser.parse_args(arguments)
    for key, valid in (("cells", MODULES), ("lengths", LENGTHS)):
        asked = list(dict.fromkeys(getattr(options, key).split(",")))
        unknown = [name for name in asked if name not in valid]
        if unknown:
            raise UserError(f"--{key}={','.join(unknown)}: valid: {', '.join(valid)}")
        setattr(options, key, asked)
    options.backends = list(dict.fromkeys(options.backends.split(",")))
    for backend in options.backends:
        if backend != PACKED:
            chosen("backend", backend)
    sizes = options.size.split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UserError(f"--size={options.size}: must be TxBxH of positive numbers, as 100x32x128")
    options.size = tuple(map(int, sizes))
    if options.rounds < 1:
        raise UserError(f"--rounds={options.rounds}: must be at least 1")
    resolve_threads(options.threads, 1)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"ragged: {error}", file=sys.stderr)
        return 2
    others = cores_used_by_others(1.0)
    set_threads(options.threads)
    print(f"{'cell':<5} {'backend':<8} {'lengths':<10} {'padded':>6} {'us/token':>9} {'/ same B':>9} {'/ same T':>9}")
    rows: list[Row] = []
    for cell in options.cells:
        for row in measure(cell, options.backends, options.size, options.lengths, options.rounds):
            rows.append(row)
            head = f"{row['cell']:<5} {row['backend']:<8} {row['lengths']:<10} {row['padded']:>6.0%}"
            print(f"{head} {row['us_a_token']:>9.3f} {row['same_B']:>9.2f} {row['same_T']:>9.2f}", flush=True)
    if others > OTHERS_ABOVE:
        print(f"others used {others:.1f} cores at the start: do not trust these times")
    facts = {"machine": machine_id(), "torch": torch.__version__, "threads": options.threads, "dtype": "float32"}
    summary = {**facts, "size": options.size, "rounds": options.rounds, "others_cores": round(others, 2)}
    print(json.dumps({**summary, "environment": environment(), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
