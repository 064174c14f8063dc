"""What do unequal lengths cost? A ragged batch against batches of equally many tokens without padding.

    python bench/ragged.py [--rounds 20] [--cells rnn,lstm,gru] [--backends bptt,vendor,loop,packed] [--threads N]
                           [--size TxBxH] [--lengths equal,uniform,sentences]

One layer of H inputs and H units, forward and backward in float32 on the CPU, as in ``bench/cells.py``; ``packed`` is
``torch.nn`` between ``pack_padded_sequence`` and ``pad_packed_sequence``, as users have it. Lengths of B sequences, at
most T, always the same for the same size:

    equal      all of them T: nothing is padding, the lengths are only given. Always timed. An encoder drops such
               lengths, which are given to the layer itself here: no model pays for them
    uniform    from 1 to T, equally far apart
    sentences  evenly spaced quantiles of a log-normal distribution with median T / 5 and sigma 0.7, the longest T

The batch (T, B) with these lengths is compared with two full batches of as many tokens, to which no lengths are given:

    same B     as many sequences of the mean length. The stricter comparison: fewer steps, each of them full
    same T     as many steps, of fewer sequences: on average as many rows a step, and the steps cannot be run at once

Both are rounded to whole steps and sequences, so times are compared per token. A ratio of 1.1 says that a token costs
1.1 times as much where lengths differ. All batches of a cell are timed by turns, once in order and once in the
opposite order a round; ratios are taken within a round and have an interval at 95 % (``gru_bench.statistics.ratios``).
Of ``equal`` both full batches are the same thing: how far their ratio reaches from 1 is the backend's noise ``floor``,
and a ratio inside it is said to be in the noise. ``padded`` is the padding's share of the ragged batch.

A backend must pass its parity check first. Prints a table and then one line of JSON. Exit 1 where a backend could not
be timed, and where a token in unequal lengths costs ours more than 1.1 times that of ``same B``.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import NormalDist
from typing import Any

import torch
from around import facts, require_rounds, take_names, warn_of_others
from cells import chosen
from cells_arms import Arm, Place, turn_s, turns
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gru_bench.backends.base import Backend
from gru_bench.backends.vendor import Vendor
from gru_bench.config.check import construct
from gru_bench.errors import Unsupported, UserError
from gru_bench.measure import parity
from gru_bench.measure.environment import cores_used_by_others
from gru_bench.measure.kernel import kernel_of_call
from gru_bench.measure.threads import resolve_threads, set_threads, usable_cores
from gru_bench.models.encoder import MakeCell
from gru_bench.statistics.ratios import FEWEST, NOISE, finding, floor_of, paired_ratio

PACKED, OURS, EQUAL = "packed", "bptt", "equal"
MODULES: dict[str, Callable[[int, int], nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
BACKENDS = ("bptt", "vendor", "loop", PACKED)
SIZE = (100, 32, 128)
LIMIT = 1.1
"""How many times as much a token in unequal lengths may cost on our own backend."""

CPU, DTYPE = torch.device("cpu"), torch.float32
PLACE = Place(CPU, DTYPE, "float32")

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


LENGTHS: dict[str, Callable[[int, int], list[int]]] = {EQUAL: equal, "uniform": uniform, "sentences": sentences}


def maker_of(cell: str) -> MakeCell:
    """What makes one cell."""
    maker: MakeCell = construct(chosen("cell", cell) | {"_partial_": True})
    return maker


def backend_of(name: str) -> Backend:
    """The backend of that name; ``packed`` runs the vendor's kernels."""
    backend: Backend = Vendor() if name == PACKED else construct(chosen("backend", name))
    return backend


def objection(cell: str, name: str) -> str | None:
    """Why a cell is not timed on a backend; None where it is."""
    try:
        found = parity.check(maker_of(cell), backend_of(name), CPU, DTYPE)
    except Unsupported as error:
        return str(error)
    return None if found.passed else f"parity is red: {max(found.output_error, found.gradient_error):.1e}"


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
    make_cell, backend = maker_of(cell), backend_of(name)
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
    """The rows of one cell; a backend that could not be timed has one row with the reason."""
    T, B, H = size
    reasons = {backend: objection(cell, backend) for backend in backends}
    steps: dict[str, Callable[[], None]] = {}
    tokens: dict[str, int] = {}
    kernels: dict[str, str] = {}
    for backend in (backend for backend in backends if reasons[backend] is None):
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
            ragged_step = steps[f"{backend} {name} ragged"]
            kernels[f"{backend} {name}"] = kernel_of_call(ragged_step, module, backend_of(backend), CPU)

    def us_a_token(key: str) -> float:
        return turn_s(Arm(steps[key], 0.0, ""), 1, PLACE) * 1e6 / tokens[key]

    arms = {key: partial(us_a_token, key) for key in steps}
    if arms:
        turns(arms, 1)  # warms up
    times = turns(arms, rounds) if arms else {}
    rows: list[Row] = []
    for backend in backends:
        if reasons[backend] is not None:
            rows.append({"cell": cell, "backend": backend, "reason": reasons[backend]})
            continue
        floor = floor_of(paired_ratio(times[f"{backend} {EQUAL} same_B"], times[f"{backend} {EQUAL} same_T"]))
        for name in names:
            key = f"{backend} {name}"
            row: Row = {"cell": cell, "backend": backend, "lengths": name, "kernel": kernels[key]}
            row |= {"tokens": tokens[f"{key} ragged"], "padded": round(1 - tokens[f"{key} ragged"] / (T * B), 3)}
            row |= {"us_a_token": round(statistics.median(times[f"{key} ragged"]), 3), "floor": round(floor, 3)}
            for kind in ("same_B", "same_T"):
                found = paired_ratio(times[f"{key} {kind}"], times[f"{key} ragged"])
                row |= {kind: round(found.value, 3), f"{kind}_low": round(found.low, 3)}
                row |= {f"{kind}_high": round(found.high, 3), f"{kind}_noise": finding(found, floor) == NOISE}
            row["above_limit"] = is_above(row)
            rows.append(row)
    return rows


def is_above(row: Row) -> bool:
    """Whether unequal lengths cost our own backend more than the limit."""
    return row["backend"].partition(":")[0] == OURS and row["lengths"] != EQUAL and row["same_B"] > LIMIT


def line(row: Row) -> str:
    """One row of the table."""
    if "reason" in row:
        return f"{row['cell']:<5} {row['backend']:<8} not timed: {row['reason']}"
    said = [f"above {LIMIT}"] * row["above_limit"] + ["same B in the noise"] * row["same_B_noise"]
    spans = [f"{row[kind]:.2f} ({row[f'{kind}_low']:.2f}..{row[f'{kind}_high']:.2f})" for kind in ("same_B", "same_T")]
    head = f"{row['cell']:<5} {row['backend']:<8} {row['lengths']:<10} {row['kernel']:<19} {row['padded']:>6.0%}"
    times = f"{row['us_a_token']:>9.3f} {spans[0]:>18} {spans[1]:>18} {row['floor']:>6.3f}"
    return f"{head} {times}  {', '.join(said)}".rstrip()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown cell, backend or distribution, or a number out of range.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=FEWEST)
    parser.add_argument("--cells", default=",".join(MODULES))
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--lengths", default=",".join(LENGTHS))
    parser.add_argument("--size", default="x".join(map(str, SIZE)), help="TxBxH")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all usable cores")
    options = parser.parse_args(arguments)
    take_names(options, "cells", MODULES)
    take_names(options, "lengths", LENGTHS)
    options.lengths = list(dict.fromkeys([EQUAL, *options.lengths]))
    options.backends = list(dict.fromkeys(options.backends.split(",")))
    for backend in options.backends:
        if backend != PACKED:
            chosen("backend", backend)
    sizes = options.size.split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise UserError(f"--size={options.size}: must be TxBxH of positive numbers, as 100x32x128")
    options.size = tuple(map(int, sizes))
    require_rounds(options.rounds)
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
    print(
        f"{'cell':<5} {'backend':<8} {'lengths':<10} {'kernel':<19} {'padded':>6} {'us/token':>9} {'/ same B':>18} "
        f"{'/ same T':>18} {'floor':>6}"
    )
    rows: list[Row] = []
    for cell in options.cells:
        for row in measure(cell, options.backends, options.size, options.lengths, options.rounds):
            rows.append(row)
            print(line(row), flush=True)
    warn_of_others(others)
    settings = {"threads": options.threads, "dtype": "float32", "size": options.size, "rounds": options.rounds}
    print(json.dumps({**facts(others), **settings, "rows": rows}))
    return 1 if any("reason" in row or row["above_limit"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
