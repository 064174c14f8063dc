"""The numbers of one run: from its parquet files, or from what MLflow itself kept of it; and rows as typed tables."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow
import pyarrow.parquet

from gru_bench.errors import UserError
from gru_bench.store.find import fetch
from gru_bench.store.schema import (
    BEST,
    CURVES_FILE,
    INTEGER,
    NUMBER,
    SPLITS,
    TEXT,
    TRIVIAL,
    TRUTH,
    VALUES_FILE,
    Fact,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

Rows = list[dict[str, Any]]


def measured(client: "MlflowClient", uri: str, run: "MlflowRun") -> tuple[Rows, Rows]:
    """A run's values and curves, from its parquet files."""
    try:
        tables = read_tables(client, uri, run)
    except (OSError, pyarrow.ArrowException):  # the process died while it wrote them
        tables = None
    if tables is None and run.info.status == "FINISHED":
        raise UserError(
            f"run {run.info.run_id} finished, but its {VALUES_FILE} cannot be read from {run.info.artifact_uri}; "
            "artifacts must stay where they were written, or in mlartifacts beside the SQLite file"
        )
    values, curves = tables or from_history(client, run)
    for row in values + curves:
        row["run_id"] = run.info.run_id
    return sorted(values, key=value_order), sorted(curves, key=lambda row: (row["metric"], row["step"]))


def read_tables(client: "MlflowClient", uri: str, run: "MlflowRun") -> tuple[Rows, Rows] | None:
    """The two parquet files, or None where the run has not written them."""
    with tempfile.TemporaryDirectory() as folder:
        files = fetch(client, uri, run, (VALUES_FILE, CURVES_FILE), folder)
        return None if files is None else (parquet_rows(files[0]), parquet_rows(files[1]))


def parquet_rows(path: Path) -> Rows:
    """A parquet file as one dictionary per row."""
    with pyarrow.parquet.ParquetFile(path) as file:
        rows: Rows = file.read().to_pylist()
    return rows


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    """Equally long columns as a parquet file."""
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def in_columns(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, Fact]) -> dict[str, list[Any]]:
    """Rows as columns of a run's own table, which needs no run id."""
    names = [name for name in columns if name != "run_id"]
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def from_history(client: "MlflowClient", run: "MlflowRun") -> tuple[Rows, Rows]:
    """What MLflow itself kept of a run that is still going, or was killed so hard that it wrote no tables.

    Slices are not kept there, and the unit of the primary metric alone is known.
    """
    values: Rows = []
    curves: Rows = []
    params = run.data.params
    for key, value in sorted(run.data.metrics.items()):
        split, _, metric = key.partition("/")
        renamed = metric.startswith(BEST) and f"{split}/{metric.removeprefix(BEST)}" in run.data.metrics
        history = client.get_metric_history(run.info.run_id, key)
        if (split == "valid" and not renamed) or key == "train/loss" or len(history) > 1:
            curves += [{"metric": key, "step": point.step, "value": point.value} for point in history]
            continue
        metric = metric.removeprefix(BEST) if renamed else metric
        primary = metric.removeprefix(TRIVIAL) == params.get("primary_metric")
        unit = params.get("primary_unit", "") if primary else ""
        direction = params.get("primary_higher_is_better") if primary else None
        row = {"split": split, "metric": metric, "slice": "", "slice_value": "", "value": value, "unit": unit}
        values.append(row | {"higher_is_better": None if direction is None else direction == "True"})
    return values, curves


def value_order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Sort key of a value within its run; the length 50 comes before 100."""
    split = SPLITS.index(row["split"]) if row["split"] in SPLITS else len(SPLITS)
    try:
        number = float(row["slice_value"])
    except ValueError:
        number = math.inf
    return (split, row["split"], row["metric"], row["slice"], number, row["slice_value"])


def typed(text: str, fact: Fact, run_id: str) -> Any:
    """A param's text as what its column holds; what is not known is empty text or NA.

    Raises:
        UserError: The text is no such thing; names the run.
    """
    missing = text in ("", "null", "None")
    if fact.kind == TEXT:
        return "" if missing else text
    if missing:
        return math.nan if fact.kind == NUMBER else pd.NA
    try:
        if fact.kind == TRUTH:
            return {"True": True, "False": False}[text]
        return int(text) if fact.kind == INTEGER else float(text)
    except (ValueError, KeyError) as error:
        raise UserError(f"run {run_id}: {fact.name}={text!r} is not what that column holds ({fact.kind})") from error


def frame(rows: Rows, columns: Mapping[str, Fact]) -> pd.DataFrame:
    """Rows as a table with fixed columns and types."""
    return pd.DataFrame(
        {name: pd.Series([row.get(name, "") for row in rows], dtype=fact.kind) for name, fact in columns.items()}
    )
