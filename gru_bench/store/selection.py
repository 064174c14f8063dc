"""Which runs are asked for: an experiment's, one sweep's, or the latest; an experiment may hold timings alone."""

from dataclasses import dataclass

from gru_bench.errors import UserError
from gru_bench.store.connect import without_password
from gru_bench.store.find import read_planned, sweep_runs
from gru_bench.store.schema import KIND, RUN_KIND, SWEEP_KIND, TIMING_KIND
from gru_bench.store.source import Source, StoredRun, in_order


@dataclass(frozen=True)
class Selected:
    """The runs to read, and the parents of the sweeps that they may belong to; the oldest first.

    Both are empty where the experiment holds timings alone.
    """

    experiment: str
    runs: list[StoredRun]
    sweeps: list[StoredRun]


def select(source: Source, names: dict[str, str], experiment: str | None, sweep: str | None) -> Selected:
    """Find what was asked for; see :func:`gru_bench.store.read.read`."""
    everything, uri = list(names), source.uri
    if sweep is not None:
        parents = source.runs(everything, {KIND: SWEEP_KIND})
        found = [parent for parent in parents if parent.run_id == sweep]
        if not found:
            known = ", ".join(f"{p.run_id} ({names[p.experiment_id]})" for p in parents[:-6:-1]) or "none yet"
            raise UserError(f"sweep={sweep}: no such sweep in {without_password(uri)}; the latest are: {known}")
        if experiment is not None and names[found[0].experiment_id] != experiment:
            raise UserError(f"sweep={sweep} belongs to experiment={names[found[0].experiment_id]}, not {experiment}")
        return one_sweep(source, names, found[0])
    if experiment is None:
        latest = source.newest(everything, {KIND: SWEEP_KIND})
        if latest is not None:
            return one_sweep(source, names, latest)
        single = source.newest(everything, {KIND: RUN_KIND}) or source.newest(everything, {KIND: TIMING_KIND})
        if single is None:
            raise UserError(f"tracking.uri={without_password(uri)}: no runs yet; `gru-bench train` writes some")
        experiment = names[single.experiment_id]
    ids = [experiment_id for experiment_id, name in names.items() if name == experiment]
    runs = source.runs(ids, {KIND: RUN_KIND}) if ids else []
    parents = source.runs(ids, {KIND: SWEEP_KIND}) if ids else []
    if not runs and not parents and not any(has_timings(source, experiment_id) for experiment_id in ids):
        with_runs = (
            name for i, name in names.items() if source.newest([i], {KIND: RUN_KIND}) or has_timings(source, i)
        )
        known = ", ".join(sorted(with_runs)) or "none yet"
        reason = "has no runs" if ids else "no such experiment"
        raise UserError(f"experiment={experiment}: {reason} in {without_password(uri)}; with runs: {known}")
    return Selected(experiment, runs, parents)


def one_sweep(source: Source, names: dict[str, str], parent: StoredRun) -> Selected:
    """A sweep's own runs, and those of other sweeps that stand for jobs of it."""
    runs = sweep_runs(source, parent)
    others = {job["run"] for job in read_planned(source, parent) if "run" in job} - {run.run_id for run in runs}
    if others:
        runs += [run for run in source.runs([parent.experiment_id], {KIND: RUN_KIND}) if run.run_id in others]
    return Selected(names[parent.experiment_id], in_order(runs), [parent])


def has_timings(source: Source, experiment_id: str) -> bool:
    """Whether an experiment holds any timing."""
    return source.newest([experiment_id], {KIND: TIMING_KIND}) is not None
