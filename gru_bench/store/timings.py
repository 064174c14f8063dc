"""Timings of ``gru-bench time`` in the tracking store: each is an MLflow run of its own kind, never a row of runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gru_bench.errors import Unsupported
from gru_bench.store.schema import (
    ENVIRONMENT,
    FIRST,
    KIND,
    SECOND,
    TIMING_FACTS,
    TIMING_KIND,
    TIMING_LATENCIES,
    TIMING_SAMPLES,
)
from gru_bench.store.source import Source, StoredRun
from gru_bench.store.tables import Rows, typed
from gru_bench.store.write import Store

Facts = Mapping[str, Any]

TIMINGS = "timings"
"""The experiment of timings that no grid and no experiment asked for."""

KEY = (
    "machine",
    "device",
    "dtype",
    "threads",
    "torch",
    "situation",
    "task",
    "steps",
    "batch",
    "inputs",
    "hidden_size_asked",
    "num_layers",
    "bidirectional",
    "budget",
    "config",
    *(f"{arm}{name}" for arm in (FIRST, SECOND) for name in ("cell", "backend")),
)
"""What one timing is of: two of the same measured the same, apart from the code."""


class NotTimed(Exception):
    """How a timing ends in the store that has no figures."""


def store_timing(
    store: Store,
    experiment: str,
    facts: Facts,
    samples: Mapping[str, list[Any]],
    latencies: Mapping[str, list[Any]],
    environment: Mapping[str, str],
) -> str:
    """Write one timing.

    Args:
        store: Open or not.
        experiment: Name of MLflow's experiment.
        facts: ``TIMING_FACTS``; what is not known is left out.
        samples: Raw times of all rounds, as equally long columns; may be empty.
        latencies: Likewise of single steps, where they were timed one by one.
        environment: Versions and hardware.

    Returns:
        MLflow's id.

    Raises:
        UserError: The store cannot be reached or written.
        ValueError: A fact is not declared.
    """
    what = " ".join(str(facts[name]) for name in ("first_cell", "first_backend"))
    against = " ".join(str(facts[name]) for name in ("second_cell", "second_backend"))
    name = f"{facts['situation']} {facts.get('task') or ''} {what}, {against}".replace("  ", " ")
    run_id = ""
    try:
        with store.run(experiment, name, sweep_id=None, tags={}, kind=TIMING_KIND) as run:
            run_id = run.run_id
            run.params({key: value for key, value in facts.items() if value is not None})
            run.params({f"{ENVIRONMENT}{key}": text for key, text in environment.items()})
            for table, columns in ((TIMING_SAMPLES, samples), (TIMING_LATENCIES, latencies)):
                if columns:
                    run.table(table, dict(columns))
            if facts["status"] == "unsupported":
                raise Unsupported(facts["error"])
            if facts["status"] != "finished":
                raise NotTimed(facts["error"])
    except (Unsupported, NotTimed):  # so that MLflow too shows how it ended
        pass
    return run_id


def read_timings(source: Source, names: Mapping[str, str], experiment: str, machines: Iterable[str] = ()) -> Rows:
    """The timings of an experiment, and those that other experiments made on some machines; see :func:`that_count`.

    Args:
        source: The store.
        names: Names of all experiments by their ids.
        experiment: All of its timings, from whichever machine.
        machines: Ids; what other experiments have of these is read too.

    Returns:
        Rows with ``TIMING_COLUMNS``, in the order in which they were measured.

    Raises:
        UserError: A param is not what its column holds.
    """
    wanted = set(machines) - {""}
    rows = []
    for run in source.runs(list(names), {KIND: TIMING_KIND}):
        within = names[run.experiment_id]
        if "status" in run.params and (within == experiment or run.params.get("machine") in wanted):
            rows.append(timing_row(run, within))  # without a status it was killed before it was written
    return that_count(rows)


def that_count(rows: Sequence[dict[str, Any]]) -> Rows:
    """All that finished: the reader chooses. Of the others the latest of each pair of which none did.

    Args:
        rows: In the order in which they were measured.
    """
    keys = [(row["experiment"], *key_of(row)) for row in rows]
    last = {key: place for place, (key, row) in enumerate(zip(keys, rows, strict=True)) if row["status"] != "finished"}
    for key, row in zip(keys, rows, strict=True):
        if row["status"] == "finished":
            last.pop(key, None)
    kept = set(last.values())
    return [row for place, row in enumerate(rows) if row["status"] == "finished" or place in kept]


def timing_row(run: StoredRun, experiment: str) -> dict[str, Any]:
    """A timing's facts with their types."""
    facts = {name: typed(run.params.get(name, ""), fact, run.run_id) for name, fact in TIMING_FACTS.items()}
    return {"run_id": run.run_id, "experiment": experiment} | facts


def key_of(facts: Facts) -> tuple[str, ...]:
    """What a timing is of, as text, whether it comes from a table or from what is about to be measured."""
    return tuple("" if facts.get(name) is None else str(facts[name]) for name in KEY)
