"""Read ``results.csv`` of a report back: the runs and their values. Curves and test examples are not in it."""

from pathlib import Path
from typing import Any

import pandas as pd

from gru_bench.errors import UserError
from gru_bench.spreadsheet import from_cell
from gru_bench.store.fact import Fact
from gru_bench.store.read import Results
from gru_bench.store.schema import CURVE_COLUMNS, RUN_FACTS, VALUE_COLUMNS, environment_columns
from gru_bench.store.tables import frame, typed

NEEDED = ("run_id", "task", "cell", "seed", "status", "primary_metric", "split", "metric", "value")


def read_csv(path: Path) -> Results:
    """The runs and values of a ``results.csv``; facts that an older file lacks are missing.

    Raises:
        UserError: Not such a file; names a column that it lacks, or a value that does not fit its column.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas's errors of parsing, and of decoding, are ValueErrors
        raise UserError(f"{path}: cannot be read as a results.csv ({' '.join(str(error).split())})") from error
    absent = [name for name in NEEDED if name not in table]
    if absent:
        raise UserError(f"{path}: not the results.csv of a report; it has no column {absent[0]}")
    columns = RUN_FACTS | environment_columns([dict.fromkeys(map(str, table), "")])
    ran = table["run_id"] != ""  # a planned job that left no run is one line
    runs = pd.concat([table[ran].drop_duplicates("run_id"), table[~ran]])
    values = table[table["metric"] != ""]
    return Results(
        runs=frame(rows(runs, columns, path), columns),
        values=frame(rows(values, VALUE_COLUMNS, path), VALUE_COLUMNS),
        curves=frame([], CURVE_COLUMNS),
    )


def rows(table: pd.DataFrame, columns: dict[str, Fact], path: Path) -> list[dict[str, Any]]:
    """Lines of text as typed rows."""
    found = []
    for line in table.to_dict("records"):
        row = {}
        for name, fact in columns.items():
            text = from_cell(str(line.get(name, "")))
            try:
                row[name] = typed(whole(text) if fact.kind == "Int64" else text, fact, str(line["run_id"]))
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        found.append(row)
    return found


def whole(text: str) -> str:
    """A whole number as older files have it, ``3.0``, without its decimals."""
    return text.removesuffix(".0")
