"""What a sweep that adds seeds looks at: the report's own comparisons, of everything that the store has by now."""

import math
from collections.abc import Mapping
from typing import Any

from gru_bench.report.markdown import number
from gru_bench.report.view import View
from gru_bench.run.rounds import Looked, Pair, Standing
from gru_bench.store.connect import absolute_uri, connect
from gru_bench.store.read import Results, read
from gru_bench.store.schema import RUN_KIND
from gru_bench.store.selection import newest


def look(uri: str, experiment: str, looks: int) -> Looked:
    """Read an experiment's runs and compare its primary pairs; see :class:`gru_bench.run.rounds.Look`."""
    client = connect(absolute_uri(uri), create=False)
    found = client.get_experiment_by_name(experiment)
    if found is None or newest(client, [found.experiment_id], RUN_KIND) is None:
        return Looked()
    results = read(uri, experiment=experiment)
    # the seeds of an earlier sweep that did not mean to go on are this one's first look
    results.runs["looks"] = results.runs["looks"].fillna(1).clip(lower=looks)
    return Looked(*progress(results), standings(View(results)))


def progress(results: Results) -> tuple[dict[str, frozenset[int]], dict[str, float]]:
    """By ``group_key``: the seeds that finished, and the mean seconds of a run."""
    finished = results.runs[results.runs["status"] == "finished"]
    took = results.values[(results.values["split"] == "speed") & (results.values["metric"] == "wall_s")]
    seconds = finished.merge(took[["run_id", "value"]], on="run_id")
    return (
        {str(key): frozenset(map(int, seeds)) for key, seeds in finished.groupby("group_key")["seed"]},
        {str(key): float(mean) for key, mean in seconds.groupby("group_key")["value"].mean().items() if mean == mean},
    )


def standings(view: View) -> Mapping[Pair, Standing]:
    """How each primary comparison stands."""
    from gru_bench.compare.compared import primary

    return {Pair(str(found.pair.first.key), str(found.pair.second.key)): standing(found) for found in primary(view)}


def standing(found: Any) -> Standing:
    """One comparison as the table shows it, in the unit of the task's metric."""
    verdict, task = found.verdict, found.pair.task
    cells = {"first": found.pair.first.cell, "second": found.pair.second.cell}
    answer = cells[verdict.answer].upper() if verdict.answer in cells else verdict.answer
    low, high = verdict.interval.low, verdict.interval.high
    needed = verdict.seeds_needed
    return Standing(
        " ".join(filter(None, [task.task, found.pair.where])),
        answer,
        verdict.answer != "undecided",
        f"{number(low)} .. {number(high)} {task.unit or task.metric}" if math.isfinite(low + high) else "",
        None if needed is None else (needed.typical, needed.low),
        verdict.reason,
    )
