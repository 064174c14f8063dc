"""One of many writers on a store, for ``bench/sweeps.py``: runs with as much in them as real ones have."""

import time
import traceback
from typing import Any

POINTS = 40
"""Of each curve."""
BEGIN_WITHIN_S = 580
"""Longest wait for the other writers."""


def write_runs(uri: str, number: int, runs: int, begin: Any, told: Any) -> None:
    """A writer: seconds of each run's writes, or what went wrong."""
    try:
        from gru_bench.store.schema import JOB, RUN_FACTS
        from gru_bench.store.write import Store

        facts = {f.name: f.example for f in RUN_FACTS.values() if f.param and f.example is not None}
        store = Store(uri=uri)
        store.open()
        begin.wait(BEGIN_WITHIN_S)
        took = []
        for run_number in range(runs):
            started = time.perf_counter()
            tags = {JOB: str(run_number), "cell": "gru", "task": "adding", "seed": str(number)}
            with store.run("writers", f"{number} {run_number}", sweep_id=None, tags=tags) as run:
                run.params(facts)
                run.flush()
                write_results(run)
            took.append(time.perf_counter() - started)
        told.put((took, ""))
    except Exception:
        told.put(([], traceback.format_exc()))


def write_results(run: Any) -> None:
    """Curves, values and artifacts, as many as those of a usual run."""
    for metric in ("train/loss", "valid/mse", "valid/loss"):
        for step in range(POINTS):
            run.curve(metric, step, 1 / (1 + step))
    for split, metrics in {
        "test": ("mse", "loss"),
        "valid": ("mse", "loss"),
        "train": ("steps", "best_step", "epochs"),
        "memory": ("peak_tensor_mib", "parameters_mib", "gradients_mib", "optimizer_mib"),
        "speed": ("wall_s", "train_s", "step_time_ms", "train_tokens_per_s", "train_examples_per_s"),
    }.items():
        for metric in metrics:
            run.value(split, metric, 0.5, unit="", higher_is_better=False)
    for length in range(10):
        run.value("test", "mse", 0.5, unit="", higher_is_better=False, slice="length", slice_value=str(length))
    run.table("test_examples", {"number": list(range(64)), "error": [0.5] * 64})
    run.text("config.yaml", "key: value\n" * 150)
