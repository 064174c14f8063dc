"""Rows to predict for, read a batch at a time from a file or from standard input: no more than that is in memory."""

import contextlib
import io
import itertools
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gru_bench.data.columns import header_hint, some_names
from gru_bench.data.delimited import OneFile
from gru_bench.data.forms import Reading, find_form
from gru_bench.data.json_rows import numbered
from gru_bench.data.layouts.base import Layout, ending
from gru_bench.data.layouts.conll import CoNLL
from gru_bench.data.layouts.conllu import CoNLLU
from gru_bench.data.layouts.fasttext import FastText
from gru_bench.data.read_files import OWN_SEPARATORS
from gru_bench.data.read_text import check_encoding, text_stream
from gru_bench.data.source import PACKED, chosen_kind
from gru_bench.errors import UserError

STANDARD_INPUT = "-"
Kind = Literal["csv", "jsonl", "parquet", "txt", "conllu", "conll", "fasttext"]
LAYOUTS: dict[Kind, Layout] = {"conllu": CoNLLU(), "conll": CoNLL(), "fasttext": FastText()}
"""Those that can be one file; they are read whole."""
KINDS: dict[str, Kind] = {"csv": "csv", "json": "jsonl", "parquet": "parquet", "text": "txt"}
"""By what :func:`gru_bench.data.source.kind_of` calls them."""
LINES = "text"
"""The column of a file of plain lines."""
ROWS = 2048
"""Rows of a batch: enough that texts of similar length meet in it."""
Row = dict[str, Any]


@dataclass
class NewRows:
    """Rows of one source.

    Attributes:
        shown: What messages call it.
        kind: How it is written.
        batches: Lists of rows, each row by the names of its columns. An empty field is None.
        names: Of the columns of the first batch.
        named: Whether the source's first line names its columns, and could be a row instead.
        notes: What was found out while reading and the owner should know; complete after the last batch.
        head: The first batch, with which ``batches`` begins.
    """

    shown: str
    kind: Kind
    batches: Iterator[list[Row]]
    names: list[str]
    named: bool
    notes: list[str]
    head: list[Row]

    def column(self, role: str, asked: str | None, usual: str | None) -> str:
        """The column that plays a role: the one asked for, else the usual one, else the only one there is.

        Args:
            role: ``text``, ``tokens`` or ``source``.
            asked: ``data.ROLE``.
            usual: That of the training data; None where it had none.

        Raises:
            UserError: There is no such column; names those that there are.
        """
        wanted = usual if asked is None else asked
        if wanted in self.names:
            return str(wanted)
        if asked is None and len(self.names) == 1:
            if self.kind == "csv" and self.named and (hint := self._hint(role)):  # a row must not be lost as a name
                raise UserError(f"data.path={self.shown}: data.{role} is not set, and {self.names[0]} is no name{hint}")
            return self.names[0]
        there = f"there are {some_names(self.names)}{self._hint(role)}"
        if asked is not None:
            raise UserError(f"data.{role}={asked}: no such column in data.path={self.shown}; {there}")
        raise UserError(f"data.{role}: which column of data.path={self.shown} is it? {there[0].upper()}{there[1:]}")

    def _hint(self, role: str) -> str:
        if self.kind != "csv" or not self.named:
            return ""
        import pyarrow as pa

        return header_hint(pa.table({name: [row.get(name) for row in self.head] for name in self.names}), [role])


@contextlib.contextmanager
def open_rows(path: str, kind: Kind | None, reading: Reading, *, rows_of_lines: int) -> Iterator[NewRows]:
    """The rows of a file, or of standard input.

    Args:
        path: A file, or ``-``.
        kind: How it is written; None: as its name and its first rows say, and standard input is lines of text.
        reading: How a file of text is written.
        rows_of_lines: Rows of a batch of lines from standard input: who writes them may wait for the answers.

    Raises:
        UserError: Nothing there, no rows, or a row that cannot be read; also while the batches are read.
    """
    with contextlib.ExitStack() as open_:
        notes: list[str] = []
        if path != STANDARD_INPUT:
            file = existing(path)
            kind = kind_of(file, reading, notes) if kind is None else kind
        elif kind == "txt" or (kind is None and not reading.delimited):
            lines = open_.enter_context(standard_lines(reading.encoding))
            yield begun(path, "txt", ({LINES: line} for line in lines), rows_of_lines, False, notes)
            return
        else:  # its form is found by reading it twice
            file = open_.enter_context(spooled())
            kind = kind or "csv"
        with clear_names(file, path):
            rows = open_.enter_context(contextlib.closing(rows_of(file, kind, reading, notes)))
            named = kind == "csv" and reading.columns is None
            yield begun(path, kind, rows, ROWS, named, notes)


def existing(path: str) -> Path:
    """The file of that name.

    Raises:
        UserError: There is none, or it is a folder, or empty.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise UserError(f"data.path={path}: a folder; valid: one file, or - for standard input")
    if not file.exists():
        raise UserError(f"data.path={path}: no such file; valid: a file of csv, tsv, jsonl, json, parquet or txt, or -")
    if file.is_file() and file.stat().st_size == 0:
        raise UserError(f"data.path={path}: an empty file")
    return file


def kind_of(file: Path, reading: Reading, notes: list[str]) -> Kind:
    """How a file is written, by its name, and by its first rows where the name does not tell.

    Raises:
        UserError: Neither tells.
    """
    suffix = ending(file).lower()
    if suffix in (".conllu", ".conll"):
        return "conllu" if suffix == ".conllu" else "conll"
    try:
        _, found = chosen_kind(file, [file], reading, notes)
    except UserError as error:
        raise UserError(f"{error}; for plain lines: data.kind=txt") from error
    if found == "text" and LAYOUTS["fasttext"].looks(file, reading.encoding):
        notes.append(
            f"{file.name}: each line has a __label__, so it is read as fasttext (data.kind=txt for plain lines)"
        )
        return "fasttext"
    return KINDS[found]


def begun(shown: str, kind: Kind, rows: Iterator[Row], number: int, named: bool, notes: list[str]) -> NewRows:
    """The rows in batches, the first of which is there.

    Raises:
        UserError: There are none.
    """
    first = list(itertools.islice(rows, number))
    if not first:
        raise UserError(f"data.path={shown}: no row in it")
    names = list(dict.fromkeys(name for row in first for name in row))
    rest = iter(lambda: list(itertools.islice(rows, number)), [])
    return NewRows(shown, kind, itertools.chain([first], rest), names, named, notes, first)


def rows_of(file: Path, kind: Kind, reading: Reading, notes: list[str]) -> Generator[Row]:
    """The rows of a file, one after the other."""
    check_encoding(reading.encoding)
    if kind == "csv":
        suffix = Path(file.name.lower().removesuffix(PACKED)).suffix
        form = find_form(file, reading, OWN_SEPARATORS.get(suffix), notes)
        with text_stream(file, reading.encoding) as stream:
            table = OneFile(file, form, reading, stream)
            for fields in table.rows():
                yield {name: value or None for name, value in zip(table.names, fields, strict=True)}
        notes += table.notes
    elif kind == "jsonl":
        for _, row in numbered(file, reading.encoding):
            yield flat(row)
    elif kind == "parquet":
        yield from parquet_rows(file)
    elif kind in LAYOUTS:
        read = LAYOUTS[kind].read(file, {"train": [file]}, reading.encoding)
        notes += [*read.notes, *read.remarks]
        columns = read.splits["train"]
        yield from (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    else:
        with text_stream(file, reading.encoding, newline=None) as stream:
            for line in stream:
                yield {LINES: line.removesuffix("\n")}


def parquet_rows(file: Path) -> Iterator[Row]:
    """The rows of a parquet file; columns inside others are named with a dot."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as found:
            for batch in found.iter_batches(ROWS):
                for row in batch.to_pylist():
                    yield flat(row)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"data.path={file}: no parquet that can be read: {str(error).splitlines()[0]}") from error


def flat(row: Row) -> Row:
    """A row without objects inside it: their values are columns of their own, named with a dot."""
    if not any(isinstance(value, dict) for value in row.values()):
        return row
    found: Row = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": one for inner, one in flat(value).items()}
        else:
            found[name] = value
    return found


@contextlib.contextmanager
def standard_lines(encoding: str | None) -> Iterator[Iterator[str]]:
    """The lines of standard input, as they come.

    Raises:
        UserError: They are in another encoding.
    """
    check_encoding(encoding)
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding or "utf-8-sig", newline=None)
    try:
        yield (line.removesuffix("\n") for line in stream)
    except UnicodeError as error:
        raise UserError(
            f"data.path=-: no text in {encoding or 'UTF-8'} ({error}); valid: data.encoding=latin-1, cp1252, ..."
        ) from error
    finally:
        stream.detach()  # standard input itself is not ours to close


@contextlib.contextmanager
def spooled() -> Iterator[Path]:
    """All of standard input as a file, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="gru_bench_input_") as folder:
        file = Path(folder) / "standard_input"
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        if file.stat().st_size == 0:
            raise UserError("data.path=-: nothing on standard input")
        yield file


@contextlib.contextmanager
def clear_names(file: Path, path: str) -> Iterator[None]:
    """Messages about a file call it as the user did."""
    try:
        yield
    except UserError as error:
        if path == STANDARD_INPUT:
            raise UserError(str(error).replace(str(file), path)) from error
        raise
