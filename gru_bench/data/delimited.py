"""Tables in files of text with a separator: CSV, TSV and what people call so.

They are read strictly: each row has as many fields as the header has names, and a quote that opens a field closes it.
Source: RFC 4180; IANA's text/tab-separated-values.
"""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gru_bench.data.forms import NAMES, QUOTINGS, SEPARATORS, Form, Reading, duplicate, find_form
from gru_bench.data.read_text import text_stream, where
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 20_000
SWALLOWED_LINES = 5
"""So many lines within one field that each look like a row of their own are taken for rows that a quote swallowed."""
LISTED_LINES = 3


def read_delimited(file: Path, reading: Reading, own: str | None, notes: list[str]) -> "pa.Table":
    """All rows of a file as columns of text; an empty field is missing.

    Args:
        file: The file, which may be packed (``.gz``).
        reading: How the user says it is written.
        own: The separator that the file's name promises, if any.
        notes: Gets what was found out and a reader should know.

    Raises:
        UserError: A row with more or fewer fields than the header, a quote out of place, two columns of one name, or
            no text in the encoding; with the line and the way on.
    """
    form = find_form(file, reading, own, notes)
    with text_stream(file, reading.encoding) as stream:
        rows = OneFile(file, form, reading, stream)
        table = rows.table()
    notes += rows.notes
    return table


class OneFile:
    """The rows of one open file.

    Attributes:
        notes: What a reader should know of the file, after its last row.
        names: Of the columns.
        blank: Those of columns that the header does not name.
    """

    def __init__(self, file: Path, form: Form, reading: Reading, stream: TextIO) -> None:
        self.file, self.form, self.reading = file, form, reading
        self.reader = form.rows(stream)
        self.notes: list[str] = []
        self.names: list[str] = []
        self.blank: list[str] = []
        self._spanning = 0
        self._longest = (1, 0)  # lines, first line

    def rows(self) -> Iterator[list[str]]:
        """All rows, checked, one after the other; ``names`` and ``blank`` are known from the first one on."""
        rows = self._numbered()
        first = next(rows, None)
        if first is None:
            raise UserError(f"{where(self.file)}: no line in it that holds anything")
        self.names = self._header(first)
        body = itertools.chain([first], rows) if self.reading.columns is not None else rows
        second = next(body, None)
        if second is None:
            return
        # a separator at the end of every row, which the header lacks, holds nothing: else a field is one too many
        trailing = len(second[1]) == len(self.names) + 1 and second[1][-1] == ""
        wanted = len(self.names) + trailing
        for _, row in self._checked(itertools.chain([second], body), wanted, trailing):
            yield row[: len(self.names)]
        if trailing:
            self.notes.append(f"{self.file.name}: each row ends with a separator that the header lacks; it is left out")
        if self._spanning:
            lines, at = self._longest
            many = "1 row spans" if self._spanning == 1 else f"{self._spanning:,} rows span"
            self.notes.append(f"{self.file.name}: {many} several lines, the longest {lines:,} (from line {at:,})")

    def table(self) -> "pa.Table":
        """The same as one table."""
        import pyarrow as pa

        batches: list[pa.Table] = []
        rows = self.rows()
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            columns = [missing_if_empty(pa.array(column, pa.string())) for column in zip(*batch, strict=True)]
            batches.append(pa.table(columns, names=self.names))
        if not batches:
            return pa.table({name: pa.array([], pa.string()) for name in self.names})
        return drop_nameless(pa.concat_tables(batches), self.blank)

    def _numbered(self) -> Iterator[tuple[int, list[str]]]:
        """Rows that hold anything, with the line on which each begins."""
        reader, line = self.reader, 0
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise UserError(self._out_of_place(line + 1, reader.line_num, str(error))) from error
            if row is None:
                return
            if row:
                if reader.line_num - line > 1:
                    self._spans(row, line + 1, reader.line_num - line)
                yield line + 1, row
            line = reader.line_num

    def _header(self, first: tuple[int, list[str]]) -> list[str]:
        line, row = first
        if self.reading.columns is not None:
            if [field.strip() for field in row] == list(self.reading.columns):
                raise UserError(
                    f"{where(self.file)}, line {line}: these are the names of data.columns, which is for files without "
                    "them; valid: data.columns=null"
                )
            return list(self.reading.columns)
        names = [field.strip() for field in row]
        if any("\0" in name for name in names):
            raise UserError(
                f"{where(self.file)}, line {line}: zero bytes; valid for UTF-16: data.encoding=utf-16-le or -be"
            )
        if double := duplicate([name for name in names if name]):
            raise UserError(
                f"{where(self.file)}, line {line}: two columns are called {double}; valid: a name of its own for each"
                f", or, if the first line is a row: {example_columns(len(names))}"
            )
        for place, name in enumerate(names):
            if not name:
                names[place] = f"column_{place + 1}"
                self.blank.append(names[place])
        return names

    def _checked(
        self, rows: Iterator[tuple[int, list[str]]], wanted: int, trailing: bool
    ) -> Iterator[tuple[int, list[str]]]:
        good = False
        for line, row in rows:
            if len(row) != wanted or (trailing and row[-1]):
                raise UserError(self._uneven(line, row, rows, wanted - trailing, alone=not good))
            good = True
            yield line, row

    def _spans(self, row: list[str], line: int, lines: int) -> None:
        """A row of several lines: right where a field holds line ends, and wrong where a stray quote swallows rows."""
        self._spanning += 1
        self._longest = max(self._longest, (lines, line))
        if lines < SWALLOWED_LINES or self.reading.quoting is not None or not self.names:
            return
        inner = max(row, key=lambda field: field.count("\n")).splitlines()[1:-1]
        alike = sum(text.count(self.form.separator) == len(self.names) - 1 for text in inner)
        if len(self.names) > 1 and len(inner) >= SWALLOWED_LINES - 1 and alike >= 0.9 * len(inner):
            raise UserError(
                f"{where(self.file)}, line {line:,}: a quote opens a field of {lines:,} lines, which look like rows of "
                f"their own; valid: {self._ways() or 'data.quoting=none'} if quotes are text, data.quoting=double if "
                "that is one field"
            )

    def _out_of_place(self, line: int, last: int, error: str) -> str:
        """What to say of a quote that Python's reader refuses."""
        if "unexpected end" in error:
            what = f"a quote opens a field and none closes it before the end of the file (line {last:,})"
        elif "expected after" in error:
            closes = f"in line {last:,}" if last > line else "there"
            what = f"a quote opens a field, and text follows the quote that closes it {closes}"
        else:
            what = error
        return (
            f"{where(self.file)}, line {line:,}: {what}; valid: "
            f"{self._ways() or 'fields in double quotes, a quote within them written twice'}"
        )

    def _uneven(
        self, line: int, row: list[str], rows: Iterator[tuple[int, list[str]]], wanted: int, *, alone: bool
    ) -> str:
        """What to say of a row with too many or too few fields, and of those after it; ``alone``: it is the first."""
        lines: list[str] = []
        widths, more = {len(row)}, 0
        try:
            for number, other in rows:
                widths.add(len(other))
                if len(other) != wanted:
                    more += 1
                    if len(lines) < LISTED_LINES:
                        lines.append(f"{number:,}")
        except UserError:
            pass  # of a quote further down; this line comes first
        under = f"a header of {wanted}" if self.reading.columns is None else f"the {wanted} names of data.columns"
        rest = f" and {more - len(lines):,} more rows" if more > len(lines) else ""
        also = f" (also lines {', '.join(lines)}{rest})" if more else ""
        head = f"{where(self.file)}, line {line:,}: {fields(len(row))} under {under}{also}; valid: "
        if ways := self._ways():
            return head + ways
        if alone and len(widths) == 1:  # each row of this width
            name = "the header" if self.reading.columns is None else "data.columns"
            head += f"a name for each of the {len(row)} columns in {name}, or "
        separator = NAMES.get(self.form.separator, self.form.separator)
        quoted = "" if self.form.quoting == "none" else f", one that holds a {separator} in double quotes"
        return f"{head}{fields(wanted)} in each row{quoted}"

    def _ways(self) -> str:
        """The keys with which the whole file is even, if there are any."""
        separators = dict.fromkeys([self.form.separator, *SEPARATORS.values()])
        found = []
        for separator, quoting in itertools.product(separators, QUOTINGS):
            form = Form(separator, quoting)
            if form != self.form and self._even(form):
                found.append(form)
        # another quoting is likelier than another separator, and one of each is enough
        by_quoting = [f"data.quoting={form.quoting}" for form in found if form.separator == self.form.separator]
        return " or ".join(by_quoting[:1] or sorted((form.overrides for form in found), key=len)[:1])

    def _even(self, form: Form) -> bool:
        """Whether all rows are as wide as the first, more than a field, with another form."""
        wanted = None if self.reading.columns is None else len(self.reading.columns)
        escapes = form.quoting != "backslash"  # a file without \" is not meant so
        with text_stream(self.file, self.reading.encoding) as stream:
            lines: list[str] = []  # the one that is being read
            try:
                for row in form.rows(seen_lines(stream, lines)):
                    escapes = escapes or any('\\"' in line for line in lines)
                    lines.clear()
                    wanted = len(row) if wanted is None and row else wanted
                    if row and (len(row) != wanted or len(row) < 2):
                        return False
            except csv.Error:
                return False
        return wanted is not None and escapes


def seen_lines(stream: TextIO, seen: list[str]) -> Iterator[str]:
    """The lines of a stream, each also appended to a list."""
    for line in stream:
        seen.append(line)
        yield line


def missing_if_empty(column: "pa.Array") -> "pa.Array":
    """Only an empty field is missing: the words ``NA``, ``None`` and ``null`` are words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = pc.equal(column, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), column) if pc.any(empty).as_py() else column


def drop_nameless(table: "pa.Table", blank: list[str]) -> "pa.Table":
    """Without the columns that have neither a name nor a value, as spreadsheets write them."""
    return table.drop_columns([name for name in blank if table.column(name).null_count == len(table)])


def fields(number: int) -> str:
    """A number of fields in words."""
    return "1 field" if number == 1 else f"{number} fields"


def example_columns(number: int) -> str:
    """The key that names so many columns, as an example."""
    return f"data.columns=[{','.join(f'column{place + 1}' for place in range(number))}]"
