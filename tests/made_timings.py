"""Paired timings made by hand, as the reader would give them: a law says how long each cell takes where."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import frames
import pandas as pd

from gru_bench.store.read import Results
from gru_bench.store.schema import TIMING_COLUMNS

KERNELS = {("gru", "vendor"): "ATen loop", ("lstm", "vendor"): "oneDNN", ("rnn", "vendor"): "ATen loop"}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
MIB = 2.0**20
Law = Callable[[str, str, dict[str, Any]], float]
"""Milliseconds of a call by cell, backend and the row's facts."""


def usual(cell: str, backend: str, row: dict[str, Any]) -> float:
    """A vendor's LSTM with a high cost of each call and fast steps, as on a CPU; native cells fast throughout."""
    work = GATES[cell] * row["steps"] * row["batch"] * (row["hidden_size_asked"] / 64) ** 2 * 0.0005
    if backend == "native":
        return 0.002 + row["steps"] * 0.001 * GATES[cell] ** 0.5 + work
    if (cell, backend) == ("lstm", "vendor"):
        return 0.3 + row["steps"] * 0.004 + 1.3 * work
    return 0.03 + row["steps"] * 0.012 + 2.5 * work


def timing(
    first: tuple[str, str] = ("gru", "vendor"),
    second: tuple[str, str] = ("lstm", "vendor"),
    *,
    ratio: float | None = None,
    law: Law = usual,
    half: float = 0.02,
    **facts: Any,
) -> dict[str, Any]:
    """One row of ``timings``; ``half`` is half of the interval's width, relative, and the floor is 1 % wide."""
    row: dict[str, Any] = {
        "experiment": "quick" if facts.get("task") else "regimes",
        "status": "finished", "machine": "ab12cd34", "device": "cpu", "dtype": "float32",
        "threads": 1, "torch": "2.13.0", "git_commit": "0123456789abcdef", "dirty": False,
        "instrument": "cores 0; TF32 off; deterministic off; g++ 12.2 -O3", "measured_at": "2026-11-27T12:00:00",
        "situation": "train", "task": "", "steps": 100, "batch": 32, "inputs": 64, "hidden_size_asked": 64,
        "num_layers": 1, "bidirectional": False, "budget": "hidden", "floor": 1.01, "rounds": 40, "repeated": 1,
        "others_cores": 0.02, "steal_percent": 0.1, "mhz_low": 2590.0, "mhz_high": 2610.0, "forced": False,
    }  # fmt: skip
    row |= facts
    times = [law(cell, backend, row) for cell, backend in (first, second)]
    if ratio is not None:
        times[1] = times[0] * ratio
    for arm, (cell, backend), ms in zip(("first_", "second_"), (first, second), times, strict=True):
        hidden, gates = row["hidden_size_asked"], GATES.get(cell, 3)
        parameters = gates * (row["inputs"] * hidden + hidden**2 + 2 * hidden)
        gflop = 2 * gates * row["steps"] * row["batch"] * (row["inputs"] + hidden) * hidden / 1e9
        weights = parameters * 4 / MIB
        stream, train = row["situation"] == "stream", row["situation"] == "train"
        arm_facts: dict[str, Any] = {
            "cell": cell, "backend": backend, "kernel": KERNELS.get((cell, backend), "native AVX-512"),
            "hidden_size": hidden, "parameters": parameters, "state_bytes": 4 * hidden * (2 if cell == "lstm" else 1),
            "gflop": gflop, "percent_of_peak": 100 * gflop / ms * 1000 / 80, "ms": ms,
            "p50_us": 1000 * ms if stream else None, "p90_us": 1100 * ms if stream else None,
            "p99_us": 1500 * ms if stream else None, "parameters_mib": weights,
            "gradients_mib": weights if train else 0.0, "optimizer_mib": 2 * weights if train else 0.0,
            "activations_mib": 1.5, "peak_mib": 1.5 + weights * (4 if train else 1), "resident_mib": 210.0,
            "joules": None,
        }  # fmt: skip
        row |= {f"{arm}{name}": value for name, value in arm_facts.items() if f"{arm}{name}" not in row}
    value = times[1] / times[0]
    row |= {"ratio": value, "ratio_low": value * (1 - half), "ratio_high": value * (1 + half)} | {
        name: facts[name] for name in ("ratio_low", "ratio_high") if name in facts
    }
    row.setdefault("finding", found(row["ratio_low"], row["ratio_high"], row["floor"]))
    arms = "-".join((*first, *second))
    names = ("situation", "task", "steps", "batch", "hidden_size_asked", "threads", "budget", "measured_at")
    row.setdefault("run_id", f"{arms}-{'-'.join(str(row[name]) for name in names)}")
    return row


def found(low: float, high: float, floor: float) -> str:
    """Who is faster: only where the whole interval lies beyond the floor."""
    return "first" if low > floor else "second" if high < 1 / floor else "noise"


def frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows with the types of the reader."""
    return frames.typed(list(rows), TIMING_COLUMNS)


def with_timings(results: Results, rows: Sequence[dict[str, Any]]) -> Results:
    """The results, and these timings."""
    return dataclasses.replace(results, timings=frame(rows))


def alone(rows: Sequence[dict[str, Any]]) -> Results:
    """Timings without any run."""
    return with_timings(frames.make_results([], []), rows)


PAIRS = [
    (("gru", "vendor"), ("lstm", "vendor")),
    (("gru", "native"), ("lstm", "native")),
    (("gru", "native"), ("gru", "vendor")),
    (("lstm", "native"), ("lstm", "vendor")),
]


def regimes(threads: Sequence[int] = (1, 2)) -> list[dict[str, Any]]:
    """A grid over length, batch, hidden size, threads and situation."""
    rows = []
    for thread in threads:
        for hidden in (64, 256):
            at: dict[str, Any] = {"threads": thread, "hidden_size_asked": hidden, "inputs": hidden}
            for first, second in PAIRS:
                for batch in (1, 8, 32):
                    for situation in ("train", "batch"):
                        for steps in (1, 20, 50, 200):
                            law = usual if situation == "batch" else slower
                            where = at | {"situation": situation, "steps": steps, "batch": batch}
                            rows.append(timing(first, second, law=law, **where))
                for batch in (1, 8):
                    rows.append(timing(first, second, **at, situation="stream", steps=1, batch=batch))
                for steps in (1, 5, 20, 50, 100, 200, 500, 1000):
                    rows.append(timing(first, second, **at, situation="sequence", steps=steps, batch=1))
    return rows


def slower(cell: str, backend: str, row: dict[str, Any]) -> float:
    """A training step takes three times as long as the way forward."""
    return 3 * usual(cell, backend, row)


def of_tasks(tasks: Sequence[str] = ("adding", "sentiment")) -> list[dict[str, Any]]:
    """Whole models of tasks, in three situations, as the runs of :func:`frames.realistic` have them."""
    rows = []
    for position, task in enumerate(tasks):
        for situation, steps, batch in (("train", 50, 32), ("batch", 50, 32), ("stream", 1, 1)):
            at: dict[str, Any] = {"task": task, "situation": situation, "steps": steps + 10 * position, "batch": batch}
            pairs = [*PAIRS, (("rnn", "native"), ("rnn", "vendor"))]
            rows += [timing(first, second, **(at | {"steps": 1} if batch == 1 else at)) for first, second in pairs]
    return rows
