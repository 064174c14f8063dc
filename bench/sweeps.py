"""What a sweep costs besides training: a run's fixed cost, a second worker, many writers at once, a repeated command.

    python bench/sweeps.py [--only fixed,workers,writers,resume] [--quick]

- ``fixed``: seconds of a run in a warm process beyond its training steps: from the beginning of one run to that of the
  next, less the seconds of its steps; with ``hydra/launcher=workers`` and with the default launcher. Runs are the
  adding problem at its smallest, all of one cell, so that nothing but the seed differs; the first four warm up. The
  promise: a median below 0.3 s.
- ``workers``: 12 equal runs of a few seconds with one thread, on one worker and on two, one sweep after the other and
  back (1, 2, 2, 1). Efficiency is the ratio of the seconds from the first beginning to the last end, over 2.
- ``writers``: 16 processes write runs into one SQLite store at the same time, each run with the facts, curves, values
  and artifacts of a real one, by ``gru_bench.store.write.Store`` and without a pause. Seconds of all that one run
  writes. The promise: no error, and every row is there, whole, once.
- ``resume``: seconds of ``gru-bench train experiment=...`` in a fresh process, with all runs done: 1,000 of them, then
  10,000 planned with ``only=failed``. The store is filled with copies of real runs. The promise: below 3 s. The first
  call after a change of code or yaml composes every combination once; it is shown apart.

Prints a line a measurement, a table, then one line of JSON. Exit 1 where a promise is not kept; what is timed on a busy
machine may break one for that reason alone, and ``others_cores`` says how busy it was. --quick takes the smallest
sizes, and promises no more than that nothing fails. All of it takes about 11 minutes on two cores.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps_writer import write_runs

from gru_bench.config.keys import keys_by_seed
from gru_bench.errors import UserError
from gru_bench.measure.environment import cores_used_by_others, environment, machine_id

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("fixed", "workers", "writers", "resume")
FIXED_S, RESUME_S = 0.3, 3.0
"""Promised, at most."""
WARM_UP = 4
TINY = (
    "task=adding", "task.lengths=[5]", "task.beyond=[]", "task.num_eval=16", "task.batch_size=8", "hidden_size=6",
    "threads=1", "trainer.max_steps=20", "trainer.eval_every=10",
)  # fmt: skip
EQUAL = (
    "task=adding", "task.lengths=[50]", "task.beyond=[]", "task.num_eval=64", "task.batch_size=32", "hidden_size=64",
    "threads=1", "backend=vendor", "stopping=never", "trainer.eval_every=1000",
)  # fmt: skip
EXPERIMENT = """# @package _global_
# runs to be copied
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      cell: gru,lstm,rnn,gru_reset_before
    seeds: 1
"""
CELLS = 4
WITHIN_S = 580


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        runs: Of ``fixed``, the warm-up included.
        equal: Runs of ``workers``.
        steps: Of each of these.
        rounds: Sweeps of ``workers``, by their workers.
        writers: Processes.
        written: Runs that each of them writes.
        done: Runs of ``resume``.
        planned: With ``only=failed``.
        repeats: Calls of each command.
    """

    runs: int = 24
    equal: int = 12
    steps: int = 1500
    rounds: tuple[int, ...] = (1, 2, 2, 1)
    writers: int = 16
    written: int = 20
    done: int = 1_000
    planned: int = 10_000
    repeats: int = 3


FULL = Size()
QUICK = Size(runs=WARM_UP + 2, equal=2, steps=5, rounds=(1,), writers=2, written=2, done=8, planned=12, repeats=1)


class Failed(Exception):
    """A command that should have worked."""


@dataclass(frozen=True)
class Took:
    """Seconds of a command: of the clock, and of the processors on all of its processes."""

    wall_s: float
    cpu_s: float


def command(folder: Path, *arguments: str) -> Took:
    """Run ``gru-bench`` in a folder with a cache of its own.

    Raises:
        Failed: It ended otherwise than with 0.
    """
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    settings = os.environ | {"PYTHONPATH": paths, "GRU_BENCH_CACHE": str(folder / "cache")}
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-m", "gru_bench", *arguments],
        cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failed(f"gru-bench {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(time.perf_counter() - started, cpu_s)


def select(folder: Path, question: str) -> list[Any]:
    """Ask the folder's store."""
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=60)) as connection:
        return connection.execute(question).fetchall()


RUNS = (
    "SELECT r.run_uuid, r.start_time, r.end_time, m.value FROM runs r JOIN latest_metrics m "
    "ON m.run_uuid = r.run_uuid AND m.key = 'speed/train_s' WHERE r.status = 'FINISHED' ORDER BY r.start_time"
)
"""Of those that trained: id, beginning and end in milliseconds, seconds of training steps."""


def launcher(workers: int) -> list[str]:
    """The keys of one; 0 for the default one."""
    return [] if workers == 0 else ["hydra/launcher=workers", f"hydra.launcher.n_jobs={workers}"]


def fixed(folder: Path, size: Size) -> Iterator[Row]:
    """Seconds of a run beyond its training, by launcher."""
    for name, workers in (("workers", 1), ("default", 0)):
        place = folder / name
        place.mkdir()
        command(place, "train", "-m", f"seed=range({size.runs})", *TINY, *launcher(workers))
        runs = select(place, RUNS)
        beyond = [(after[1] - before[1]) / 1000 - before[3] for before, after in itertools.pairwise(runs)][
            WARM_UP - 1 :
        ]
        yield {
            "part": "fixed",
            "launcher": name,
            "runs": len(runs),
            "median_s": round(statistics.median(beyond), 3),
            "least_s": round(min(beyond), 3),
            "most_s": round(max(beyond), 3),
            "train_s": round(statistics.median(run[3] for run in runs), 3),
            "kept": len(runs) == size.runs and (size is QUICK or statistics.median(beyond) < FIXED_S),
        }


def workers(folder: Path, size: Size) -> Iterator[Row]:
    """What a second worker brings."""
    seconds: dict[int, list[float]] = {}
    for turn, number in enumerate(size.rounds):
        place = folder / str(turn)
        place.mkdir()
        whole = command(
            place,
            "train",
            "-m",
            f"seed=range({size.equal})",
            *EQUAL,
            f"trainer.max_steps={size.steps}",
            *launcher(number),
        )
        runs = select(place, RUNS)
        took = (max(run[2] for run in runs) - min(run[1] for run in runs)) / 1000
        seconds.setdefault(number, []).append(took)
        yield {
            "part": "workers",
            "workers": number,
            "runs": len(runs),
            "seconds": round(took, 2),
            "command_s": round(whole.wall_s, 2),
            "train_s": round(statistics.median(run[3] for run in runs), 2),
            "kept": len(runs) == size.equal,
        }
    if len(seconds) > 1:
        one, two = (statistics.mean(seconds[number]) for number in (1, 2))
        yield {"part": "workers", "efficiency": round(one / two / 2, 3), "kept": True}


def writers(folder: Path, size: Size) -> Iterator[Row]:
    """Many processes that write runs into one store."""
    from gru_bench.store.connect import is_waiting
    from gru_bench.store.write import Store

    store = Store(uri=f"sqlite:///{folder / 'mlflow.db'}")
    store.open()
    store.experiment_id("writers")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "gru_bench.store.write"])
    begin, told = context.Barrier(size.writers + 1), context.Queue()
    processes = [
        context.Process(target=write_runs, args=(store.uri, number, size.written, begin, told))
        for number in range(size.writers)
    ]
    for process in processes:
        process.start()
    begin.wait(WITHIN_S)
    started = time.perf_counter()
    answers = [told.get(timeout=WITHIN_S) for _ in processes]
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    late = is_waiting(store.uri)
    store.recover()
    errors = [error for _, error in answers if error]
    took = sorted(one for times, _ in answers for one in times)
    whole = select(folder, WHOLE)
    wanted = size.writers * size.written
    artifacts = [len(list(path.iterdir())) for path in folder.glob("mlartifacts/*/artifacts")]
    row = {
        "part": "writers",
        "writers": size.writers,
        "runs": wanted,
        "runs_per_s": round(len(took) / seconds, 2),
        "p50_s": round(quantile(took, 0.50), 3),
        "p99_s": round(quantile(took, 0.99), 3),
        "most_s": round(took[-1], 3) if took else None,
        "errors": len(errors),
        "delivered_late": late,
        "rows": len(whole),
        "alike": len({facts[1:] for facts in whole}) == 1 and len(artifacts) == wanted and len(set(artifacts)) == 1,
    }
    if errors:
        row["error"] = errors[0].strip().splitlines()[-1]
    yield row | {"kept": not errors and len(took) == len(whole) == wanted and row["alike"]}


WHOLE = """SELECT name, (SELECT count(*) FROM params p WHERE p.run_uuid = r.run_uuid),
    (SELECT count(*) FROM metrics m WHERE m.run_uuid = r.run_uuid),
    (SELECT count(*) FROM tags t WHERE t.run_uuid = r.run_uuid) FROM runs r
    WHERE status = 'FINISHED' GROUP BY name HAVING count(*) = 1"""
"""Runs that are there once, with how many params, points and tags each has."""


def quantile(values: Sequence[float], share: float) -> float:
    """Of ascending values, by the nearest rank; not a number of none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def resume(folder: Path, size: Size) -> Iterator[Row]:
    """The same command again, with everything done."""
    own = folder / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "copied.yaml").write_text(EXPERIMENT, encoding="utf-8")
    given = ["train", "experiment=copied", f"--config-dir={folder / 'own'}", *TINY]
    command(folder, *given)
    there = CELLS
    for runs, only in ((size.done, "missing"), (size.planned, "failed")):
        copy_runs(folder, range(there // CELLS, runs // CELLS))
        there = runs
        again = [*given, f"hydra.sweeper.seeds={runs // CELLS}", f"only={only}"]
        shutil.rmtree(folder / "cache" / "plans")
        first = command(folder, *again)
        took = [command(folder, *again) for _ in range(size.repeats)]
        yield {
            "part": "resume",
            "runs": select(folder, "SELECT count(*) FROM params WHERE key = 'seed'")[0][0],
            "only": only,
            "seconds": round(statistics.median(one.wall_s for one in took), 2),
            "most_s": round(max(one.wall_s for one in took), 2),
            "cpu_s": round(statistics.median(one.cpu_s for one in took), 2),
            "composing_s": round(first.wall_s, 2),
            "kept": size is QUICK or statistics.median(one.wall_s for one in took) < RESUME_S,
        }


def copy_runs(folder: Path, seeds: range) -> None:
    """Fill the store with copies of its runs of seed 0, under other seeds and with the keys that these have."""
    known: dict[str, Callable[[int], str]] = {}
    for file in (folder / "cache" / "plans").glob("*/*.json"):
        of_seed = keys_by_seed(json.loads(file.read_text())["kept"])
        known[of_seed(0)] = of_seed
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        originals = connection.execute(
            "SELECT t.run_uuid, t.value FROM tags t JOIN params p ON p.run_uuid = t.run_uuid AND p.key = 'seed' "
            "WHERE t.key = 'gru_bench.config_key' AND p.value = '0'"
        ).fetchall()
        copies = [
            (run_id, uuid.uuid4().hex, str(seed), known[key](seed)) for run_id, key in originals for seed in seeds
        ]
        connection.execute("CREATE TEMP TABLE copies (old TEXT, new TEXT, seed TEXT, config_key TEXT)")
        connection.executemany("INSERT INTO copies VALUES (?, ?, ?, ?)", copies)
        changed = (
            "CASE f.key WHEN 'seed' THEN c.seed WHEN 'gru_bench.config_key' THEN c.config_key "
            "WHEN 'gru_bench.delivery' THEN c.new ELSE f.value END"
        )
        for table, values in (
            ("runs", {"run_uuid": "c.new"}),
            ("params", {"run_uuid": "c.new", "value": changed}),
            ("tags", {"run_uuid": "c.new", "value": changed}),
            ("latest_metrics", {"run_uuid": "c.new"}),
        ):
            columns = [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
            chosen = ", ".join(values.get(column, f"f.{column}") for column in columns)
            connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {chosen} FROM {table} f JOIN copies c ON f.run_uuid = c.old"
            )
        connection.commit()


MEASURE: dict[str, Callable[[Path, Size], Iterator[Row]]] = {
    "fixed": fixed,
    "workers": workers,
    "writers": writers,
    "resume": resume,
}


def line(row: Row) -> str:
    """One measurement."""
    rest = {key: value for key, value in row.items() if key not in ("part", "kept")}
    shown = ", ".join(f"{key} {value}" for key, value in rest.items())
    return f"{row['part']:<8} {'kept' if row['kept'] else 'NOT KEPT':<8} {shown}"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked.

    Raises:
        UserError: An unknown part.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    unknown = [part for part in options.only if part not in PARTS]
    if unknown:
        raise UserError(f"--only={','.join(unknown)}: valid: {', '.join(PARTS)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print. Returns the exit code."""
    try:
        options = parsed(arguments)
    except UserError as error:
        print(f"sweeps: {error}", file=sys.stderr)
        return 2
    size, rows = QUICK if options.quick else FULL, []
    others = cores_used_by_others(0.2 if options.quick else 2.0)
    for part in options.only:
        with tempfile.TemporaryDirectory(prefix="gru_bench_sweeps_") as folder:
            try:
                for row in MEASURE[part](Path(folder), size):
                    rows.append(row)
                    print(line(row), flush=True)
            except (Failed, subprocess.TimeoutExpired) as error:
                rows.append({"part": part, "error": str(error), "kept": False})
                print(line(rows[-1]), flush=True)
    kept = all(row["kept"] for row in rows)
    document = {"machine": machine_id(), "environment": environment(), "others_cores": round(others, 2), "rows": rows}
    print(json.dumps(document))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
