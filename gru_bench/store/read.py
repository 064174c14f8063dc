"""The only reader of MLflow: every measured number, in four tables."""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from gru_bench.errors import UserError
from gru_bench.store.bench_tables import latest_figures
from gru_bench.store.connect import (
    ERROR,
    JOB,
    KIND,
    SWEEP,
    absolute_uri,
    connect,
    read_planned,
    run_status,
    search,
    shown,
)
from gru_bench.store.settings import differing
from gru_bench.store.tables import Rows, measured

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

TEXT, INTEGER, NUMBER, TRUTH = "str", "Int64", "float64", "boolean"
RUN_COLUMNS: dict[str, str] = {
    "run_id": TEXT,
    "sweep": TEXT,
    "experiment": TEXT,
    "config_key": TEXT,
    "group_key": TEXT,
    "job": INTEGER,
    "task": TEXT,
    "family": TEXT,
    "cell": TEXT,
    "backend": TEXT,
    "kernel": TEXT,
    "hidden_size_asked": INTEGER,
    "hidden_size": INTEGER,
    "num_layers": INTEGER,
    "num_parameters": INTEGER,
    "budget": TEXT,
    "seed": INTEGER,
    "device": TEXT,
    "machine": TEXT,
    "threads": INTEGER,
    "shared": TRUTH,
    "dtype": TEXT,
    "learning_rate": NUMBER,
    "learning_rate_trials": INTEGER,
    "batch_size": INTEGER,
    "status": TEXT,
    "error": TEXT,
    "git_commit": TEXT,
    "dirty": TRUTH,
    "primary_metric": TEXT,
    "primary_unit": TEXT,
    "primary_higher_is_better": TRUTH,
    "margin": NUMBER,
    "beats_trivial_by": NUMBER,
    "ceiling": NUMBER,
    "data_source": TEXT,
    "data_fingerprint": TEXT,
    "generated": TRUTH,
    "parity": TEXT,
    "parity_output_error": NUMBER,
    "parity_gradient_error": NUMBER,
    "stopped": TEXT,
    "settings": TEXT,
    "notes": TEXT,
}
"""Columns of ``Results.runs`` and their types. Text that is not known is empty; anything else is missing (NA).

After these come the environment's, ``env_*``, as text.
"""
VALUE_COLUMNS = {
    "run_id": TEXT,
    "split": TEXT,
    "metric": TEXT,
    "slice": TEXT,
    "slice_value": TEXT,
    "value": NUMBER,
    "unit": TEXT,
    "higher_is_better": TRUTH,
}
CURVE_COLUMNS = {"run_id": TEXT, "metric": TEXT, "step": "int64", "value": NUMBER}
BENCH_COLUMNS = {
    "run_id": TEXT,
    "machine": TEXT,
    "torch": TEXT,
    "threads": INTEGER,
    "dtype": TEXT,
    "device": TEXT,
    "git_commit": TEXT,
    "rounds": INTEGER,
    "cell": TEXT,
    "backend": TEXT,
    "kernel": TEXT,
    "shape": TEXT,
    "ms": NUMBER,
    "ratio_to_vendor": NUMBER,
    "ratio_low": NUMBER,
    "ratio_high": NUMBER,
    "percent_of_peak": NUMBER,
    "parity": TEXT,
}
"""Columns of ``Results.bench``: ``shape`` is ``TxBxH`` or the name of a whole model; a ratio is the vendor's time over
this one, so that above 1 is faster than the vendor; ``run_id`` is the benchmark's, never one of ``runs``.
"""

FAMILIES = ("rnn", "lstm", "gru")
"""The order of families in tables; a family is stood for by its reference cell of the same name."""
PLANNED_NAMES = {
    "hidden_size": "hidden_size_asked",
    "trainer.learning_rate": "learning_rate",
    "task.batch_size": "batch_size",
}
"""Where a config key's column has another name."""
READERS = 8


@dataclass(frozen=True, eq=False)
class Results:
    """What a report reads. All tables have a fixed order, so that the same store gives the same bytes.

    Attributes:
        runs: One row a run key: the latest that finished, or else the latest. A planned job that left no run is a row
            with the status ``missing`` and no ``run_id``. Columns: :data:`RUN_COLUMNS` and ``env_*``.
        values: One row a measured number: :data:`VALUE_COLUMNS`.
        curves: One row a point: :data:`CURVE_COLUMNS`; steps are optimizer steps.
        bench: What ``bench/cells.py`` last stored for the machines of these runs: :data:`BENCH_COLUMNS`.
    """

    runs: pd.DataFrame
    values: pd.DataFrame
    curves: pd.DataFrame
    bench: pd.DataFrame = field(default_factory=lambda: frame([], BENCH_COLUMNS))

    def joined(self) -> pd.DataFrame:
        """Runs with their values, a row a value; a run without any is a row too. This is ``results.csv``."""
        return self.runs.merge(self.values, on="run_id", how="left")


def read(uri: str | None = None, *, experiment: str | None = None, sweep: str | None = None) -> Results:
    """Read the runs of an experiment, or of one sweep.

    Args:
        uri: The store; None is ``mlflow.db`` in the working folder. Never made by reading.
        experiment: Name of the experiment: all its runs, from whichever sweep.
        sweep: A sweep's run id. Without either: the latest sweep, or, in a store without one, the experiment of the
            latest run.

    Raises:
        UserError: No such store, experiment or sweep, or nothing in it (says which exist); one run key with two
            different data fingerprints.
    """
    uri = absolute_uri(uri)
    client = connect(uri, create=False)
    names = {found.experiment_id: found.name for found in client.search_experiments()}
    selected = select(client, uri, names, experiment, sweep)
    rows = [run_row(run, names) for run in selected.runs]
    check_fingerprints(rows)
    planned = {parent.info.run_id: read_planned(client, uri, parent) for parent in selected.sweeps}
    kept = not_superseded(latest_by_key(rows), planned)
    kept += missing_rows(selected.sweeps, planned, rows, names)
    families = dict(zip(FAMILIES, FAMILIES, strict=True)) | {
        row["cell"]: row["family"] for row in rows if row["family"]
    }
    for row in kept:
        row["family"] = families.get(row["cell"], "")  # a plan, or a run that failed early, does not say it
    kept.sort(key=run_order)
    by_id = {run.info.run_id: run for run in selected.runs}
    name_settings(kept, by_id)
    present = [by_id[row["run_id"]] for row in kept if row["run_id"]]
    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(lambda run: measured(client, uri, run), present))
    environment = sorted({name for row in kept for name in row if name.startswith("env_")})
    return Results(
        runs=frame(kept, RUN_COLUMNS | dict.fromkeys(environment, TEXT)),
        values=frame([row for values, _ in tables for row in values], VALUE_COLUMNS),
        curves=frame([row for _, curves in tables for row in curves], CURVE_COLUMNS),
        bench=frame(latest_figures(client, uri, list(names), {row["machine"] for row in kept}), BENCH_COLUMNS),
    )


@dataclass(frozen=True)
class Selected:
    """The runs to read, and the parents of the sweeps that they may belong to; the oldest first."""

    runs: "list[MlflowRun]"
    sweeps: "list[MlflowRun]"


def select(
    client: "MlflowClient", uri: str, names: dict[str, str], experiment: str | None, sweep: str | None
) -> Selected:
    """Find what was asked for; see :func:`read`."""
    everything = list(names)
    if sweep is not None:
        parents = search(client, everything, f"tags.`{KIND}` = 'sweep'")
        found = [parent for parent in parents if parent.info.run_id == sweep]
        if not found:
            known = ", ".join(f"{p.info.run_id} ({names[p.info.experiment_id]})" for p in parents[:-6:-1]) or "none yet"
            raise UserError(f"sweep={sweep}: no such sweep in {shown(uri)}; the latest are: {known}")
        if experiment is not None and names[found[0].info.experiment_id] != experiment:
            raise UserError(
                f"sweep={sweep} belongs to experiment={names[found[0].info.experiment_id]}, not {experiment}"
            )
        return one_sweep(client, found[0])
    if experiment is None:
        latest = newest(client, everything, "sweep")
        if latest is not None:
            return one_sweep(client, latest)
        single = newest(client, everything, "run")
        if single is None:
            raise UserError(f"tracking.uri={shown(uri)}: no runs yet; `gru-bench train` writes some")
        experiment = names[single.info.experiment_id]
    ids = [experiment_id for experiment_id, name in names.items() if name == experiment]
    runs = search(client, ids, f"tags.`{KIND}` = 'run'") if ids else []
    parents = search(client, ids, f"tags.`{KIND}` = 'sweep'") if ids else []
    if not runs and not parents:
        known = ", ".join(sorted(name for i, name in names.items() if newest(client, [i], "run"))) or "none yet"
        reason = "has no runs" if ids else "no such experiment"
        raise UserError(f"experiment={experiment}: {reason} in {shown(uri)}; with runs: {known}")
    return Selected(runs, parents)


def one_sweep(client: "MlflowClient", parent: "MlflowRun") -> Selected:
    """A sweep's own runs."""
    runs = search(client, [parent.info.experiment_id], f"tags.`{SWEEP}` = '{parent.info.run_id}'")
    return Selected(runs, [parent])


def newest(client: "MlflowClient", experiment_ids: list[str], kind: str) -> "MlflowRun | None":
    """The run or sweep that started last."""
    if not experiment_ids:
        return None
    found = client.search_runs(
        experiment_ids, f"tags.`{KIND}` = '{kind}'", max_results=1, order_by=["attributes.start_time DESC"]
    )
    return found[0] if found else None


def run_row(run: "MlflowRun", names: dict[str, str]) -> dict[str, Any]:
    """A run's facts with their types, and when it started, for choosing among equals."""
    tags = run.data.tags
    facts = {name: value for name, value in tags.items() if name in RUN_COLUMNS} | run.data.params
    row = {name: typed(facts.get(name, ""), kind, run.info.run_id, name) for name, kind in RUN_COLUMNS.items()}
    row |= {name: value for name, value in facts.items() if name.startswith("env_")}
    return row | {
        "run_id": run.info.run_id,
        "sweep": tags.get(SWEEP, ""),
        "experiment": names[run.info.experiment_id],
        "config_key": tags.get("gru_bench.config_key", ""),
        "group_key": tags.get("gru_bench.group_key", ""),
        "job": typed(tags.get(JOB, ""), INTEGER, run.info.run_id, "job"),
        "status": run_status(run),
        "error": tags.get(ERROR, ""),
        "started": run.info.start_time,
    }


def name_settings(rows: list[dict[str, Any]], runs: "dict[str, MlflowRun]") -> None:
    """Fill the column ``settings``: in what the runs of one cell on one task differ, beyond columns of their own."""
    alike: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["run_id"]:
            params = runs[row["run_id"]].data.params
            config = {key.removeprefix("config."): text for key, text in params.items() if key.startswith("config.")}
            if config:  # a run that ended before it had one says nothing
                alike.setdefault((row["task"], row["cell"]), {})[row["run_id"]] = config
    told = {run_id: text for configs in alike.values() for run_id, text in differing(configs).items()}
    for row in rows:
        row["settings"] = told.get(row["run_id"], "")


def typed(text: str, kind: str, run_id: str, name: str) -> Any:
    """A param's text as what its column holds; what was not said is empty text or NA."""
    missing = text in ("", "null", "None")
    if kind == TEXT:
        return "" if missing else text
    if missing:
        return math.nan if kind == NUMBER else pd.NA
    try:
        if kind == TRUTH:
            return {"True": True, "False": False}[text]
        return int(text) if kind == INTEGER else float(text)
    except (ValueError, KeyError) as error:
        raise UserError(f"run {run_id}: {name}={text!r} is not what that column holds ({kind})") from error


def check_fingerprints(rows: Iterable[dict[str, Any]]) -> None:
    """The same config must have seen the same data."""
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["config_key"] or not row["data_fingerprint"]:
            continue
        first = seen.setdefault(row["config_key"], row)
        if first["data_fingerprint"] != row["data_fingerprint"]:
            raise UserError(
                f"config_key={row['config_key']}: the data changed under the same config: run {first['run_id']} saw "
                f"{first['data_fingerprint']}, run {row['run_id']} saw {row['data_fingerprint']}; delete one of them"
            )


def latest_by_key(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a run key: the latest that finished, or else the latest."""
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["status"] == "finished", row["started"], row["run_id"])):
        best[row["config_key"] or row["run_id"]] = row
    return list(best.values())


def not_superseded(rows: list[dict[str, Any]], planned: dict[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    """Drop runs that did not finish, where another run of the very same command and job did.

    Their keys may differ: data that could not be used has another source than the data that replaced it.
    """
    choices = {
        (sweep, job["job"]): frozenset((name, value) for name, value in job.items() if name != "job")
        for sweep, jobs in planned.items()
        for job in jobs
    }
    finished = {choices.get((row["sweep"], str(row["job"]))) for row in rows if row["status"] == "finished"} - {None}
    return [
        row
        for row in rows
        if row["status"] == "finished" or choices.get((row["sweep"], str(row["job"]))) not in finished
    ]


def missing_rows(
    sweeps: "list[MlflowRun]",
    planned: dict[str, list[dict[str, str]]],
    rows: list[dict[str, Any]],
    names: dict[str, str],
) -> list[dict[str, Any]]:
    """A row for each planned job that left no run, unless another sweep ran the same choices."""
    ran = {(row["sweep"], str(row["job"])) for row in rows}
    done: set[frozenset[tuple[str, str]]] = set()
    missing: dict[frozenset[tuple[str, str]], dict[str, Any]] = {}
    for parent in sweeps:
        sweep = parent.info.run_id
        for job in planned[sweep]:
            choices = frozenset((name, value) for name, value in job.items() if name != "job")
            if (sweep, job["job"]) in ran:
                done.add(choices)
                continue
            row = planned_row(job) | {"sweep": sweep, "experiment": names[parent.info.experiment_id]}
            row["error"] = "planned, but not run" + (" yet" if run_status(parent) == "running" else "")
            missing[choices] = row
    return [row for choices, row in missing.items() if choices not in done]


def planned_row(job: dict[str, str]) -> dict[str, Any]:
    """What the plan alone tells of a run."""
    facts = {PLANNED_NAMES.get(name, name): value for name, value in job.items() if name != "hidden_size_asked"}
    row: dict[str, Any] = {}
    for name, kind in RUN_COLUMNS.items():
        try:
            row[name] = typed(facts.get(name, ""), kind, "", name)
        except UserError:  # such as threads=auto, which only the run itself resolves
            row[name] = typed("", kind, "", name)
    return row | {"status": "missing", "started": 0}


def run_order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Sort key of a run: what it is before when it was."""
    family = FAMILIES.index(row["family"]) if row["family"] in FAMILIES else len(FAMILIES)

    def number(name: str) -> float:
        return -1 if pd.isna(row[name]) else row[name]

    names = (row["experiment"], row["task"], family, row["family"], row["cell"] != row["family"], row["cell"])
    settings = (row["backend"], row["budget"], number("hidden_size_asked"), number("num_layers"), number("seed"))
    return (*names, *settings, row["config_key"], number("job"), row["started"], row["run_id"])


def frame(rows: Rows, columns: dict[str, str]) -> pd.DataFrame:
    """Rows as a table with fixed columns and types."""
    return pd.DataFrame({n: pd.Series([row.get(n, "") for row in rows], dtype=kind) for n, kind in columns.items()})
