"""Texts that are given, by data or a store, as themselves: no name, label or error becomes markup or a formula.

Sections build markdown of their own words and of such texts. So that none of them can forget to escape, each character
that could mean something is taken out of the texts before the sections see them: a placeholder of Unicode's private
use area stands for it. Each format puts it back once, in its own way: :func:`as_markdown` (from which HTML, LaTeX and
the tables' CSV are made), :func:`as_text` for figures, and :func:`as_cells` for tables that are written as they are.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
from matplotlib.text import Text

from gru_bench.redact import without_secrets
from gru_bench.spreadsheet import as_cell
from gru_bench.store.read import Results

SPECIAL = re.compile(
    r"[\\`*\[\]<>&!|~$#@^{}]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.|^[-+=](?![\d.∞])", re.IGNORECASE
)
"""What is or begins markup of CommonMark, its tables, or GitHub's: an underscore within a word is none."""
FIRST = 0xE000
HIDDEN = re.compile(r"[\uE000-\uE07F]")
INVISIBLE = {
    code: repr(chr(code))[1:-1]
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What breaks a line, which would end a heading, or turns the direction of writing, is told: ``\\n``, ``\\u202e``."""
INVISIBLE |= dict.fromkeys(range(0xE000, 0xE080), "\ufffd")
KEPT = {"run_id", "sweep", "config_key", "group_key", "search_key", "higher_is_better", "status", "role", "split"}
"""Columns of words of our own, and of keys that sections look up."""
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def given(results: Results) -> Results:
    """The results with placeholders in all texts, and without secrets, for sections."""
    tables = {name: getattr(results, name) for name in ("runs", "values", "curves", "bench", "timings", "baselines")}
    return replace(results, **{name: changed(table, shown) for name, table in tables.items()})  # type: ignore[arg-type]


def changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with every text changed; each different one once."""
    new: dict[str, pd.Series] = {}
    for name in table.columns:
        column = table[name]
        if name in KEPT or not (pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)):
            continue
        texts = {text: change(text) for text in column.dropna().unique() if isinstance(text, str)}
        different = {text: to for text, to in texts.items() if to != text}
        if different:
            values = [different.get(value, value) if isinstance(value, str) else value for value in column]
            new[name] = pd.Series(values, index=column.index, dtype=column.dtype)
    return table.assign(**new) if new else table


def hide(text: str) -> str:
    """The text with placeholders."""
    return SPECIAL.sub(lambda found: chr(FIRST + ord(found[0])), text.translate(INVISIBLE))


def shown(text: str) -> str:
    """What sections are given of a text."""
    return hide(without_secrets(text))


def as_text(text: str) -> str:
    """With the characters themselves."""
    return HIDDEN.sub(lambda found: chr(ord(found[0]) - FIRST), text)


def as_markdown(text: str) -> str:
    """Markdown that shows the characters; within code, where nothing is escaped, another mark stands for a backtick."""
    if not HIDDEN.search(text):
        return text
    lines, fenced = [], False
    for line in text.split("\n"):
        fenced ^= line.startswith("```")
        if fenced:
            line = as_text(line)
        elif HIDDEN.search(line):
            bar = r"\|" if line.startswith("|") else "|"
            end, parts = 0, []
            for code in CODE.finditer(line):
                parts.append(escaped(line[end : code.start()]))
                parts.append(as_text(code[0].replace(chr(FIRST + ord("`")), "ˋ").replace(chr(FIRST + ord("|")), bar)))
                end = code.end()
            line = "".join([*parts, escaped(line[end:])])
        lines.append(line)
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Outside code: a backslash before each."""
    return HIDDEN.sub(lambda found: "\\" + chr(ord(found[0]) - FIRST), text)


def as_cells(table: pd.DataFrame) -> pd.DataFrame:
    """A table for a CSV file, without secrets."""
    return changed(table, lambda text: as_cell(without_secrets(text)))


@contextmanager
def in_figures() -> Iterator[None]:
    """Put the characters back in whatever matplotlib writes in the block; it labels ticks anew at each drawing."""
    before = Text.set_text

    def set_text(self: Text, s: object) -> None:
        before(self, as_text(s) if isinstance(s, str) else s)

    Text.set_text = set_text  # type: ignore[method-assign]
    try:
        yield
    finally:
        Text.set_text = before  # type: ignore[method-assign]
