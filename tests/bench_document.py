"""The JSON that ``bench/cells.py`` prints, made up: round numbers that no machine has measured."""

import json
import math
from typing import Any

import pandas as pd
from frames import typed

from gru_bench.store.bench import parse
from gru_bench.store.schema import BENCH_COLUMNS

GRID = [(35, 20, 200), (100, 32, 128), (100, 64, 256), (35, 64, 512), (400, 32, 128)]
KERNELS = {"vendor": "ATen loop", "bptt": "native AVX-512", "compiled": "compiled loop", "loop": "Python loop"}
VENDOR_MS = {"rnn": 2.0, "lstm": 4.0, "gru": 8.0}
RATIOS: dict[tuple[str, str], float] = {
    ("rnn", "bptt"): 1.5, ("lstm", "bptt"): 0.8, ("gru", "bptt"): 2.0,
    ("rnn", "compiled"): 0.5, ("lstm", "compiled"): 0.4, ("gru", "compiled"): 1.1,
    ("lstm", "vendor_aten"): 0.4,
}  # fmt: skip
"""Times of the vendor over those of a backend, at the first shape; the vendor's LSTM is fused."""


def row(cell: str, backend: str, sizes: tuple[int, int, int] | None, **facts: Any) -> dict[str, Any]:
    """One row; facts replace what it has."""
    number = GRID.index(sizes) + 1 if sizes else 6
    ratio = RATIOS.get((cell, backend), 1.0) * 2.0 ** ((number - 3) / 8 if backend == "bptt" and sizes else 0)
    kernel = "oneDNN" if (cell, backend) == ("lstm", "vendor") else KERNELS.get(backend, "ATen loop")
    usual = {
        "cell": cell,
        "backend": backend,
        "kernel": kernel,
        "shape": "x".join(map(str, sizes)) if sizes else "article",
        "ms": number * VENDOR_MS[cell] / ratio,
        "ratio_to_vendor": ratio,
        "ratio_low": ratio * 0.95,
        "ratio_high": ratio * 1.1,
        "percent_of_peak": 10.0 * number if sizes else None,
        "parity": "green",
    }
    return usual | (dict(zip("TBH", sizes, strict=True)) if sizes else {}) | facts


def document(**facts: Any) -> dict[str, Any]:
    """A whole benchmark; facts replace what it has."""
    pairs = [(cell, "vendor") for cell in VENDOR_MS] + list(RATIOS)
    usual: dict[str, Any] = {
        "machine": "ab12cd34",
        "torch": "2.13.0",
        "threads": 1,
        "dtype": "float32",
        "device": "cpu",
        "commit": "fedcba9876543210",
        "peak_gflops": 100.0,
        "rounds": 15,
        "environment": {"cpu": "Some CPU", "torch": "2.13.0"},
        "rows": [row(cell, backend, sizes) for cell, backend in pairs for sizes in [*GRID, None]],
        "geomean": [{"cell": "gru", "backend": "bptt", "ratio_to_vendor": 2.0}],
    }
    return usual | facts


def red(cell: str, backend: str) -> list[dict[str, Any]]:
    """The rows of a backend that was never timed, since it computes something else."""
    nothing = dict.fromkeys(["ms", "ratio_to_vendor", "ratio_low", "ratio_high", "percent_of_peak"])
    return [row(cell, backend, sizes, parity="red", **nothing) for sizes in GRID]


def frame(*documents: dict[str, Any]) -> pd.DataFrame:
    """``Results.bench`` of benchmarks, as the reader would give it."""
    rows: list[dict[str, Any]] = []
    for position, found in enumerate(documents):
        figures = parse(json.dumps(found))
        shared = figures.model_dump(exclude={"rows"}) | {"git_commit": figures.commit, "run_id": f"bench{position}"}
        rows += [shared | part.model_dump() for part in figures.rows]
    return typed(rows, BENCH_COLUMNS)


def geometric_mean(values: list[float]) -> float:
    return math.prod(values) ** (1 / len(values))
