"""Rows in JSON, read strictly: one object a line, or one array of objects."""

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_bench.data.read_text import text_stream, where
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 20_000
VALID = "valid: one object a line, or one array of objects"
KINDS = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}


class _TwiceNamed(ValueError):
    """An object gives one key twice."""


def read_json(file: Path, encoding: str | None) -> "pa.Table":
    """All rows of a file; a key that a row lacks is missing there, and so is NaN, as pandas writes what is missing.

    Args:
        file: The file, which may be packed (``.gz``).
        encoding: Of a file without a byte order mark; None is UTF-8.

    Raises:
        UserError: No JSON, no objects, or a column of several kinds; with the line, or the row of an array.
    """
    import pyarrow as pa

    batches: list[pa.Table] = []
    rows = numbered(file, encoding)
    while batch := [row for _, row in itertools.islice(rows, BATCH_ROWS)]:
        try:
            names = dict.fromkeys(name for row in batch for name in row)
            batches.append(pa.table({name: pa.array([row.get(name) for row in batch]) for name in names}))
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise UserError(unlike(file, encoding) or f"{where(file)}: {one_line(error)}") from error
    if not batches:
        raise UserError(f"{where(file)}: no row in it; {VALID}")
    try:
        return pa.concat_tables(batches, promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(unlike(file, encoding) or f"{where(file)}: {one_line(error)}") from error


def numbered(file: Path, encoding: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with what a message calls their place.

    Raises:
        UserError: Something is no JSON, or no object.
    """
    decoder = json.JSONDecoder(parse_constant=constant, object_pairs_hook=unique)
    with text_stream(file, encoding, newline=None) as stream:
        first = next((line for line in stream if line.strip()), "")
        stream.seek(0)
        found: Iterable[tuple[str, Any]]
        if first.lstrip().startswith("["):
            whole = decoded(file, decoder, stream.read(), None)
            found = ((f"row {number:,}", row) for number, row in enumerate(whole, 1))
        else:
            found = (
                (f"line {number:,}", decoded(file, decoder, line, number))
                for number, line in enumerate(stream, 1)
                if line.strip()
            )
        for place, row in found:
            if not isinstance(row, dict):
                raise UserError(
                    f"{where(file)}, {place}: {KINDS.get(type(row), 'nothing')} instead of an object; {VALID}"
                )
            yield place, row


def decoded(file: Path, decoder: json.JSONDecoder, text: str, line: int | None) -> Any:
    """One value.

    Raises:
        UserError: It is no JSON, with the line in the file.
    """
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        at = f"line {line or error.lineno:,}, column {error.colno:,}"
        raise UserError(f"{where(file)}, {at}: no JSON: {error.msg}; {VALID}") from error
    except _TwiceNamed as error:
        at = "" if line is None else f", line {line:,}"
        raise UserError(f"{where(file)}{at}: an object gives {error} twice; valid: each key once") from error
    except ValueError as error:  # Python takes no number of thousands of digits
        at = "" if line is None else f", line {line:,}"
        raise UserError(f"{where(file)}{at}: {one_line(error).partition(';')[0]}; valid: shorter numbers") from error
    except RecursionError as error:
        raise UserError(f"{where(file)}: nested too deeply to be rows; {VALID}") from error


def constant(name: str) -> float | None:
    """NaN is how pandas and Python write a missing value."""
    return None if name == "NaN" else float(name)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of pairs, of which Python would keep the last of one name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceNamed(next(name for place, name in enumerate(names) if name in names[:place]))
    return made


def unlike(file: Path, encoding: str | None) -> str | None:
    """Which column holds values of several kinds, and where they stand."""
    seen: dict[str, tuple[str, str]] = {}
    for place, row in numbered(file, encoding):
        for name, value in row.items():
            if value is None:
                continue
            kind = KINDS.get(type(value), type(value).__name__)
            before, kind_before = seen.setdefault(name, (place, kind))
            if kind != kind_before:
                return (
                    f"{where(file)}, {place}: the column {name} holds {kind}, and {kind_before} in {before}; "
                    "valid: one kind in each column"
                )
    return None


def one_line(error: Exception) -> str:
    """The first line of an error's text."""
    return next(iter(str(error).splitlines()), type(error).__name__)
