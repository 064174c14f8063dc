"""What ``gru-bench train`` would do with the same arguments: what is planned, what is done, what is left.

Reads the store and writes nothing to it. Jobs are told done from missing as :mod:`gru_bench.run.resume` does it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench.config.canonical import digest
from gru_bench.config.check import check, construct, to_node
from gru_bench.config.keys import decisive
from gru_bench.config.running import Until
from gru_bench.errors import UserError
from gru_bench.measure.threads import num_workers
from gru_bench.run.launch import Launch
from gru_bench.run.plan import (
    ADHOC,
    Choices,
    Combination,
    Composed,
    check_place,
    check_values,
    combination,
    compose_job,
    list_plan,
    make_plan,
    varied,
)
from gru_bench.run.resume import Code, Left, code_now, left_of, sweep_key, to_go_on_with
from gru_bench.run.searching import Searching
from gru_bench.run.sweep import asked_for, compared, facts_of, uri_of
from gru_bench.run.until import Deciding
from gru_bench.store.connect import is_waiting, sqlite_file
from gru_bench.store.done import Ledger, Outcome, by_key, read_ledger
from gru_bench.store.source import Source, StoredRun, open_source

MOST_RUNS = 5
"""Finished runs of one combination whose seconds are read, the latest."""
WALL_S = "speed/wall_s"


@dataclass
class Line:
    """One combination of the sweep: all but the seed.

    Attributes:
        names: What tells it from the others: cell, task, and what else varies.
        job: The overrides of one of its jobs that are left, or of any.
        planned: Jobs.
        todo: Of these, what the command would run.
        done: Those with a result that would not be run again.
        failed: Those whose latest run failed, whether or not they would be run again.
        running: Those that another process is at.
        finished: Ids of runs of it that finished.
    """

    names: dict[str, str]
    job: Choices
    planned: int = 0
    todo: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    finished: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outlook:
    """What the command would do.

    Attributes:
        experiment: To which its runs belong.
        lines: One for each combination.
        notes: What else there is to say, a line each.
        config: As composed for the whole command.
        alone: Whether it is a single run.
        more: Runs that may follow those planned, at most, by a line's number; of a sweep that adds seeds.
        source: The store; None where there is none yet.
    """

    experiment: str
    lines: list[Line]
    notes: list[str]
    config: DictConfig
    alone: bool = False
    more: Mapping[int, int] = field(default_factory=dict)
    source: Source | None = None

    @property
    def todo(self) -> int:
        """Runs that are left."""
        return sum(line.todo for line in self.lines)

    def composed(self, line: Line) -> Composed:
        """The config of one line.

        Raises:
            UserError: It does not fit.
        """
        return alone_of(self.config) if self.alone else compose_job(self.config, line.job)

    def took(self, line: Line) -> list[float]:
        """Seconds of the latest runs of a line that finished."""
        if self.source is None:
            return []
        found = (self.source.history(run_id).get(WALL_S) for run_id in line.finished[-MOST_RUNS:])
        return [value[0] for value in found if value is not None and value[0] == value[0]]


def look_ahead(config: DictConfig, launch: Launch) -> Outlook:
    """What the command would do.

    Args:
        config: As composed for it, with Hydra's own node.
        launch: The call, which reads the results of sweeps that add runs.

    Raises:
        UserError: What ``gru-bench train`` would refuse before it begins, or a store that cannot be read.
    """
    if config.hydra.mode != RunMode.MULTIRUN:
        return of_single(config)
    until, only, own = asked_for(config)
    if until.until is not None:
        return of_growing(config, launch, until)
    plan = list_plan(config) if own else make_plan(config, adds_seeds=False)
    source, ledger, notes = stored(config, plan.experiment, with_code=only == "stale")
    keys, extras, ledger = compared(config, plan.jobs, ledger, uri_of(config) or "")
    key, parent = sweep_key(plan, only), None
    try:
        parent = to_go_on_with(ledger, key, keys, only)
    except UserError as error:  # the same command runs now: that is no reason not to look
        parent = ledger.sweep_of(key)
        notes.append(str(error))
    code: Code = code_now() if only == "stale" else ()
    left = left_of(keys, ledger, only, parent, code, extras) if own else Left(list(range(len(plan.jobs))))
    if own:
        check_values(config, [plan.jobs[number] for number in left.todo])
    notes += [left.said or f"nothing of it has run yet; {len(left.todo)} to run"]
    lines = lines_of(plan.jobs, plan.shared, keys, ledger, left.todo, parent)
    return Outlook(plan.experiment, lines, notes, config, source=source)


def of_single(config: DictConfig) -> Outlook:
    """Of a single run: it is run whatever is stored.

    Raises:
        UserError: A value that does not fit.
    """
    experiment = config.hydra.runtime.choices.get("experiment") or ADHOC
    if config.get("until") is not None:
        raise UserError(f"until={config.until}: adds runs to a sweep; valid: with -m or experiment=NAME")
    found = alone_of(config)
    check_place(found.settings, config)
    source, ledger, notes = stored(config, experiment)
    key = digest(decisive(found.node, found.choices, found.source_id()))
    done = [run for run in ledger.runs if run.key == key and run.status == "finished"]
    if done:
        notes.append(f"{len(done)} of these runs are in the store; a single run is run again each time")
    line = Line({name: found.choices[name] for name in ("cell", "task")}, {}, 1, 1)
    line.finished = [run.run_id for run in done]
    return Outlook(experiment, [line], notes, config, alone=True, source=source)


def alone_of(config: DictConfig) -> Composed:
    """A single run, checked.

    Raises:
        UserError: A value that does not fit.
    """
    choices = {key: str(value) for key, value in config.hydra.runtime.choices.items() if value is not None}
    settings, node = check(config, choices["cell"])
    return Composed(config, settings, node, choices)


def of_growing(config: DictConfig, launch: Launch, until: Until) -> Outlook:
    """Of a sweep that adds runs: what its next round would be.

    Raises:
        UserError: A value that does not fit.
    """
    plan = make_plan(config, adds_seeds=until.until == "decided")
    source, ledger, notes = stored(config, plan.experiment)
    store, workers = construct(to_node(config.tracking)), num_workers(config.hydra.launcher)
    kind = Deciding if until.until == "decided" else partial(Searching, config)
    growing = kind(launch, plan, until, store, facts_of(config), workers)
    if until.max_hours is not None:
        notes.append(f"max_hours={until.max_hours:g}: no run is begun after that; the same command goes on from there")
    if isinstance(growing, Searching):
        lines = of_search(growing, known=source is not None)
        rounds = "further rounds follow from what it finds"
        notes.append(f"until={until.until}: the table is the next round, which this estimate is of; {rounds}")
        return Outlook(plan.experiment, lines, notes, config, source=source)
    keys, _, ledger = compared(config, plan.jobs, ledger, uri_of(config) or "")
    looked = growing.look() if source is not None else None
    todo = list(range(len(plan.jobs)))
    if looked is not None:
        first = [frozenset(job.items()) for job in growing.first_jobs(looked)]
        todo = [number for number, job in enumerate(plan.jobs) if frozenset(job.items()) in first]
        added, why = ([], "") if first else growing.next_jobs(looked)
        if why:
            notes.append(f"it would end at once: {why}")
        elif added:
            notes.append(f"its first round is done; the next one has {len(added)} runs with further seeds")
    lines = lines_of(plan.jobs, plan.shared, keys, ledger, todo, None)
    paired = {key for pair in growing.pairs for key in (pair.first, pair.second)}
    more = {
        number: max(0, until.max_seeds - line.planned)
        for number, line in enumerate(lines)
        if plan.keys[combination(line.job)] in paired
    }
    notes.append(
        f"until=decided: the table is the seeds that the experiment lists; pairs that stay undecided get more, up to "
        f"{until.max_seeds} seeds, at most {sum(more.values())} runs in all"
    )
    return Outlook(plan.experiment, lines, notes, config, more=more, source=source)


def of_search(searching: Searching, *, known: bool) -> list[Line]:
    """The rows of a search: runs that it rests on, and those of its next round."""
    if known:
        searching.went = searching.read()
    lines = []
    for row, standing in zip(searching.rows, searching.look(), strict=True):
        wanted = standing.wanted
        longest = max(wanted, key=lambda run: run.lag or 0, default=None)
        job = row.choices if longest is None else row.job(longest)
        names = {"cell": row.chosen["cell"], "task": row.chosen["task"]}
        names |= {key: value for key, value in row.choices.items() if key in searching.varied - {"cell", "task"}}
        number = standing.num_known + len(wanted)
        lines.append(Line(names, dict(job), number, len(wanted), standing.num_known))
    return lines


def stored(config: DictConfig, experiment: str, *, with_code: bool = False) -> tuple[Source | None, Ledger, list[str]]:
    """The store, how the experiment's runs went, and what is to be said of both.

    Raises:
        UserError: There is a store, and it cannot be read.
    """
    uri = uri_of(config)
    if uri is None:
        construct(to_node(config.tracking))  # which says what is wrong with it
        return None, Ledger([], []), ["a store of another kind is not looked at: all runs count as missing"]
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        return None, Ledger([], []), []
    source = open_source(uri)
    ledger = read_ledger(source, experiment, with_code=with_code, reaped=True)
    notes = []
    if is_waiting(uri):
        notes.append("runs of earlier calls wait to be delivered to the store; gru-bench train begins with that")
    return source, ledger, notes


def lines_of(
    jobs: Sequence[Choices],
    shared: Choices,
    keys: Sequence[str | None],
    ledger: Ledger,
    todo: Iterable[int],
    parent: StoredRun | None,
) -> list[Line]:
    """One line for each combination, with its jobs counted.

    Args:
        jobs: All that are planned.
        shared: Choices of every job that has no other.
        keys: Of each job; None where it has none.
        ledger: What the experiment holds.
        todo: Numbers of the jobs that would be run.
        parent: The sweep that would be gone on with.
    """
    runs_of, left, apart = by_key(ledger.runs), set(todo), sorted(varied(list(jobs)))
    without_key = {run.job: run for run in ledger.runs if parent and not run.key and run.sweep == parent.run_id}
    lines: dict[Combination, Line] = {}
    for number, (job, key) in enumerate(zip(jobs, keys, strict=True)):
        names = {name: job.get(name, shared[name]) for name in ("cell", "task")}
        names |= {name.lstrip("+"): job.get(name, shared.get(name, "")) for name in apart}
        line = lines.setdefault(combination(job), Line(names, job))
        runs: list[Outcome] = runs_of.get(key or "", [])
        last = runs[-1] if runs else without_key.get(str(number))
        running = any(run.status == "running" for run in runs)
        line.planned += 1
        line.todo += number in left
        line.running += running
        line.failed += last is not None and last.status == "failed"
        line.done += last is not None and last.is_result and not running and number not in left
        line.finished += [run.run_id for run in runs if run.status == "finished"]
        if number in left and not line.todo > 1:
            line.job = job
    return list(lines.values())


def counts(lines: Iterable[Line]) -> Counter[str]:
    """The sums over all lines."""
    total: Counter[str] = Counter()
    for line in lines:
        total.update(planned=line.planned, done=line.done, todo=line.todo, failed=line.failed, running=line.running)
    return total
