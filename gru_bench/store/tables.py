"""The numbers of one run: from its parquet files, or from what MLflow itself kept of it; and rows as typed tables."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from gru_bench.errors import UserError
from gru_bench.store.fact import INTEGER, NUMBER, TEXT, TRUTH, Fact
from gru_bench.store.find import fetched
from gru_bench.store.schema import (
    BEST,
    CURVE_COLUMNS,
    CURVES_FILE,
    GUESS,
    SPLITS,
    TRIVIAL,
    VALUE_COLUMNS,
    VALUES_FILE,
)
from gru_bench.store.source import Source, StoredRun

Rows = list[dict[str, Any]]

ARROW = {TEXT: pyarrow.string(), NUMBER: pyarrow.float64(), TRUTH: pyarrow.bool_(), "int64": pyarrow.int64()}
"""Types of the columns of a run's parquet files."""


def arrow_schema(columns: Mapping[str, Fact]) -> pyarrow.Schema:
    """The types of a run's own table, which needs no run id."""
    return pyarrow.schema([(name, ARROW[fact.kind]) for name, fact in columns.items() if name != "run_id"])


VALUES_SCHEMA, CURVES_SCHEMA = arrow_schema(VALUE_COLUMNS), arrow_schema(CURVE_COLUMNS)


def measured(
    source: Source, runs: Sequence[StoredRun], damaged: dict[str, str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values and curves of runs, run after run, in an order that depends on nothing but what they are.

    Args:
        source: The store.
        runs: Whose.
        damaged: Gets the ids of runs that finished, but whose files cannot be read, and why. They have no values.
    """
    damaged = {} if damaged is None else damaged
    tables = [tables_of(source, run, damaged) for run in runs]
    values, curves = (
        joined([run.run_id for run in runs], [pair[position] for pair in tables], schema)
        for position, schema in enumerate((VALUES_SCHEMA, CURVES_SCHEMA))
    )
    positions = values.pop("run"), curves.pop("run")
    split = values["split"].map({name: position for position, name in enumerate(SPLITS)}).fillna(len(SPLITS))
    part = pd.to_numeric(values["slice_value"], errors="coerce").fillna(math.inf)  # the length 50 comes before 100
    names = (ranks(values[name]) for name in ("split", "metric", "slice", "slice_value"))
    split_name, metric, slice_name, slice_value = names
    values = values.iloc[np.lexsort((slice_value, part, slice_name, metric, split_name, split, positions[0]))]
    curves = curves.iloc[np.lexsort((curves["step"], ranks(curves["metric"]), positions[1]))]
    return values.reset_index(drop=True), curves.reset_index(drop=True)


def ranks(texts: pd.Series) -> np.ndarray:
    """The place of each text among the sorted different ones."""
    codes, different = pd.factorize(texts)
    places = {text: place for place, text in enumerate(sorted(different))}
    return np.array([places[text] for text in different], dtype=np.int64)[codes]


def joined(run_ids: Sequence[str], tables: Sequence[pyarrow.Table], schema: pyarrow.Schema) -> pd.DataFrame:
    """Tables of runs as one frame, with the run's id and its position as ``run``."""
    positions = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    table = pyarrow.concat_tables([schema.empty_table(), *tables])
    columns = {"run_id": VALUE_COLUMNS["run_id"]} | {
        name: (VALUE_COLUMNS | CURVE_COLUMNS)[name] for name in schema.names
    }
    found = {"run_id": np.array([*run_ids, ""], dtype=object)[positions]}
    for name in schema.names:
        kind = columns[name].kind
        missing = {TEXT: "", NUMBER: math.nan}.get(kind)
        column = table[name] if missing is None else table[name].fill_null(missing)
        found[name] = column.to_numpy()
    frame = pd.DataFrame({name: pd.Series(column, dtype=columns[name].kind) for name, column in found.items()})
    return frame.assign(run=positions)


def tables_of(source: Source, run: StoredRun, damaged: dict[str, str]) -> tuple[pyarrow.Table, pyarrow.Table]:
    """A run's values and curves: from its parquet files, or from what MLflow itself kept of one that did not finish."""
    try:
        tables = read_tables(source, run)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException):  # the process died while it wrote them
        tables = None
    if tables is None and run.status == "FINISHED":
        damaged[run.run_id] = f"finished, but its {VALUES_FILE} or {CURVES_FILE} cannot be read"
        return VALUES_SCHEMA.empty_table(), CURVES_SCHEMA.empty_table()
    return tables or from_history(source, run)


def read_tables(source: Source, run: StoredRun) -> tuple[pyarrow.Table, pyarrow.Table] | None:
    """The two parquet files, or None where the run has not written them."""
    with fetched(source, run, (VALUES_FILE, CURVES_FILE)) as files:
        if files is None:
            return None
        return parquet_table(files[0], VALUES_SCHEMA), parquet_table(files[1], CURVES_SCHEMA)


def parquet_table(path: Path, schema: pyarrow.Schema | None = None) -> pyarrow.Table:
    """A parquet file, with the columns of a schema; text that an old file lacks is empty, anything else missing."""
    with pyarrow.parquet.ParquetFile(path) as file:
        table = file.read(use_threads=False)  # a few rows: starting threads would take longer than reading them
    if schema is None or table.schema.equals(schema):
        return table
    for field in schema:
        if field.name not in table.schema.names:
            table = table.append_column(field, pyarrow.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


def parquet_rows(path: Path) -> Rows:
    """A parquet file as one dictionary per row."""
    rows: Rows = parquet_table(path).to_pylist()
    return rows


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    """Equally long columns as a parquet file."""
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def in_columns(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, Fact]) -> dict[str, list[Any]]:
    """Rows as columns of a run's own table, which needs no run id."""
    names = [name for name in columns if name != "run_id"]
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def from_history(source: Source, run: StoredRun) -> tuple[pyarrow.Table, pyarrow.Table]:
    """What MLflow itself kept of a run that is still going, or was killed so hard that it wrote no tables.

    Slices are not kept there, and the unit of the primary metric alone is known.
    """
    values: Rows = []
    curves: Rows = []
    params, metrics = run.params, source.history(run.run_id)
    guesses = {f"test/{name.removeprefix(GUESS)}": text for name, text in params.items() if name.startswith(GUESS)}
    metrics = {key: (float(text), []) for key, text in guesses.items()} | metrics
    for key, (value, points) in sorted(metrics.items()):
        split, _, metric = key.partition("/")
        renamed = metric.startswith(BEST) and f"{split}/{metric.removeprefix(BEST)}" in metrics
        if (split == "valid" and not renamed) or key == "train/loss" or len(points) > 1:
            curves += [{"metric": key, "step": step, "value": point} for step, point in points]
            continue
        metric = metric.removeprefix(BEST) if renamed else metric
        primary = metric.removeprefix(TRIVIAL) == params.get("primary_metric")
        unit = params.get("primary_unit", "") if primary else ""
        direction = params.get("primary_higher_is_better") if primary else None
        row = {"split": split, "metric": metric, "slice": "", "slice_value": "", "value": value, "unit": unit}
        values.append(row | {"higher_is_better": None if direction is None else direction == "True"})
    tables = (pyarrow.Table.from_pylist(values, VALUES_SCHEMA), pyarrow.Table.from_pylist(curves, CURVES_SCHEMA))
    return tables


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
