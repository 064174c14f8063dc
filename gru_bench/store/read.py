"""The only reader of MLflow: every measured number, in five tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from gru_bench.store.baselines import baseline_rows, baselines_of
from gru_bench.store.bench import latest_figures
from gru_bench.store.connect import absolute_uri
from gru_bench.store.differences import differing
from gru_bench.store.examples import Examined
from gru_bench.store.fact import Fact
from gru_bench.store.find import read_planned, run_error, run_status
from gru_bench.store.keep import check_fingerprints, latest_by_key, missing_rows, not_superseded, run_order
from gru_bench.store.schema import (
    BASELINE_COLUMNS,
    BENCH_COLUMNS,
    CONFUSION_TABLE,
    ENVIRONMENT,
    RUN_FACTS,
    TIMING_COLUMNS,
    environment_columns,
)
from gru_bench.store.schema import FAMILIES as FAMILIES
from gru_bench.store.selection import select
from gru_bench.store.source import StoredRun, open_source
from gru_bench.store.tables import frame, measured, typed
from gru_bench.store.timings import read_timings

Examples = Callable[[str], Mapping[str, np.ndarray] | None]
"""Given a run id: what the run kept of each test example, as equally long columns, or None where it kept nothing."""


def no_examples(run_id: str) -> None:
    """Examples of a store that keeps none."""


@dataclass(frozen=True, eq=False)
class Results:
    """What a report reads. All tables have a fixed order, so that the same store gives the same bytes.

    Attributes:
        runs: One row per run key: the latest that finished, or else the latest that was refused or diverged, or else
            the latest. A planned job that left no run is a row with the status ``missing`` and no ``run_id``. Columns:
            ``RUN_FACTS`` of :mod:`gru_bench.store.schema`, then ``env_*``.
        values: One row per measured number: ``VALUE_COLUMNS``.
        curves: One row per point: ``CURVE_COLUMNS``; steps are optimizer steps.
        bench: What ``bench/cells.py`` last stored for the machines of these runs: ``BENCH_COLUMNS``.
        timings: What ``gru-bench time`` last measured of each pair in this experiment, and in others on the machines of
            these runs, one row a pair and experiment: ``TIMING_COLUMNS``.
        problems: What could not be read and was left out, each in a line that names the run or sweep.
        examples: Reads what a run, or a baseline, kept of each test example, when it is asked for.
        baselines: What simple models score on the very data of these runs, one row a score: ``BASELINE_COLUMNS``.
        confusions: Reads how many test examples of each class a run took for which: ``label``, ``prediction``,
            ``count``.
    """

    runs: pd.DataFrame
    values: pd.DataFrame
    curves: pd.DataFrame
    bench: pd.DataFrame = field(default_factory=lambda: frame([], BENCH_COLUMNS))
    timings: pd.DataFrame = field(default_factory=lambda: frame([], TIMING_COLUMNS))
    examples: Examples = no_examples
    problems: tuple[str, ...] = ()
    baselines: pd.DataFrame = field(default_factory=lambda: frame([], BASELINE_COLUMNS))
    confusions: Examples = no_examples

    def joined(self) -> pd.DataFrame:
        """Runs with their values, one row per value; a run without any is a row too."""
        return self.runs.merge(self.values, on="run_id", how="left")


def read(uri: str | None = None, *, experiment: str | None = None, sweep: str | None = None) -> Results:
    """Read the runs of an experiment, or of one sweep. An experiment of timings alone has no runs.

    Args:
        uri: The store; None is ``mlflow.db`` in the working folder. Never made by reading.
        experiment: Name of the experiment: all its runs, from whichever sweep.
        sweep: A sweep's run id. Without either: the latest sweep, or, in a store without one, the experiment of the
            latest run.

    Raises:
        UserError: No such store, experiment or sweep, or nothing in it (names those that exist); one run key with two
            different data fingerprints.
    """
    source = open_source(absolute_uri(uri))
    names = source.experiments()
    selected = select(source, names, experiment, sweep)
    problems: list[str] = []
    rows = [run_row(run, names) for run in selected.runs]
    check_fingerprints(rows)
    planned = {parent.run_id: read_planned(source, parent, problems) for parent in selected.sweeps}
    kept = not_superseded(latest_by_key(rows), planned)
    kept += missing_rows(selected.sweeps, planned, rows, names)
    families = dict(zip(FAMILIES, FAMILIES, strict=True)) | {
        row["cell"]: row["family"] for row in rows if row["family"]
    }
    for row in kept:
        row["family"] = families.get(row["cell"], "")  # a plan, or a run that failed early, does not have it
    kept.sort(key=run_order)
    by_id = {run.run_id: run for run in selected.runs}
    name_settings(kept, by_id)
    present = [by_id[row["run_id"]] for row in kept if row["run_id"]]
    damaged: dict[str, str] = {}
    values, curves = measured(source, present, damaged)
    for row in kept:
        if row["run_id"] in damaged:  # its row stays, and says why it has no values
            row |= {"status": "failed", "error": damaged[row["run_id"]]}
    problems += [
        f"run {run_id}: {why} from {by_id[run_id].artifact_uri}, and is left out; artifacts must stay where they were "
        "written, or lie in mlartifacts beside the SQLite file"
        for run_id, why in damaged.items()
    ]
    machines = {row["machine"] for row in kept}
    figures = latest_figures(source, list(names), machines, problems)
    baselines = baselines_of(source, names, {row["data_fingerprint"] for row in kept})
    return Results(
        runs=frame(kept, RUN_FACTS | environment_columns(kept)),
        values=values,
        curves=curves,
        bench=frame(figures, BENCH_COLUMNS),
        timings=frame(read_timings(source, names, selected.experiment, machines), TIMING_COLUMNS),
        examples=Examined(source, [*present, *baselines]),
        problems=tuple(problems),
        baselines=frame(baseline_rows(source, baselines), BASELINE_COLUMNS),
        confusions=Examined(source, present, CONFUSION_TABLE),
    )


def run_row(run: StoredRun, names: dict[str, str]) -> dict[str, Any]:
    """A run's facts with their types, and when it started, for choosing among equals."""
    params = run.params
    row = {name: typed(stored(run, fact), fact, run.run_id) for name, fact in RUN_FACTS.items()}
    row |= {name: value for name, value in params.items() if name.startswith(ENVIRONMENT)}
    return row | {
        "run_id": run.run_id,
        "experiment": names[run.experiment_id],
        "status": run_status(run),
        "error": run_error(run),
        "started": run.started,
    }


def stored(run: StoredRun, fact: Fact) -> str:
    """A fact as MLflow has it: the param, else the tag; nothing where a run has neither."""
    text = run.tags.get(fact.tag, "") if fact.tag else ""
    return str(run.params.get(fact.name, text) if fact.param else text)


def name_settings(rows: list[dict[str, Any]], runs: dict[str, StoredRun]) -> None:
    """Fill the column ``settings``: in what the runs of one cell on one task differ, beyond columns of their own."""
    alike: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["run_id"]:
            params = runs[row["run_id"]].params
            config = {key.removeprefix("config."): text for key, text in params.items() if key.startswith("config.")}
            if config:  # a run that ended early has none
                if row.get("backend"):
                    config["backend"] = row["backend"]
                alike.setdefault((row["task"], row["cell"]), {})[row["run_id"]] = config
    texts = {run_id: text for configs in alike.values() for run_id, text in differing(configs).items()}
    for row in rows:
        row["settings"] = texts.get(row["run_id"], "")
