"""Files of text as the rows of each split."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_bench.data.columns import header_hint, some_names
from gru_bench.data.delimited import read_delimited
from gru_bench.data.forms import Reading
from gru_bench.data.json_rows import read_json
from gru_bench.data.read_text import open_text, where
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT_ALIASES = {"validation": "valid", "val": "valid", "dev": "valid"}
OWN_SEPARATORS = {".csv": ",", ".tsv": "\t"}
WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
REAL = r"^-?((0|[1-9][0-9]{0,14})(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$"
LOOKED_AT = 100
"""So many values of a column are tried before all of them are."""


def read_splits(
    splits: dict[str, list[Path]], kind: str, reading: Reading, notes: list[str], features: Any = None
) -> dict[str, Any]:
    """The rows of each split as a ``datasets.Dataset``.

    Args:
        splits: Files by split.
        kind: ``csv``, ``json`` or ``text``.
        reading: How they are written.
        notes: Gets what a reader should know.
        features: The types of all columns, where a data set's card says them.

    Raises:
        UserError: A file that is not what it should be, or whose columns are not those of the others.
    """
    import datasets
    import pyarrow as pa

    tables: dict[str, pa.Table] = {}
    first: tuple[Path, pa.Table] | None = None
    for split in sorted(splits, key=lambda split: split != "train"):
        parts = []
        for file in splits[split]:
            part = read_file(file, kind, reading, notes)
            if kind == "csv":
                first = first or (file, part)
                if reading.columns is None:
                    check_columns(file, part, *first)
            parts.append(part)
        tables[split] = pa.concat_tables(parts, promote_options="permissive")
        if len(tables[split]) == 0:
            name = SPLIT_ALIASES.get(split, split)
            raise UserError(f"{where(splits[split][0])}: the {name} split is empty: no row below the line of names")
    if kind == "csv":
        assert first is not None
        tables = with_numbers({split: with_columns(table, first[1].column_names) for split, table in tables.items()})
    info = datasets.DatasetInfo(features=features)
    if features is not None:
        tables = {split: datasets.table.table_cast(table, features.arrow_schema) for split, table in tables.items()}
    # a fingerprint of its own would be a hash of all rows, which nobody asks for
    return {
        split: datasets.Dataset(table, info=info.copy(), fingerprint=f"local-{split}")
        for split, table in tables.items()
    }


def read_file(file: Path, kind: str, reading: Reading, notes: list[str]) -> "pa.Table":
    """One file as a table."""
    import pyarrow as pa

    if kind == "csv":
        suffix = Path(file.name.lower().removesuffix(".gz")).suffix
        return read_delimited(file, reading, OWN_SEPARATORS.get(suffix), notes)
    if kind == "json":
        return read_json(file, reading.encoding)
    lines = open_text(file, reading.encoding).split("\n")
    if lines[-1] == "":
        lines.pop()
    return pa.table({"text": pa.array(lines, pa.string())})


def check_columns(file: Path, table: "pa.Table", first_file: Path, first: "pa.Table") -> None:
    """Check that a file has the columns of the first one, or fewer.

    Raises:
        UserError: It has others.
    """
    new = [name for name in table.column_names if name not in first.column_names]
    if new:
        lacking = [name for name in first.column_names if name not in table.column_names]
        instead = f", and lacks {some_names(lacking)}" if lacking else ""
        raise UserError(
            f"{where(file)}: its files must have the same columns, but this one has {some_names(new)}{instead}, unlike "
            f"{first_file.name}{header_hint(table, ['label', 'text'])}"
        )


def with_columns(table: "pa.Table", names: list[str]) -> "pa.Table":
    """A table with all columns: those that it lacks hold nothing."""
    import pyarrow as pa

    missing = [name for name in names if name not in table.column_names]
    for name in missing:
        table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return table.select(names)


def with_numbers(tables: dict[str, "pa.Table"]) -> dict[str, "pa.Table"]:
    """Columns that hold nothing but numbers, in every split, become columns of numbers.

    ``007`` and ``+1`` are no numbers, lest something that is a name be changed.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in next(iter(tables.values())).column_names:
        values = {split: table.column(name) for split, table in tables.items()}
        for pattern, kind in ((WHOLE, pa.int64()), (REAL, pa.float64())):
            if not any(one.null_count < len(one) for one in values.values()):
                break  # nothing in it at all
            if all(is_all(pattern, one) for one in values.values()):
                for split, one in values.items():
                    place = tables[split].column_names.index(name)
                    numbers = pc.cast(pc.utf8_trim_whitespace(one), kind)
                    tables[split] = tables[split].set_column(place, name, numbers)
                break
    return tables


def is_all(pattern: str, column: Any) -> bool:
    """Whether each value matches; the first few are looked at first, because texts rarely do."""
    import pyarrow.compute as pc

    head = [value.strip() for value in column.slice(0, LOOKED_AT).to_pylist() if value is not None]
    if not all(re.match(pattern, value) for value in head):
        return False
    matches = pc.match_substring_regex(pc.utf8_trim_whitespace(column), pattern)
    return bool(pc.all(matches, skip_nulls=True, min_count=0).as_py())
