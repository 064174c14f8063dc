"""Which layout a file or a folder has: the one that was named, or the first whose files are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gru_bench.data.forms import Reading
from gru_bench.data.layouts.base import STRUCTURED, Files, Layout, Read, ending, files_id, listed
from gru_bench.data.layouts.conll import CoNLL
from gru_bench.data.layouts.conllu import CoNLLU
from gru_bench.data.layouts.fasttext import FastText
from gru_bench.data.layouts.folders import Folders
from gru_bench.data.layouts.pairs import Pairs
from gru_bench.data.source import kind_of
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import datasets

Name = Literal["fasttext", "folders", "conllu", "conll", "pairs"]
LAYOUTS: tuple[Layout, ...] = (FastText(), Folders(), CoNLLU(), CoNLL(), Pairs())
"""In the order in which they are tried."""
ANSWERS = tuple(dict.fromkeys(layout.answer for layout in LAYOUTS))
assert tuple(layout.name for layout in LAYOUTS) == get_args(Name)


@dataclass(frozen=True)
class Found:
    """Files of a known layout at a place."""

    layout: Layout
    place: Path
    files: Files
    encoding: str | None

    def source_id(self) -> str:
        """What the data will be: a hash of the files' names and content."""
        return f"files:{files_id(self.place, self.files)[:16]}"

    def read(self) -> tuple[dict[str, "datasets.Dataset"], Read]:
        """The rows by split, and what was found.

        Raises:
            UserError: A line is not of the layout, or there is no row.
        """
        import datasets

        read = self.layout.read(self.place, self.files, self.encoding)
        return {split: datasets.Dataset.from_dict(columns) for split, columns in read.splits.items()}, read


def find(path: str, columns: Mapping[str, str], asked: str | None, reading: Reading) -> Found | None:
    """The layout of the files at ``path``; None where there is nothing, or another reader is to take it.

    Args:
        path: A file or a folder.
        columns: Names of columns by role; a layout is tried where it has the answer that is among them.
        asked: Name of the layout, or None.
        reading: What was asked for about tables and encodings; where it is about a table, no layout is looked for.

    Raises:
        UserError: The layout that was named has no file there, or does not have what the task needs.
    """
    place = Path(path).expanduser()
    of_tables = {"separator": reading.separator, "quoting": reading.quoting, "columns": reading.columns}
    given = [name for name, value in of_tables.items() if value is not None]
    if asked is not None:
        if given:
            raise UserError(f"data.{given[0]} is about tables, and data.layout={asked} is none; valid: one of them")
        layout = next(layout for layout in LAYOUTS if layout.name == asked)
        if layout.answer not in columns:
            valid = [one.name for one in LAYOUTS if one.answer in columns]
            needed = next((role for role in ANSWERS if role in columns), "column")
            raise UserError(f"data.layout={asked}: it has no {needed}; valid: {', '.join(valid)}")
        if not place.exists():
            raise UserError(f"data.layout={asked} reads local files, and there is no data.path={path}")
        if place.is_file() and layout.in_one_file:
            return Found(layout, place, {"train": [place]}, reading.encoding)
        found = layout.files(place, columns, reading.encoding)
        if not found:
            raise UserError(f"data.layout={asked}: nothing at data.path={path} is of that layout ({layout.shape})")
        return Found(layout, place, found, reading.encoding)
    if given or not place.exists() or any(ending(file) in STRUCTURED for file in listed(place)):
        return None
    for layout in LAYOUTS:
        if layout.answer in columns and (found := layout.files(place, columns, reading.encoding)):
            return Found(layout, place, found, reading.encoding)
    if place.is_dir() and all(kind_of(file) is None for file in listed(place)):
        raise UserError(f"data.path={path}: no data there that is known; {ways_on(columns)}")
    return None


def ways_on(columns: Mapping[str, str]) -> str:
    """Into what lines of text, or files of an unknown kind, can be turned.

    Args:
        columns: Names of columns by role.
    """
    fitting = [f"{layout.name} ({layout.shape})" for layout in LAYOUTS if layout.answer in columns]
    table = "JSON lines or parquet" if "tags" in columns else "CSV, TSV, JSON lines or parquet"
    return f"valid: {table} with these columns, or one of {', '.join(fitting)}; see data.layout"
