"""What a sweep that adds seeds looks at: the report's own comparisons, of everything that the store has by now."""

import math

from gru_bench.compare.compared import Compared, primary
from gru_bench.report.groups import is_known
from gru_bench.report.markdown import number
from gru_bench.report.view import View
from gru_bench.run.rounds import Looked, Pair, Standing
from gru_bench.store.connect import absolute_uri
from gru_bench.store.read import Results, read
from gru_bench.store.schema import KIND, RUN_KIND
from gru_bench.store.source import open_source


def look(uri: str, experiment: str, looks: int) -> Looked:
    """Read an experiment's runs and compare its primary pairs; see :class:`gru_bench.run.rounds.Look`."""
    source = open_source(absolute_uri(uri))
    ids = [experiment_id for experiment_id, name in source.experiments().items() if name == experiment]
    if not ids or source.newest(ids, {KIND: RUN_KIND}) is None:
        return Looked()
    results = read(uri, experiment=experiment)
    # the seeds of an earlier sweep that did not mean to go on are this one's first look
    results.runs["looks"] = results.runs["looks"].fillna(1).clip(lower=looks)
    return Looked(*progress(results), standings(View(results)))


def progress(results: Results) -> tuple[dict[str, frozenset[int]], dict[str, float]]:
    """By ``group_key``: the seeds that finished, and the mean seconds of a run. Trials are none that are compared."""
    finished = results.runs[(results.runs["status"] == "finished") & ~is_known(results.runs["role"])]
    took = results.values[(results.values["split"] == "speed") & (results.values["metric"] == "wall_s")]
    seconds = finished.merge(took[["run_id", "value"]], on="run_id")
    return (
        {str(key): frozenset(map(int, seeds)) for key, seeds in finished.groupby("group_key")["seed"]},
        {str(key): float(mean) for key, mean in seconds.groupby("group_key")["value"].mean().items() if mean == mean},
    )


def standings(view: View) -> dict[Pair, Standing]:
    """How each primary comparison stands."""
    return {Pair(found.pair.first.key, found.pair.second.key): standing(found) for found in primary(view)}


def standing(found: Compared) -> Standing:
    """One comparison as the table shows it, in the unit of the task's metric."""
    verdict, needed = found.verdict, found.verdict.seeds_needed
    low, high = verdict.interval.low, verdict.interval.high
    return Standing(
        " ".join(filter(None, [found.task, found.pair.where])),
        found.answer,
        verdict.answer != "undecided",
        f"{number(low)} .. {number(high)} {found.unit}" if math.isfinite(low + high) else "",
        None if needed is None else (needed.typical, needed.low),
        verdict.reason,
    )
