"""Answers as lines of CSV or of JSON, to a file that appears whole or not at all, or to standard output."""

import csv
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TextIO

from gru_bench.errors import UserError
from gru_bench.redact import Redacting, Visible
from gru_bench.spreadsheet import as_cell

Format = Literal["csv", "jsonl"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
DIGITS = ".6g"


def format_of(output: str | None, asked: Format | None) -> Format:
    """How answers are written: as asked, else by the file's name; CSV to standard output.

    Raises:
        UserError: The name ends in something else.
    """
    if asked is not None or output is None:
        return asked or "csv"
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"output={output}: ends in {suffix or 'no suffix'}; valid: .csv, .jsonl, or format=csv|jsonl")
    return SUFFIXES[suffix]


@contextmanager
def open_output(output: str | None) -> Iterator[TextIO]:
    """A stream for the answers.

    A file takes its place at the end of the block; where that is left by an error, nothing is left behind. What goes to
    standard output is as in a file, secrets that a row holds included: the rows are the user's own. Only a terminal is
    shown the codes of characters that would steer it.

    Raises:
        UserError: The folder is not there, or the place is a folder.
    """
    if output is None:
        stream = sys.stdout.stream if isinstance(sys.stdout, Redacting) else sys.stdout
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        yield Visible(stream) if stream.isatty() else stream  # type: ignore[misc]
        stream.flush()
        return
    named = Path(output).expanduser()
    path = Path(os.path.realpath(named))  # a link stays, and what it leads to is replaced
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else "its folder is not there"
        raise UserError(f"output={output}: {what}; valid: a file in a folder that exists")
    if named.exists() and not named.is_file():  # a pipe or a device keeps its place
        with named.open("w", encoding="utf-8", newline="", errors="backslashreplace") as stream:
            yield stream
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8", newline="", errors="backslashreplace") as stream:
            yield stream
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~umask())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class Writer:
    """Writes rows, each with the input's columns in front and the answer behind.

    Args:
        stream: Where to.
        form: CSV or JSON lines.
        columns: Of a table: those of the input that are kept. JSON lines keep whatever a row has.
        keep: Whether any are.
        left_out: Keys of answers that are not written.

    Attributes:
        late: Columns that a row had which came too late for the table's header.
    """

    def __init__(
        self, stream: TextIO, form: Format, columns: Sequence[str], left_out: Sequence[str], *, keep: bool
    ) -> None:
        self.stream, self.form, self.keep = stream, form, keep
        self.columns, self.left_out = list(columns), set(left_out)
        self.late: dict[str, None] = {}
        self._table: Any = None

    def write(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]) -> None:
        """Write some rows with their answers; a key of the input that an answer has too gives way to it."""
        if not rows:
            return
        answered = answers[0].keys()
        named = [name for name in answered if name not in self.left_out]
        if self.form == "jsonl":
            for row, answer in zip(rows, answers, strict=True):
                line = {name: value for name, value in row.items() if name not in answered} if self.keep else {}
                line |= {name: rounded(answer[name]) for name in named}
                self.stream.write(as_line(line) + "\n")
        else:
            kept = [name for name in self.columns if name not in answered] if self.keep else []
            if self._table is None:
                self._table = csv.writer(self.stream, lineterminator="\n")
                self._table.writerow([as_cell(name) for name in (*kept, *named)])
            for row, answer in zip(rows, answers, strict=True):
                values = [*(row.get(name) for name in kept), *(rounded(answer[name]) for name in named)]
                self._table.writerow([cell(value) for value in values])
                if self.keep:
                    self.late |= dict.fromkeys(row.keys() - self.columns)
        self.stream.flush()


def rounded(value: Any) -> Any:
    """A number that a model gave, or each of a list, with six digits: a float of 32 bits has hardly more."""
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(format(value, DIGITS)) if isinstance(value, float) else value


def cell(value: Any) -> str:
    """A value as a cell of a table: a list of texts or numbers is joined by spaces, other lists are JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        return as_cell(" ".join(part if isinstance(part, str) else cell(part) for part in value))
    return as_cell(as_line(value) if isinstance(value, list | dict) else str(value))


def as_line(value: Any) -> str:
    """A value as JSON in one line."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, default=str)


def finite(value: Any) -> Any:
    """A value as JSON has it: there is no infinity in it, and no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    return [finite(part) for part in value] if isinstance(value, list | tuple) else value
