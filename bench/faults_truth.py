"""What must be true of a store after the faults of ``bench/faults.py``, whatever they were."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from gru_bench.store.find import run_error, run_status
from gru_bench.store.read import Results
from gru_bench.store.schema import CONFIG_KEY, DELIVERY, ERROR, KIND, OWNER, RUN_KIND, STATUS
from gru_bench.store.source import StoredRun, open_source

NOT_COMPARED = ("run_id", "sweep", "shared", "git_commit", "dirty", "resumed_at", "resumed_from")
"""Columns of a run that may differ: which run it is, and how it came about."""
NOT_COMPARED_SPLITS = ("speed", "memory")


def stored(uri: str) -> list[StoredRun]:
    """All runs of a store, sweeps left out."""
    source = open_source(uri)
    found = source.sketched(source.experiments(), tags=(KIND, CONFIG_KEY, DELIVERY, ERROR, OWNER, STATUS))
    return [run for run in found if run.tags.get(KIND) == RUN_KIND]


def untruths(
    runs: Sequence[StoredRun], told: Mapping[int, Sequence[str]], total: int, reasons: str
) -> Iterator[tuple[str, str]]:
    """What is wrong at the end of a sweep: ``lost``, ``doubled`` or ``untrue``, and a line about it.

    Args:
        runs: All that the store has.
        told: Ids of the runs of which the terminal said that they finished, by job.
        total: How many jobs there are.
        reasons: Pattern of what a run may say that did not finish; nothing where all must have.
    """
    finished = [run for run in runs if run.status == "FINISHED"]
    keys = Counter(run.tags.get(CONFIG_KEY, "") for run in finished)
    for key, number in keys.items():
        if number > 1:
            yield "doubled", f"config_key {key} has {number} finished runs"
    if len(keys) != total:
        yield "lost", f"{len(keys)} of {total} are there"
    ids = {run.run_id for run in finished} | {f"kept-{run.tags.get(DELIVERY)}" for run in finished}
    for job, said in told.items():
        for run_id in said:
            if run_id not in ids:
                yield "lost", f"job {job + 1}: run {run_id} was told to be finished"
    for run in runs:
        status, error = run_status(run), run_error(run)
        fits = status == "finished" or (reasons and error and re.search(reasons, error))
        if run.status == "RUNNING" or not fits:
            yield "untrue", f"run {run.run_id} is {run.status} ({status}): {error or 'no reason'}"


def compared(results: Results) -> list[pd.DataFrame]:
    """Runs, values and curves, without ids, times and owners."""
    runs = results.runs
    jobs = runs.set_index("run_id")["job"]
    left_out = [name for name in runs if name in NOT_COMPARED or str(name).startswith("env_")]
    tables = [runs.drop(columns=left_out).sort_values("job").reset_index(drop=True)]
    values = results.values[~results.values["split"].isin(NOT_COMPARED_SPLITS)]
    for table, order in ((values, ["split", "metric", "slice", "slice_value"]), (results.curves, ["metric", "step"])):
        of_jobs = table.assign(job=table["run_id"].map(jobs)).drop(columns="run_id")
        tables.append(of_jobs.sort_values(["job", *order], kind="stable").reset_index(drop=True))
    return tables


def differences(frames: Sequence[pd.DataFrame], reference: Sequence[pd.DataFrame]) -> list[str]:
    """In what the tables differ from those of an undisturbed sweep."""
    found = []
    for name, ours, right in zip(("runs", "values", "curves"), frames, reference, strict=True):
        try:
            pd.testing.assert_frame_equal(ours, right, check_exact=True)
        except AssertionError as error:
            found.append(f"{name}: {' '.join(str(error).split())[:400]}")
    return found
