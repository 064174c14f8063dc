"""What simple models score on a task's data: each is an MLflow run of its own kind, never a row of runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gru_bench.store.schema import BASELINE_FACTS, BASELINE_KIND, BASELINES_EXPERIMENT, EXAMPLES_TABLE, KIND
from gru_bench.store.source import Source, StoredRun
from gru_bench.store.tables import Rows, measured, typed
from gru_bench.store.write import Store

KEY = ("baseline", "data_fingerprint", "recipe")
"""What a baseline is of: two of the same measured the same."""
Units = Mapping[str, tuple[str, bool]]
"""By metric its unit, and whether higher is better."""


def store_baseline(
    store: Store,
    facts: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, float]],
    units: Units,
    examples: Mapping[str, list[Any]],
) -> str:
    """Write what a baseline scored.

    Args:
        store: Open or not.
        facts: ``BASELINE_FACTS``; what is not known is left out.
        scores: By split, then by metric.
        units: Of the metrics.
        examples: What it said of each test row, as equally long columns.

    Returns:
        MLflow's id.

    Raises:
        UserError: The store cannot be reached or written.
        ValueError: A fact is not declared.
    """
    name = f"{facts['baseline']} {facts['task']}".replace("_", " ")
    with store.run(BASELINES_EXPERIMENT, name, sweep_id=None, tags={}, kind=BASELINE_KIND) as run:
        run.params({key: value for key, value in facts.items() if value is not None})
        for split, by_metric in scores.items():
            for metric, value in by_metric.items():
                unit, higher = units[metric]
                run.value(split, metric, value, unit=unit, higher_is_better=higher)
        run.table(EXAMPLES_TABLE, dict(examples))
    return run.run_id


def baselines_of(source: Source, experiment_ids: Iterable[str], fingerprints: Iterable[str]) -> list[StoredRun]:
    """The baselines of some data, by it; of two of the same the later one.

    Args:
        source: The store.
        experiment_ids: Where to look.
        fingerprints: Of the data, as runs have them; empty ones are those of runs that ended early.
    """
    wanted = set(fingerprints) - {""}
    if not wanted:
        return []
    latest: dict[tuple[str, ...], StoredRun] = {}
    for run in source.runs(list(experiment_ids), {KIND: BASELINE_KIND}):
        if run.status == "FINISHED" and run.params.get("data_fingerprint") in wanted:
            latest[tuple(run.params.get(name, "") for name in KEY)] = run
    return [run for _, run in sorted(latest.items())]


def baseline_rows(source: Source, runs: Sequence[StoredRun]) -> Rows:
    """Their scores with ``BASELINE_COLUMNS``; one whose file cannot be read has none."""
    shared = {
        run.run_id: {name: typed(run.params.get(name, ""), fact, run.run_id) for name, fact in BASELINE_FACTS.items()}
        for run in runs
    }
    values, _ = measured(source, runs, {})
    rows = values[["run_id", "split", "metric", "value"]].to_dict("records")
    return [shared[str(row["run_id"])] | {str(name): value for name, value in row.items()} for row in rows]
