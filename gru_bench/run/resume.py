"""Which jobs of a sweep are left to do, and the sweep that a repeated command goes on with.

A job is known by its ``config_key``: what a job is called and which sweep ran it does not matter. So the same command
does what is missing, and an experiment with seeds added runs those.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import yaml
from filelock import FileLock, Timeout

from gru_bench.cache_dir import cache_dir
from gru_bench.config.canonical import digest
from gru_bench.config.keys import WEIGHTS, extras
from gru_bench.config.running import Only
from gru_bench.errors import UserError
from gru_bench.process import is_alive
from gru_bench.run.plan import Plan
from gru_bench.store.done import Ledger, Outcome, by_key
from gru_bench.store.reap import SILENT_AFTER_S, UNFINISHED, is_over, last_beat
from gru_bench.store.schema import OWNER
from gru_bench.store.source import StoredRun

LOCK_WITHIN_S = 300.0
"""Longest wait for another process that is just starting the same command."""

Code = tuple[str, ...]
"""Commit, whether files differed from it, and version, each as the store has it; see ``store/done.py``."""


@dataclass(frozen=True)
class Left:
    """What a sweep still has to do.

    Attributes:
        todo: Numbers of the jobs to run, in the plan's order.
        stand_ins: By a job's number the id of the run that is its result, where that belongs to another sweep.
        said: In a line, what is done and what is not; nothing for a sweep of which nothing has run.
    """

    todo: list[int]
    stand_ins: Mapping[int, str] = field(default_factory=dict)
    said: str = ""

    def planned(self, plan: Plan) -> list[dict[str, str]]:
        """All jobs as the parent run lists them, each with the run that stands for it where one does."""
        return [
            job | ({"run": self.stand_ins[number]} if number in self.stand_ins else {})
            for number, job in enumerate(plan.numbered(plan.jobs))
        ]


def left_of(
    keys: Sequence[str | None],
    ledger: Ledger,
    only: Only,
    parent: StoredRun | None = None,
    code: Code = (),
    wanted_extras: Sequence[Collection[str]] = (),
) -> Left:
    """Which jobs are left.

    ``missing``: those without a result, or whose results lack what they are to keep besides (the model, what a probe
    finds), unless another process is at it. ``failed``: those whose row in a report says
    failed, diverged ones too. ``stale``: those whose result another version of the code made, see :func:`is_stale`.
    ``all``: those without a result in ``parent``, which only this very command has opened.

    Args:
        keys: ``config_key`` of each job; None where it has none.
        ledger: What the experiment holds.
        only: Which are asked for.
        parent: The sweep that is gone on with.
        code: That which runs now; for ``stale``.
        wanted_extras: Of each job, what it is to keep; see :func:`gru_bench.config.keys.extras`.
    """
    of_parent = [run for run in ledger.runs if parent is not None and run.sweep == parent.run_id]
    runs_of = by_key(of_parent if only == "all" else ledger.runs)
    without_key = {run.job: run for run in sorted(of_parent, key=lambda run: run.place) if not run.key}
    todo: list[int] = []
    stand_ins: dict[int, str] = {}
    why: Counter[str] = Counter()
    done = elsewhere = 0
    for number, key in enumerate(keys):
        runs = runs_of.get(key or "", [])
        last = runs[-1] if runs else without_key.get(str(number))
        status = "missing" if last is None else last.status
        result = last if last is not None and last.is_result else None
        asked = wanted_extras[number] if wanted_extras else ()
        if result is not None and asked and only in ("missing", "all"):
            having = [run for run in runs if run.is_result and not lacking(asked, run)]
            if not having:
                status = lacking(asked, result)
            result = having[-1] if having else None
        if any(run.status == "running" for run in runs):
            elsewhere += 1
            continue
        if only == "stale":
            wanted = result is not None and is_stale(result.code, code)
            status = "stale"
        else:
            wanted = status == "failed" if only == "failed" else result is None
        if wanted:
            todo.append(number)
            why[status] += 1
        elif result is not None:
            done += 1
        if result is not None and not wanted and not belongs(result, parent, number):
            stand_ins[number] = result.run_id
    return Left(todo, stand_ins, told(len(keys), done, why, elsewhere, only) if runs_of or without_key else "")


def lacking(asked: Collection[str], run: Outcome) -> str:
    """What a result does not have that is asked for, as a reason to run its job again; nothing where it has all.

    A cell or backend that cannot run the job keeps nothing, however often it is asked.
    """
    missing = set(asked) - (run.kept or frozenset())
    if not missing or run.status == "unsupported":
        return ""
    if missing <= set(WEIGHTS):
        return "without what save asks for"
    return "without what save and probe ask for" if missing & set(WEIGHTS) else "without what probe asks for"


def with_older_extras(ledger: Ledger, keys: Collection[str | None], text_of: Callable[[Outcome], str]) -> Ledger:
    """The ledger with what runs of older versions have kept, which their config alone tells.

    Args:
        ledger: What the experiment holds.
        keys: Of the jobs that are asked about; no other run is looked at.
        text_of: Reads the config of a run.
    """

    def told_by_config(run: Outcome) -> Outcome:
        if run.kept is not None or not run.is_result or run.key not in keys:
            return run
        with suppress(yaml.YAMLError, RecursionError):
            node = yaml.safe_load(text_of(run))
            return replace(run, kept=frozenset(extras(node) if isinstance(node, dict) else []))
        return run

    return replace(ledger, runs=list(map(told_by_config, ledger.runs)))


def belongs(run: Outcome, parent: StoredRun | None, number: int) -> bool:
    """Whether a run is that of this very job."""
    return parent is not None and (run.sweep, run.job) == (parent.run_id, str(number))


def told(total: int, done: int, why: Mapping[str, int], elsewhere: int, only: Only) -> str:
    """The line: what is done, what is run, and why."""
    todo = sum(why.values())
    reasons = ", ".join(f"{number} {status}" for status, number in sorted(why.items()))
    parts = [f"{done} of {total} runs are done", f"{todo} to run ({reasons})" if todo else "none to run"]
    if elsewhere:
        parts.append(f"{elsewhere} still running in another process")
    if left_out := total - done - todo - elsewhere:
        parts.append(f"{left_out} without a result, left out by only={only}")
    if only != "all":
        parts.append("only=all runs all again")
    return "; ".join(parts)


def is_stale(made_by: Code, code: Code) -> bool:
    """Whether a result may come from other code than that which runs now.

    It does where the commits differ, or, where neither is known (an installed package), the versions. Where files
    differed from the commit, then or now, nobody knows; that counts as other code.

    Args:
        made_by: Commit, ``True`` where files differed from it, version: as the run has them.
        code: The same of now.
    """
    (commit, dirty, version), (commit_now, dirty_now, version_now) = made_by, code
    if commit or commit_now:
        return commit != commit_now or "true" in (dirty.lower(), dirty_now.lower())
    return version != version_now


def sweep_key(plan: Plan, only: Only) -> str:
    """By which the same command finds its sweep again. ``only=all`` begins one of its own."""
    return digest([plan.experiment, plan.numbered(plan.jobs), *(["again"] if only == "all" else [])])


def growing_key(plan: Plan, until: str | None) -> str:
    """Of a sweep that adds jobs: the same for each call of the same command, whatever limits it has."""
    return digest([until, plan.experiment, plan.numbered(plan.jobs)])


def to_go_on_with(ledger: Ledger, key: str, keys: Sequence[str | None], only: Only) -> StoredRun | None:
    """The sweep of an earlier call of the same command; None where there is none, or it ran other configs.

    The command alone does not say what it runs: a yaml or the data may have changed since.

    Raises:
        UserError: Another process is at it.
    """
    parent = ledger.sweep_of(key)
    if parent is None:
        return None
    refuse_two(parent)
    runs = [run for run in ledger.runs if run.sweep == parent.run_id]
    if {run.key for run in runs if run.key} - set(keys):
        return None
    ended = {run.job for run in runs if run.status in ("finished", "failed", "unsupported")}
    if only == "all" and len(ended) >= len(keys):
        return None  # that one is over, and all is to run once more
    return parent


def refuse_two(parent: StoredRun) -> None:
    """Refuse to write into a sweep that another process is writing.

    Raises:
        UserError: It is RUNNING, and its process may still live.
    """
    if parent.status not in UNFINISHED or is_over(parent):
        return
    owner = parent.tags.get(OWNER, "")
    if is_alive(owner):
        where = f"in process {owner.split()[0]}"
        wish = "wait for it, or end it first"
    else:
        where = f"elsewhere, last heard of {time.time() - last_beat(parent):.0f} s ago"
        wish = f"it counts as over after {SILENT_AFTER_S // 60} minutes of silence"
    raise UserError(f"sweep {parent.run_id}: the same command is still running {where}; {wish}")


@contextmanager
def alone(uri: str, key: str) -> Iterator[None]:
    """No other process on this machine starts the same command within the block.

    Raises:
        UserError: Another one has been starting it for minutes.
    """
    lock = FileLock(cache_dir() / "plans" / f"{digest([uri, key])}.lock", timeout=LOCK_WITHIN_S)
    held = False
    with suppress(OSError):  # a cache that cannot be written: then two are told apart once the first is RUNNING
        (cache_dir() / "plans").mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
            held = True
        except Timeout as error:
            raise UserError("another process is just starting the same command; wait for it, or end it") from error
    try:
        yield
    finally:
        if held:
            lock.release()


def hold(uri: str, key: str) -> FileLock | None:
    """Keep others on this machine from the same command until this process ends, or releases what this returns.

    Raises:
        UserError: Another process is at it.
    """
    lock = FileLock(cache_dir() / "plans" / f"{digest([uri, key, 'whole'])}.lock")
    try:
        (cache_dir() / "plans").mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError("the same command is still running in another process; wait for it, or end it first") from error
    except OSError:  # a cache that cannot be written: then the sweep's parent run says it, once it is there
        return None
    return lock


def code_now() -> Code:
    """Which code runs now, as :data:`gru_bench.store.done.CODE` has it of a run."""
    from pathlib import Path

    import gru_bench
    from gru_bench.measure.environment import git_state

    commit, dirty = git_state(Path(gru_bench.__file__).parent)
    return commit or "", "" if dirty is None else str(dirty), gru_bench.__version__
