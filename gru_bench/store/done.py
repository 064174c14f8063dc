"""How the jobs of an experiment went so far, by run key: what a sweep need not run again. Reads no measured number."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from gru_bench.store.find import fetched, is_result, run_error, run_status, standing
from gru_bench.store.reap import is_over
from gru_bench.store.schema import (
    BEAT,
    CONFIG_FILE,
    CONFIG_KEY,
    ENVIRONMENT,
    ERROR,
    JOB,
    KEPT,
    KIND,
    OWNER,
    RUN_KIND,
    STATUS,
    SWEEP,
    SWEEP_KEY,
    SWEEP_KIND,
)
from gru_bench.store.source import Source, StoredRun

TAGS = (KIND, CONFIG_KEY, STATUS, ERROR, SWEEP, JOB, OWNER, BEAT, SWEEP_KEY, KEPT)
CODE = ("git_commit", "dirty", f"{ENVIRONMENT}gru_bench")
"""Params that say which code made a run."""


@dataclass(frozen=True)
class Outcome:
    """How one run went.

    Attributes:
        run_id: MLflow's.
        key: Its ``config_key``; empty where it ended before it had one.
        status: ``finished``, ``failed``, ``killed``, ``unsupported`` or ``running``.
        is_result: Whether running it again would only repeat it.
        sweep: Its parent's id; empty for a single run.
        job: Its number there.
        started: In milliseconds.
        place: Which of several counts: the larger one; see :func:`gru_bench.store.find.standing`.
        code: Its params of the names ``CODE``, where they were asked for.
        kept: What it was asked to keep besides its scores; None where an older version does not say.
        artifact_uri: The folder of its artifacts.
    """

    run_id: str
    key: str
    status: str
    is_result: bool
    sweep: str
    job: str
    started: int
    place: tuple[int, int, str]
    code: tuple[str, ...] = ()
    kept: frozenset[str] | None = None
    artifact_uri: str = ""


@dataclass(frozen=True)
class Ledger:
    """The runs and sweeps of one experiment.

    Attributes:
        runs: The oldest first.
        sweeps: Parents of sweeps, the oldest first, with the tags ``TAGS``.
        lost: Whether any of them is RUNNING though its process is over.
    """

    runs: list[Outcome]
    sweeps: list[StoredRun]
    lost: bool = False

    def sweep_of(self, key: str) -> StoredRun | None:
        """The latest sweep with that ``SWEEP_KEY``."""
        return next((parent for parent in reversed(self.sweeps) if parent.tags.get(SWEEP_KEY) == key), None)


def read_ledger(source: Source, experiment: str, *, with_code: bool = False, reaped: bool = False) -> Ledger:
    """All runs of an experiment, with a few tags each; nothing where there is none of that name.

    Args:
        source: The store.
        experiment: Its name.
        with_code: Also read which code made each run.
        reaped: Runs whose process is over count as killed, as they do once :func:`gru_bench.store.reap.reap` has
            marked them; for who may not write.

    Raises:
        UserError: The store cannot be read.
    """
    ids = [id_ for id_, name in source.experiments().items() if name == experiment]
    if not ids:
        return Ledger([], [])
    found = source.sketched(ids, tags=TAGS, params=CODE if with_code else ())
    runs = [outcome(run, reaped=reaped) for run in found if run.tags.get(KIND) == RUN_KIND]
    sweeps = [run for run in found if run.tags.get(KIND) == SWEEP_KIND]
    return Ledger(runs, sweeps, any(map(is_over, found)))


def outcome(run: StoredRun, *, reaped: bool = False) -> Outcome:
    """How a run went; see :func:`read_ledger`."""
    status, error = run_status(run), run_error(run)
    kept = run.tags.get(KEPT)
    if reaped and is_over(run):
        status = "killed"
    return Outcome(
        run.run_id,
        run.tags.get(CONFIG_KEY, ""),
        status,
        is_result(status, error),
        run.tags.get(SWEEP, ""),
        run.tags.get(JOB, ""),
        run.started,
        (standing(status, error), run.started, run.run_id),
        tuple(run.params.get(name, "") for name in CODE),
        None if kept is None else frozenset(kept.split()),
        run.artifact_uri,
    )


def config_text(source: Source, run: Outcome) -> str:
    """The config of a run, as it was resolved, in yaml; nothing where it is not there.

    Raises:
        UserError: The artifacts lie on a server that does not give them.
    """
    stored = StoredRun(run.run_id, "", "", 0, run.artifact_uri)
    with suppress(OSError, UnicodeDecodeError), fetched(source, stored, (CONFIG_FILE,)) as files:
        return files[0].read_text(encoding="utf-8") if files else ""
    return ""


def by_key(runs: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The runs of each key, that which counts last; runs without a key left out."""
    found: dict[str, list[Outcome]] = {}
    for run in sorted(runs, key=lambda run: run.place):
        if run.key:
            found.setdefault(run.key, []).append(run)
    return found
