"""Columns of a table: those inside others, which types can play which role, and rows that lack one."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def flatten(table: "pa.Table") -> "pa.Table":
    """Columns inside columns become columns of their own, named with a dot."""
    import pyarrow as pa

    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return table


def problem_of(role: str, kind: Any) -> str | None:
    """What is wrong with a column's type for its role."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if role == "tokens":
        words = is_list and (_is_text(kind.value_type) or pa.types.is_null(kind.value_type))
        return None if words else "it must hold lists of words (JSON lines and parquet can)"
    if role == "tags":
        return None if is_list else "it must hold lists (JSON lines and parquet can)"
    if role in ("text", "source", "target"):
        return None if _is_text(kind) else "it must hold text"
    return "it must hold one value per row" if is_list else None


def drop_without_text(
    raw: dict[str, "pa.Table"], counts: dict[str, dict[str, int]], notes: list[str]
) -> dict[str, "pa.Table"]:
    """Leave out rows without text, or of pairs of texts those that lack a side; white space is no text."""
    roles = [role for role in ("text", "source", "target") if role in next(iter(raw.values())).schema.names]
    count, lack = ("incomplete", "lack a side") if "target" in roles else ("no_text", "have no text")
    kept: dict[str, pa.Table] = {}
    for split, table in raw.items():
        rows = np.flatnonzero(np.logical_and.reduce([_holds_text(table.column(role)) for role in roles]))
        counts[split][count] = number = len(table) - len(rows)
        if number:
            notes.append(f"{number:,} of {len(table):,} {split} rows {lack} and are not used")
        kept[split] = table.take(rows) if number else table
    return kept


def _holds_text(column: "pa.ChunkedArray") -> np.ndarray:
    import pyarrow.compute as pc

    if column.null_count == len(column):  # nothing at all has any type
        return np.zeros(len(column), dtype=bool)
    words = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
    return np.asarray(pc.fill_null(words, False))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
