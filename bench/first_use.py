"""How many of several processes that use a new store at the same moment get through, again and again.

``python bench/first_use.py --processes 8 --repeats 20`` races this project's Store; ``--bare`` races plain MLflow,
whose migrations of a new SQLite file take no lock. Prints one row per repeat, then one line of JSON.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

START_TOGETHER: Barrier | None = None


def keep(barrier: Barrier) -> None:
    """Give a worker the barrier."""
    global START_TOGETHER
    START_TOGETHER = barrier


def with_store(uri: str) -> str:
    """One worker's first use through this project; returns what went wrong."""
    from gru_bench.store.write import Store

    def use() -> None:
        with Store(uri=uri).run("race", "racer", sweep_id=None, tags={}) as run:
            run.value("test", "error", 0.5, unit="", higher_is_better=False)

    return attempt(use)


def bare(uri: str) -> str:
    """The same through MLflow's client alone."""
    from mlflow import MlflowClient

    def use() -> None:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name("race")
        experiment_id = found.experiment_id if found else client.create_experiment("race")
        client.set_terminated(client.create_run(experiment_id).info.run_id)

    return attempt(use)


def attempt(use: Callable[[], None]) -> str:
    """Wait for the others, then start; nothing is returned when all is well."""
    assert START_TOGETHER is not None
    START_TOGETHER.wait(timeout=300)
    try:
        use()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return ""


def race(processes: int, repeats: int, racer: Callable[[str], str]) -> list[tuple[int, float, str]]:
    """How many got through, the seconds until all were done, and the first thing that went wrong, for each repeat."""
    # everything is imported before the race, once: importing would spread the starts over seconds
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gru_bench.store.write", "mlflow.store.tracking.sqlalchemy_store"])
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        context.Pool(processes, keep, (context.Barrier(processes),)) as pool,
    ):
        for repeat in range(repeats):
            place = Path(folder) / str(repeat)
            place.mkdir()
            start = time.perf_counter()
            # chunks of one: a worker waits at the barrier, so each takes exactly one
            problems = pool.map(racer, [f"sqlite:///{place / 'mlflow.db'}"] * processes, chunksize=1)
            seconds = time.perf_counter() - start
            rows.append((problems.count(""), seconds, next(filter(None, problems), "")))
    return rows


def main() -> None:
    """The table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--bare", action="store_true", help="plain MLflow instead of this project's Store")
    options = parser.parse_args()
    rows = race(options.processes, options.repeats, bare if options.bare else with_store)
    print(f"{'repeat':>6}  {'ok':>7}  {'seconds':>7}  first problem")
    for repeat, (passed, seconds, problem) in enumerate(rows, start=1):
        print(f"{repeat:>6}  {passed:>2} of {options.processes}  {seconds:>7.2f}  {problem}")
    summary = {
        "bench": "first_use",
        "store": "mlflow" if options.bare else "gru_bench",
        "processes": options.processes,
        "repeats": options.repeats,
        "ok": sum(passed for passed, _, _ in rows),
        "repeats_all_ok": sum(passed == options.processes for passed, _, _ in rows),
        "seconds_worst": round(max(seconds for _, seconds, _ in rows), 2),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
