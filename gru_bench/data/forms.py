"""How tables in files of text are written: what separates fields, what quotes mean, and how that is found out."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from gru_bench.data.read_text import check_encoding, text_stream
from gru_bench.errors import UserError

Quoting = Literal["double", "backslash", "none"]
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Those that are looked for, by the names that need no quotes on a command line."""
NAMES = {character: name for name, character in SEPARATORS.items()} | {" ": "space"}
QUOTINGS: dict[Quoting, dict[str, Any]] = {
    "double": {"doublequote": True},
    "backslash": {"doublequote": True, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
SAMPLE_CHARACTERS = 2**16


@dataclass(frozen=True)
class Reading:
    """The keys of ``data`` that say how files of text are read.

    Attributes:
        separator: One character or a name of :data:`SEPARATORS`; None: that of the file's suffix, or the one found.
        quoting: ``double``: a field in double quotes may hold separators and line ends, and a quote that is written
            twice; ``backslash``: a backslash takes the meaning from the next character; ``none``: quotes are text.
            None: ``none`` between tabs, else ``double``.
        columns: Names of the columns of a file whose first line is a row already; None: the first line names them.
        encoding: Of files without a byte order mark; None is UTF-8.

    Raises:
        UserError: A value that is none of these.
    """

    separator: str | None = None
    quoting: str | None = None
    columns: tuple[str, ...] | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        check_encoding(self.encoding)
        if self.separator is not None and not (len(self.character) == 1 and self.character not in '"\r\n'):
            raise UserError(
                f"data.separator={self.separator!r}: valid: one character, or {', '.join([*SEPARATORS, 'space'])}"
            )
        if self.quoting is not None and self.quoting not in QUOTINGS:
            raise UserError(f"data.quoting={self.quoting}: valid: {', '.join(get_args(Quoting))}, null")
        if self.columns is not None:
            if not self.columns or any(not isinstance(name, str) or not name.strip() for name in self.columns):
                raise UserError("data.columns: valid: a list with a name for each column, such as [label,text]")
            if double := duplicate(list(self.columns)):
                raise UserError(f"data.columns: two columns are called {double}; valid: a name of its own for each")

    @property
    def character(self) -> str:
        """The separator itself, or nothing."""
        named = SEPARATORS | {"space": " ", "\\t": "\t"}
        return "" if self.separator is None else named.get(self.separator, self.separator)

    @property
    def delimited(self) -> bool:
        """Whether it says that the file has columns between separators, whatever its name is."""
        return self.columns is not None or self.separator is not None


@dataclass(frozen=True)
class Form:
    """How one file is written."""

    separator: str
    quoting: Quoting
    even: bool = field(default=True, compare=False)
    """Whether all of the file's first rows have as many fields, and more than one."""

    def rows(self, lines: Iterable[str]) -> Any:
        """Python's reader, which raises ``csv.Error`` where a quote is out of place."""
        csv.field_size_limit(2**31 - 1)  # the default refuses texts of 131,072 characters
        return csv.reader(lines, delimiter=self.separator, strict=True, **QUOTINGS[self.quoting])

    @property
    def overrides(self) -> str:
        """The keys that ask for it."""
        usual = form_of(self.separator, Reading()).quoting
        quoting = "" if self.quoting == usual else f" data.quoting={self.quoting}"
        return f"data.separator={NAMES[self.separator]}{quoting}"


def find_form(file: Path, reading: Reading, own: str | None, notes: list[str]) -> Form:
    """The separator and the quoting of a file: those asked for, else those of its name.

    Where the first rows are uneven with the separator of the name, and even with just one other, it is that one.
    """
    asked = reading.character
    if asked or (reading.columns is not None and len(reading.columns) == 1):
        return form_of(asked or own or ",", reading)
    with text_stream(file, reading.encoding) as stream:
        sample = stream.read(SAMPLE_CHARACTERS)
        whole = not stream.read(1)
    promised = own or "\t"
    if width(sample, whole, form_of(promised, reading), reading) > 1:
        return form_of(promised, reading)
    others = [character for character in SEPARATORS.values() if character != promised]
    fitting = [form for form in (form_of(character, reading) for character in others)
               if width(sample, whole, form, reading) > 1]  # fmt: skip
    if len(fitting) != 1:
        return replace(form_of(promised, reading), even=False)
    if own is not None:
        found = NAMES[fitting[0].separator]
        notes.append(f"{file.name}: between fields stands a {found}, found by looking (data.separator={found})")
    return fitting[0]


def form_of(separator: str, reading: Reading) -> Form:
    """The form with a separator; quotes mean nothing between tabs, where a stray one would swallow lines."""
    quoting: Any = reading.quoting or ("none" if separator == "\t" else "double")
    return Form(separator, quoting)


def width(sample: str, whole: bool, form: Form, reading: Reading) -> int:
    """How many fields all rows of a sample have; 0 where they differ or quotes are out of place."""
    widths: set[int] = set()
    lines = io.StringIO(sample, newline="")
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in form.rows(lines) if row)
    except csv.Error:
        if whole or lines.read(1):
            return 0
    else:
        rows = rows if whole else rows[:-1]
    if not rows:
        return 0
    widths = {len(row) for row in rows[1:]} or {len(rows[0])}
    named = len(reading.columns) if reading.columns is not None else len(rows[0])
    if len(widths) > 1 or (reading.columns is not None and len(rows[0]) not in widths):
        return 0
    trailing = widths == {named + 1} and not any(row[-1] for row in rows[1:])
    return named if widths == {named} or trailing else 0


def looks_delimited(file: Path, reading: Reading) -> bool:
    """Whether the first rows of a file are even with some separator."""
    return find_form(file, reading, None, []).even


def duplicate(names: list[str]) -> str | None:
    """A name that stands twice among ``names``."""
    return next((name for place, name in enumerate(names) if name in names[:place]), None)
