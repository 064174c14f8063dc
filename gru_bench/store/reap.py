"""Runs whose process is over without having said how they ended: found by their owner, and marked killed."""

import time
from typing import TYPE_CHECKING

from gru_bench.process import is_alive
from gru_bench.store.schema import BEAT, ERROR, JOB, KIND, OWNER, STATUS, SWEEP
from gru_bench.store.source import StoredRun, open_source

if TYPE_CHECKING:
    from gru_bench.store.write import Store

LOST = "the process ended without giving a reason (killed hard, out of memory, or the machine went down)"
GONE = "its process is gone without giving a reason"
"""Shown for a run of which nobody has written yet that it was killed."""
SILENT_AFTER_S = 15 * 60
"""A process that cannot be seen from here, on another machine or in another container, is taken for over after so many
seconds without a sign of life."""
FORGOTTEN_AFTER_S = 24 * 3600
"""Likewise a run of an older store, which names no process: seconds since it started."""
UNFINISHED = ("RUNNING", "SCHEDULED")
"""MLflow's statuses of a run that is not over."""


def reap(
    store: "Store",
    *,
    sweep_id: str | None = None,
    experiment: str | None = None,
    owned_by: str | None = None,
    reason: str = LOST,
) -> int:
    """Mark as killed what is RUNNING in the store though its process is over; see :func:`is_over`.

    A sweep is marked like a run. The runs of this very process are never touched, unless ``owned_by`` names it.

    Args:
        store: Open, and written to.
        sweep_id: Only the runs of this sweep; None for all.
        experiment: Only runs and sweeps of the experiment of this name; None for all.
        owned_by: A process that the caller knows to be over: ``gru_bench.process.owner()`` of it.
        reason: What is written as the error of each.

    Returns:
        How many were marked, sweeps included.

    Raises:
        UserError: The store cannot be read.
    """
    source = open_source(store.uri)
    ids = [id_ for id_, name in source.experiments().items() if experiment in (None, name)]
    found = source.sketched(ids, tags=(KIND, OWNER, BEAT, SWEEP), statuses=UNFINISHED)
    over = [run for run in found if sweep_id in (None, run.tags.get(SWEEP)) and is_over(run, owned_by=owned_by)]
    for run in over:
        kill(store, run.run_id, reason)
    return len(over)


def lose_job(store: "Store", experiment: str, sweep_id: str, job: int, owner: str | None, reason: str) -> bool:
    """Mark as killed what one job of a sweep has left RUNNING, since its process is gone.

    Another process may have seen that first, and marked it without knowing why: then the reason is put right.

    Args:
        store: Open, and written to.
        experiment: Name of the sweep's experiment.
        sweep_id: The parent run.
        job: Number of the job, as it is planned.
        owner: The process, which its row may not name; None where it is not known which, as on a cluster.
        reason: What is written as the error.

    Returns:
        Whether that process had finished the job's run before.
    """
    source = open_source(store.uri)
    ids = [id_ for id_, name in source.experiments().items() if name == experiment]
    finished = False
    for run in source.sketched(ids, tags=(ERROR, JOB, OWNER, SWEEP), statuses=(*UNFINISHED, "KILLED", "FINISHED")):
        of_job = (run.tags.get(SWEEP), run.tags.get(JOB)) == (sweep_id, str(job))
        if not of_job or owner not in (None, run.tags.get(OWNER, owner)):
            continue
        if run.status in UNFINISHED:
            kill(store, run.run_id, reason)
        elif run.status == "FINISHED":
            finished |= owner is not None and run.tags.get(OWNER) == owner
        elif run.tags.get(ERROR) == LOST:
            store.client.set_tag(run.run_id, ERROR, reason)
    return finished


def kill(store: "Store", run_id: str, reason: str) -> None:
    """Write that a run or a sweep was killed, and why."""
    store.client.set_tag(run_id, STATUS, "killed")
    store.client.set_tag(run_id, ERROR, reason)
    store.client.set_terminated(run_id, "KILLED")


def is_over(run: StoredRun, *, owned_by: str | None = None, now: float | None = None) -> bool:
    """Whether the process of a run or sweep that is RUNNING in the store is over.

    It is, if its owner is a process of this machine that does not run. An owner that cannot be seen from here is taken
    for over after 15 minutes without a beat, and a run that names no owner, as those of older stores, after a day.

    Args:
        run: With the tags ``KIND``, ``OWNER`` and ``BEAT``.
        owned_by: A process that the caller knows to be over.
        now: In seconds of ``time.time()``; None for now.
    """
    if run.status not in UNFINISHED or KIND not in run.tags:  # not ours: somebody else's run in the same store
        return False
    now = time.time() if now is None else now
    owner = run.tags.get(OWNER, "")
    if not owner:
        return now - run.started / 1000 > FORGOTTEN_AFTER_S
    if owner == owned_by:
        return True
    alive = is_alive(owner)
    return now - last_beat(run) > SILENT_AFTER_S if alive is None else not alive


def last_beat(run: StoredRun) -> float:
    """When the owner of a run last said that it lives, in seconds of ``time.time()``; its start where it never did."""
    try:
        return float(run.tags.get(BEAT, ""))
    except ValueError:
        return run.started / 1000
