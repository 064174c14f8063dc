"""How the runs of an experiment went, as a sweep that searches needs it: solved or not, and how soon.

Solved is what the validation curve says: its first point at the task's ceiling. So it does not matter whether a run was
stopped there or went on.
"""

import math
from collections.abc import Mapping

from gru_bench.run.search import FAILED, Attempt, Stored, Went
from gru_bench.store.connect import absolute_uri
from gru_bench.store.find import run_status
from gru_bench.store.schema import DIVERGED, ERROR, GROUP_KEY, KIND, RUN_KIND
from gru_bench.store.source import History, StoredRun, open_source


def attempts(uri: str, experiment: str, kept: dict[str, Stored]) -> Went:
    """Read an experiment's runs; see :class:`gru_bench.run.search.Read`.

    Args:
        uri: The store.
        experiment: Its name.
        kept: By run, what an earlier call read; filled in place.
    """
    source = open_source(absolute_uri(uri))
    ids = [experiment_id for experiment_id, name in source.experiments().items() if name == experiment]
    went: dict[tuple[str, int], Stored] = {}
    for run in source.runs(ids, {KIND: RUN_KIND}) if ids else ():
        key, status = run.tags.get(GROUP_KEY), run_status(run)
        if not key or status not in ("finished", "failed", "unsupported"):
            continue
        if run.run_id not in kept:
            kept[run.run_id] = stored(run, status, source.history(run.run_id))
        found = (key, int(run.params["seed"]))
        if status == "finished" or found not in went or went[found].status != "finished":
            went[found] = kept[run.run_id]
    return went


def stored(run: StoredRun, status: str, history: History) -> Stored:
    """What one run says."""
    error = run.tags.get(ERROR, "")
    error = "" if error.startswith(DIVERGED) else error
    ceiling = float(run.params["ceiling"])
    return Stored(attempt(run.params, history) if status == "finished" else FAILED, status, error, ceiling)


def attempt(params: Mapping[str, str], history: History) -> Attempt:
    """How a run went that finished.

    Args:
        params: The facts of the run.
        history: Its curves and values.
    """
    sign = 1 if params["primary_higher_is_better"] == "True" else -1
    _, curve = history.get(f"valid/{params['primary_metric']}", (math.nan, []))
    seconds, _ = history.get("speed/wall_s", (math.nan, []))
    points = sorted((step, sign * score) for step, score in curve if score == score)
    reached = (step for step, score in points if score >= sign * float(params["ceiling"]))
    return Attempt(next(reached, None), max((score for _, score in points), default=-math.inf), seconds)
