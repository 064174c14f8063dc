"""What ``gru-bench report`` costs over a large store: seconds and peak memory of the whole command.

    python bench/report.py [--runs 10000] [--seeds 20] [--folder FOLDER] [--repeat 2] [--profile FILE] [-- KEY=VALUE]

Makes a store of made-up runs, with everything that a real run leaves (about 100 params, tags, metrics, the artifacts
with values, curves and test examples), by writing MLflow's tables directly; a folder that holds such a store already
is used again. Then runs the command on it in fresh processes, one after the other, and prints what each took: the
first finds an empty cache, the later ones what the first left there. What follows ``--`` goes to the command. The last
line is JSON. Issue 11 asks for 10,000 runs in less than 15 s and 1 GB.
"""

import argparse
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gru_bench.store.schema import (
    CONFIG_KEY,
    CURVES_FILE,
    EXAMPLES_TABLE,
    GROUP_KEY,
    JOB,
    KIND,
    PARENT,
    RUN_FACTS,
    RUN_KIND,
    STATUS,
    SWEEP,
    VALUES_FILE,
)
from gru_bench.store.tables import write_parquet
from gru_bench.store.write import Store

EXPERIMENT = "large"
CELLS = {"rnn": ("rnn", -1.5), "lstm": ("lstm", 0.0), "gru": ("gru", 0.3), "gru_article": ("gru", -1.0)}
"""Family of each made-up cell, and how much better than the LSTM it is, in margins."""
NUM_EXAMPLES = 1000
LENGTHS = (10, 25, 50, 75, 100)
STEPS = tuple(range(100, 1001, 100))
NUM_CONFIG_KEYS = 50
"""Params under ``config.`` of a real run, besides those that are facts of their own."""


@dataclass(frozen=True)
class Kind:
    """One task: its primary metric, and the columns of its test examples."""

    metric: str
    unit: str
    higher_is_better: bool
    typical: float
    margin: float
    trivial: float
    by_length: bool = False


TASKS = {
    "adding": Kind("mse", "squared error", False, 0.05, 0.01, 0.167, True),
    "copy_memory": Kind("recall", "share of symbols", True, 0.9, 0.02, 0.125, True),
    "language_modeling": Kind("perplexity", "perplexity", False, 180.0, 2.0, 420.0),
    "language_modeling_char": Kind("bits_per_char", "bits/char", False, 2.3, 0.02, 4.6),
    "sentiment": Kind("accuracy", "share of sentences", True, 0.85, 0.01, 0.51),
}


@dataclass(frozen=True)
class Made:
    """One made-up run."""

    job: int
    task: str
    cell: str
    budget: str
    hidden_size: int
    batch_size: int
    seed: int

    @property
    def run_id(self) -> str:
        return f"{self.job:032x}"

    @property
    def group(self) -> str:
        return f"{self.task}-{self.cell}-{self.budget}-{self.hidden_size}-{self.batch_size}"


def made_runs(number: int, seeds: int) -> Iterator[Made]:
    """So many runs of so many seeds each: the settings follow from both."""
    groups = itertools.product((16, 32, 64, 128, 256), (32, 64, 128), ("hidden", "parameters"), TASKS, CELLS)
    every = ((*group, seed) for group in groups for seed in range(seeds))
    for job, (size, batch, budget, task, cell, seed) in enumerate(itertools.islice(every, number)):
        yield Made(job, task, cell, budget, size, batch, seed)


def params(run: Made) -> dict[str, object]:
    """Facts as a real run has them: the schema's examples, but for what this run is."""
    kind = TASKS[run.task]
    facts = {name: fact.example for name, fact in RUN_FACTS.items() if fact.param and fact.example is not None}
    facts |= {"task": run.task, "cell": run.cell, "family": CELLS[run.cell][0], "seed": run.seed}
    facts |= {"budget": run.budget, "hidden_size": run.hidden_size, "hidden_size_asked": run.hidden_size}
    facts |= {"num_parameters": 100 * run.hidden_size, "batch_size": run.batch_size, "parity": "passed"}
    facts |= {"primary_metric": kind.metric, "primary_unit": kind.unit, "margin": kind.margin, "generated": True}
    facts |= {"primary_higher_is_better": kind.higher_is_better, "beats_trivial_by": 5 * kind.margin}
    facts |= {"ceiling": 1.0 if kind.higher_is_better else 0.0, "stopped": "max_steps=1000"}
    facts |= {"data_source": f"{run.task}/1", "data_fingerprint": f"{run.task}0123456789", "notes": "made up"}
    facts |= {f"env_{name}": "1.2.3" for name in ("python", "torch", "numpy", "mlflow", "os", "cpu", "cores")}
    facts |= {"config.seed": run.seed, "config.hidden_size": run.hidden_size, "config.task._target_": run.task}
    return facts | {f"config.model.option_{number}": number for number in range(NUM_CONFIG_KEYS)}


def tags(run: Made, sweep: str) -> dict[str, object]:
    """The tags of a real run."""
    ours = {KIND: RUN_KIND, SWEEP: sweep, PARENT: sweep, STATUS: "finished", JOB: run.job}
    ours |= {CONFIG_KEY: f"{run.group}-{run.seed}", GROUP_KEY: run.group, "mlflow.runName": f"{run.cell} {run.task}"}
    return ours | {name: params(run)[name] for name in ("task", "cell", "backend", "budget", "seed")}


def values(run: Made, noise: np.random.Generator) -> tuple[dict[str, list[Any]], float]:
    """The columns of a run's values, and its test score."""
    kind = TASKS[run.task]
    sign = 1 if kind.higher_is_better else -1
    score = kind.typical + sign * kind.margin * (CELLS[run.cell][1] + 0.5 * noise.standard_normal())
    facts = (kind.unit, kind.higher_is_better)
    rows: list[tuple[Any, ...]] = [
        ("test", kind.metric, "", "", score, *facts),
        ("test", f"trivial_{kind.metric}", "", "", kind.trivial, *facts),
        ("test", "loss", "", "", abs(score), "nats", False),
        ("test", "trivial_loss", "", "", kind.trivial, "nats", False),
        ("valid", kind.metric, "", "", score, *facts),
        ("valid", "loss", "", "", abs(score), "nats", False),
        *(("train", name, "", "", float(STEPS[-1]), "steps", None) for name in ("steps", "best_step", "epochs")),
        ("memory", "peak_tensor_mib", "", "", 4.5, "MiB", False),
        *(("speed", name, "", "", 5 + noise.random(), "s", False) for name in ("wall_s", "train_s", "step_time_ms")),
        ("speed", "train_tokens_per_s", "", "", 1e5 * noise.random(), "tokens/s", True),
        ("speed", "train_examples_per_s", "", "", 1e3 * noise.random(), "examples/s", True),
    ]
    if kind.by_length:
        for length in LENGTHS:
            rows.append(("test", kind.metric, "length", str(length), score, *facts))
            rows.append(("test", f"trivial_{kind.metric}", "length", str(length), kind.trivial, *facts))
            rows.append(("test", "n", "length", str(length), 200.0, "examples", None))
    names = ("split", "metric", "slice", "slice_value", "value", "unit", "higher_is_better")
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}, score


def curves(run: Made, score: float) -> dict[str, list[Any]]:
    """The columns of a run's curves: training loss and two validation metrics."""
    kind = TASKS[run.task]
    names = ("train/loss", f"valid/{kind.metric}", "valid/loss")
    points = [(name, step, score + (kind.trivial - score) * 100 / step) for name in names for step in STEPS]
    return {name: [point[position] for point in points] for position, name in enumerate(("metric", "step", "value"))}


def examples(task: str, noise: np.random.Generator) -> dict[str, Any]:
    """The columns of the test examples of such a task."""
    lengths = np.repeat(np.array(LENGTHS), NUM_EXAMPLES // len(LENGTHS))
    if task == "adding":
        return {"length": lengths, "squared_error": noise.exponential(0.05, NUM_EXAMPLES)}
    if task == "copy_memory":
        return {"length": lengths, "recall": noise.integers(0, 11, NUM_EXAMPLES) / 10}
    counted = {"nats": noise.exponential(50.0, NUM_EXAMPLES)}
    if task == "sentiment":
        labels = {name: noise.integers(0, 2, NUM_EXAMPLES) for name in ("correct", "label", "prediction")}
        return (
            labels | counted | {"distance": noise.integers(1, 9, NUM_EXAMPLES), "construction": ["but"] * NUM_EXAMPLES}
        )
    return {"block": np.arange(NUM_EXAMPLES), "tokens": noise.integers(20, 200, NUM_EXAMPLES)} | counted


def make_store(folder: Path, number: int, seeds: int) -> None:
    """Write the store and its artifacts."""
    store = Store(uri=f"sqlite:///{folder / 'mlflow.db'}")
    runs = list(made_runs(number, seeds))
    plan = [{"job": str(run.job), "cell": run.cell, "task": run.task, "seed": str(run.seed)} for run in runs]
    plan = [job | {"group": run.group} for job, run in zip(plan, runs, strict=True)]
    sweep = store.open_sweep(EXPERIMENT, plan, {"overrides": "", "launcher": "basic"})
    experiment_id = int(store.experiment_id(EXPERIMENT))
    noise = np.random.default_rng(0)
    drawn = {task: [parquet_bytes(folder, examples(task, noise)) for _ in range(20)] for task in TASKS}
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for run in runs:
            place = folder / "mlartifacts" / run.run_id / "artifacts"
            place.mkdir(parents=True)
            columns, score = values(run, noise)
            write_parquet(place / VALUES_FILE, columns)
            write_parquet(place / CURVES_FILE, curves(run, score))
            (place / f"{EXAMPLES_TABLE}.parquet").write_bytes(drawn[run.task][run.job % 20])
            insert(connection, run, sweep, experiment_id, place, columns)
        connection.commit()
    store.close_sweep(sweep)


def parquet_bytes(folder: Path, columns: dict[str, Any]) -> bytes:
    """A parquet file's content."""
    path = folder / "examples.parquet"
    write_parquet(path, columns)
    content = path.read_bytes()
    path.unlink()
    return content


def insert(
    connection: sqlite3.Connection, run: Made, sweep: str, experiment: int, place: Path, columns: dict[str, list[Any]]
) -> None:
    """One run's rows in MLflow's tables."""
    started = 1_700_000_000_000 + run.job
    connection.execute(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, "
        "end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
        "VALUES (?, ?, 'UNKNOWN', '', '', '', 'FINISHED', ?, ?, '', 'active', ?, ?)",
        (run.run_id, run.group, started, started + 5000, place.as_uri(), experiment),
    )
    for table, facts in (("params", params(run)), ("tags", tags(run, sweep))):
        rows = [(name, str(value), run.run_id) for name, value in facts.items()]
        connection.executemany(f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)", rows)
    whole = [
        (f"{split}/{'best_' * (split == 'valid')}{metric}", value, started, 0, 0, run.run_id)
        for split, metric, part, value in zip(
            *(columns[name] for name in ("split", "metric", "slice", "value")), strict=True
        )
        if not part
    ]
    names = "(key, value, timestamp, step, is_nan, run_uuid)"
    for table in ("metrics", "latest_metrics"):
        connection.executemany(f"INSERT INTO {table} {names} VALUES (?, ?, ?, ?, ?, ?)", whole)


MEASURE = (
    "import resource, subprocess, sys, time; start = time.perf_counter(); "
    "code = subprocess.run(sys.argv[1:]).returncode; used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(code, time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
)
"""Run a command alone in a process, so that its peak memory is no earlier one's. Linux counts it in KiB."""


def measure(folder: Path, more: list[str], profile: str | None) -> dict[str, float]:
    """Run the command once and return seconds, seconds of CPU, and peak memory in MiB."""
    command = [sys.executable, *(["-m", "cProfile", "-o", profile] if profile else []), "-m", "gru_bench", "report"]
    command += [f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", f"output={folder / 'report'}", *more]
    environment = {**os.environ, "GRU_BENCH_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    code, seconds, cpu, peak = map(float, done.stdout.splitlines()[-1].split())
    if code:
        raise SystemExit(f"gru-bench report failed with exit code {code:g}")
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mib": round(peak, 1)}


def main() -> None:
    """Make the store, run the command, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the store is kept; default: a new one, deleted at the end")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--profile", help="file for cProfile's figures of the last run, which then takes longer")
    parser.add_argument("more", nargs="*", help="keys of the command, such as '~sections.kernels'")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "mlflow.db").exists():
            start = time.perf_counter()
            make_store(folder, options.runs, options.seeds)
            print(f"made {options.runs} runs in {time.perf_counter() - start:.0f} s", flush=True)
        rows = []
        for number in range(options.repeat):
            profile = options.profile if number == options.repeat - 1 else None
            rows.append(measure(folder, options.more, profile))
            print(
                f"{rows[-1]['seconds']:7.2f} s  {rows[-1]['cpu_seconds']:7.2f} s CPU  {rows[-1]['peak_mib']:7.1f} MiB"
            )
        sizes = {path.name: path.stat().st_size for path in (folder / "report").iterdir() if path.is_file()}
    print(json.dumps({"reports": rows, "bytes": sizes}))


if __name__ == "__main__":
    main()
