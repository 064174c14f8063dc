"""Columns of a table: those inside others, which types can play which role, and rows that lack one."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

LOOKED_AT = 200
"""So many rows are looked at to tell a name from a value."""
MOST_SPACES = 3
LONGEST_NAME = 60
MOST_SHOWN = 30
SHOWN_LENGTH = 40


def flatten(table: "pa.Table") -> "pa.Table":
    """Columns inside columns become columns of their own, named with a dot."""
    import pyarrow as pa

    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return table


def some_names(names: list[str]) -> str:
    """Names of columns for a message: each in part if it is long, and of very many the first ones."""
    shown = [name if len(name) <= SHOWN_LENGTH else f"{name[:SHOWN_LENGTH].rstrip()}..." for name in names]
    rest = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(shown[:MOST_SHOWN]) + rest


def header_hint(table: "pa.Table", roles: list[str]) -> str:
    """What to say where the names of columns look like values: the first line was a row.

    Args:
        table: What was read below the first line.
        roles: Of the columns that a task asks for.

    Returns:
        The rest of a sentence, with the key that names the columns; nothing where the names look like names.
    """
    names = table.column_names
    rows = table.slice(0, LOOKED_AT).to_pylist()
    values = {name: [str(row[name]) for row in rows if row[name] is not None] for name in names}
    if not any(looks_like_value(name, values[name]) for name in names):
        return ""
    guessed = guess_roles(values, roles)
    columns = [guessed.get(name, f"column{place}") for place, name in enumerate(names, 1)]
    return (
        f"; the first line was taken for names: where it is a row, name the columns, such as "
        f"data.columns=[{','.join(columns)}]"
    )


def looks_like_value(name: str, values: list[str]) -> bool:
    """Whether a column's name is rather one of its values: a number, a sentence, or the same as one below it."""
    is_number = re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+", name) is not None
    return is_number or name in values or name.count(" ") > MOST_SPACES or len(name) > LONGEST_NAME


def guess_roles(values: dict[str, list[str]], roles: list[str]) -> dict[str, str]:
    """A likely role for some columns: texts are long, and labels are few but more than one."""
    free = list(values)
    guessed: dict[str, str] = {}
    texts = [role for role in roles if role in ("text", "source", "target")]
    longest = sorted(free, key=lambda name: -sum(map(len, values[name])))[: len(texts)]
    for role, name in zip(texts, [name for name in free if name in longest], strict=False):
        guessed[name] = role
    others = [name for name in free if name not in guessed and len(set(values[name])) > 1]
    if "label" in roles and others:
        guessed[min(others, key=lambda name: len(set(values[name])))] = "label"
    return guessed


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
