"""Results of several stores as one: each machine has its own. Scores are pooled where the data agree, speeds never."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gru_bench.errors import UserError
from gru_bench.store.keep import run_order
from gru_bench.store.read import Examples, Results
from gru_bench.store.schema import (
    BASELINE_COLUMNS,
    BENCH_COLUMNS,
    NAMED_BY_CONFIG,
    RUN_FACTS,
    TIMING_COLUMNS,
    environment_columns,
)
from gru_bench.store.tables import Rows, frame
from gru_bench.store.timings import that_count

PLANNED = tuple(fact.name for fact in NAMED_BY_CONFIG.values())


def to_stderr(line: str) -> None:
    """Show a line to the user."""
    print(line, file=sys.stderr)


def merge(results: Sequence[Results], /, say: Callable[[str], None] = to_stderr) -> Results:
    """Join what several stores hold.

    One run key on one machine is one run, even if two stores have it: one that finished counts, of two such the one of
    the later store. One key on two machines is two runs: their scores are of one seed, and each has its own speed. A
    planned job that left no run in one store is dropped where another store has it.

    Args:
        results: At least one, in the order of their age.
        say: Is told of each run that two stores have.

    Raises:
        UserError: Runs that differ in nothing but the seed have seen different data.
    """
    if len(results) == 1:
        return results[0]
    rows: Rows = [
        {"started": store} | {str(name): value for name, value in row.items()}
        for store, one in enumerate(results)
        for row in one.runs.to_dict("records")
    ]
    check_data(rows)
    ran = latest([row for row in rows if row["run_id"]], say)
    kept = ran + not_run([row for row in rows if not row["run_id"]], ran)
    kept.sort(key=run_order)
    places = {row["run_id"]: place for place, row in enumerate(kept)}
    bench = pd.concat([one.bench for one in results], ignore_index=True).drop_duplicates(ignore_index=True)
    baselines = pd.concat([one.baselines for one in results], ignore_index=True).drop_duplicates(ignore_index=True)
    columns = RUN_FACTS | environment_columns(kept)
    return Results(
        runs=frame([{name: known_text(row, name) for name in columns} for row in kept], columns),
        values=of_runs([one.values for one in results], places),
        curves=of_runs([one.curves for one in results], places),
        bench=bench.astype({name: fact.kind for name, fact in BENCH_COLUMNS.items()}),
        timings=all_timings([one.timings for one in results]),
        examples=Chained(results, [one.examples for one in results]),
        problems=tuple(problem for one in results for problem in one.problems),
        baselines=baselines.astype({name: fact.kind for name, fact in BASELINE_COLUMNS.items()}),
        confusions=Chained(results, [one.confusions for one in results]),
    )


def all_timings(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The timings of all stores, each once; see :func:`gru_bench.store.timings.that_count`."""
    rows: Rows = [{str(name): value for name, value in row.items()} for one in frames for row in one.to_dict("records")]
    rows.sort(key=lambda row: str(row["measured_at"]))
    return frame(that_count(list({row["run_id"]: row for row in rows}.values())), TIMING_COLUMNS)


def check_data(rows: Iterable[dict[str, Any]]) -> None:
    """Refuse seeds of one group that saw different data."""
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["group_key"] or not row["data_fingerprint"]:
            continue
        first = seen.setdefault(row["group_key"], row)
        if first["data_fingerprint"] != row["data_fingerprint"]:
            raise UserError(
                f"task={row['task']}, cell={row['cell']}: the stores hold runs on different data and cannot be merged: "
                f"run {first['run_id']} saw {first['data_fingerprint']}, run {row['run_id']} saw "
                f"{row['data_fingerprint']}; report them one by one"
            )


def latest(rows: Iterable[dict[str, Any]], say: Callable[[str], None]) -> Rows:
    """One row a run key and machine: one that finished, or else any; of the latest store."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["status"] == "finished", row["started"])):
        key = (row["config_key"] or row["run_id"], row["machine"])
        other = best.get(key)
        if other is not None and other["run_id"] != row["run_id"]:
            say(
                f"{row['task']}, {row['cell']}, seed {row['seed']} ran twice on machine {row['machine']}: "
                f"run {row['run_id']} counts, run {other['run_id']} does not"
            )
        best[key] = row
    return list(best.values())


def not_run(planned: Iterable[dict[str, Any]], ran: Iterable[dict[str, Any]]) -> Rows:
    """The planned jobs that no store ran, each once."""
    done: dict[tuple[Any, ...], Rows] = {}
    for row in ran:
        done.setdefault((row["task"], row["cell"], row["seed"]), []).append(row)
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in planned:
        facts = {name: row[name] for name in PLANNED if not pd.isna(row[name]) and row[name] != ""}
        others = done.get((row["task"], row["cell"], row["seed"]), [])
        if not any(all(other[name] == value for name, value in facts.items()) for other in others):
            kept.setdefault(tuple(facts.items()), row)
    return list(kept.values())


def known_text(row: Mapping[str, Any], name: str) -> Any:
    """A fact of a row; of the environment, which other stores may not have recorded, empty text."""
    value = row.get(name, "")
    return "" if name not in RUN_FACTS and pd.isna(value) else value


def of_runs(frames: Sequence[pd.DataFrame], places: Mapping[str, int]) -> pd.DataFrame:
    """The rows of the runs that are kept, run after run, each run once."""
    parts, seen = [], set[str]()
    for one in frames:
        parts.append(one[one["run_id"].isin(places.keys() - seen)])
        seen |= set(one["run_id"])
    joined = pd.concat(parts, ignore_index=True)
    order = np.argsort(joined["run_id"].map(places).to_numpy(), kind="stable")
    return joined.iloc[order].reset_index(drop=True)


class Chained:
    """Test examples of several stores.

    Args:
        results: Of each store.
        readers: Of each one's examples, or of what sums them up.
    """

    def __init__(self, results: Sequence[Results], readers: Sequence[Examples]) -> None:
        ids = [{*one.runs["run_id"], *one.baselines["run_id"]} for one in results]
        self._readers = list(zip(ids, readers, strict=True))

    def __call__(self, run_id: str) -> Mapping[str, np.ndarray] | None:
        """See :class:`gru_bench.store.examples.Examined`."""
        for run_ids, reader in self._readers:
            if run_id in run_ids and (found := reader(run_id)) is not None:
                return found
        return None
