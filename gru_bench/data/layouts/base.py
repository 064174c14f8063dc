"""What a layout is: which files of a place are of its kind, which split each is, and how they become columns."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from gru_bench.cache_dir import cache_dir, replace_text
from gru_bench.data.read_text import byte_stream, encoding_of, text_stream
from gru_bench.errors import UserError

STRUCTURED = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Suffixes of what ``datasets`` and the reader of delimited files take; where one is there, no layout is looked for."""
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "testa": "valid",
    "test": "test",
    "testb": "test",
}
"""Words in a file's name that say which split it is; ``testa`` and ``testb`` are those of CoNLL 2003."""
DESCRIBING = ("readme", "license", "licence", "citation", "changelog", "contributing")
LOOKED_AT = 50
"""Lines from which a layout is told."""
HEAD_BYTES = 2**18
"""Bytes of a file's head from which they come."""

Files = dict[str, list[Path]]
"""Files by split."""
Columns = dict[str, list[Any]]
"""Columns by name, all of one length."""


@dataclass
class Read:
    """What a layout gives.

    Attributes:
        splits: Columns by split.
        notes: What was found, one sentence each.
        remarks: What a reader should look at, likewise.
    """

    splits: dict[str, Columns]
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Layout(ABC):
    """One way to keep rows in files of text."""

    name: ClassVar[str]
    """What ``data.layout`` calls it."""
    answer: ClassVar[str]
    """The role of the column that it has and a task needs: ``label``, ``tags`` or ``target``."""
    shape: ClassVar[str]
    """What a message says that it looks like."""
    in_one_file: ClassVar[bool] = True
    """Whether one file can be all of it."""

    @abstractmethod
    def files(self, place: Path, columns: Mapping[str, str], encoding: str | None) -> Files:
        """The files of this layout at a place, by split; none where nothing there looks like it.

        Args:
            place: A file, or a folder.
            columns: Names of columns that were asked for, by role.
            encoding: What text is in; None is UTF-8.

        Raises:
            UserError: They look like it, and it cannot be told which split is which.
        """

    @abstractmethod
    def looks(self, file: Path, encoding: str | None) -> bool:
        """Whether the beginning of a file is of this layout."""

    @abstractmethod
    def read(self, place: Path, files: Files, encoding: str | None) -> Read:
        """The rows.

        Raises:
            UserError: A line is not of the layout, with the file, the line and what would be valid.
        """


def listed(place: Path) -> list[Path]:
    """The files at a place in a fixed order, without hidden ones and those that tell about the others."""
    if place.is_file():
        return [place]
    found = (path for path in sorted(place.rglob("*")) if path.is_file())
    return [
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(place).parts)
        and path.stem.lower() not in DESCRIBING
    ]


def split_of(name: str) -> str | None:
    """The split that a file's or folder's name tells, or None."""
    words = [SPLIT_WORDS[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in SPLIT_WORDS]
    return words[-1] if words else None


def by_split(place: Path, files: Sequence[Path]) -> Files:
    """Share out files by their names; where none tells a split, all are training data.

    Raises:
        UserError: Some names tell their split and another does not.
    """
    found: Files = {}
    if not files or place.is_file():
        return {"train": list(files)} if files else {}
    told = {file: split_of(file.name) or split_of(file.parent.name if file.parent != place else "") for file in files}
    if not any(told.values()):
        return {"train": list(files)}
    for file, split in told.items():
        if split is None:
            raise UserError(
                f"data.path={place}: which split is {shown(place, file)}? Others tell it by their names; valid: a name "
                "with train, valid or test in it, or keep that file elsewhere"
            )
        found.setdefault(split, []).append(file)
    return found


def shown(place: Path, file: Path) -> str:
    """A file's name as seen from the place that was asked for."""
    return file.name if file == place else file.relative_to(place).as_posix()


def ending(file: Path) -> str:
    """What a file's name ends in, without the ``.gz`` of a packed one."""
    return Path(file.stem).suffix if file.suffix.lower() == ".gz" else file.suffix


def lines_of(file: Path, encoding: str | None) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers from 1, without the ends of lines.

    Raises:
        UserError: The file is in another encoding.
    """
    with text_stream(file, encoding, newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            yield number, line.rstrip("\r\n")


def head_of(file: Path, encoding: str | None) -> list[str]:
    """The first whole lines of a file, as far as a layout is told from them; none where it is no text."""
    with byte_stream(file) as stream:
        raw = stream.read(HEAD_BYTES)
    try:
        head = raw.decode(encoding_of(file, raw, encoding), errors="replace")
    except UserError:  # zero bytes
        return []
    whole = head if len(raw) < HEAD_BYTES else head.rpartition("\n")[0]
    return [] if "\0" in whole else whole.splitlines()[:LOOKED_AT]


def files_id(place: Path, files: Files) -> str:
    """A hash of the files' names below the place and of their content.

    It is remembered in the user's cache by names, sizes and times of change: a folder may hold a file for each row.
    """
    every = sorted(path for paths in files.values() for path in paths)
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in every]
    key = hashlib.sha256(repr(stats).encode()).hexdigest()
    remembered = cache_dir() / "digests" / key
    with suppress(OSError):
        content = remembered.read_text()
        if len(content) == 64:
            return content
    sha = hashlib.sha256()
    for path in every:
        whole = path.read_bytes()
        sha.update(f"\0{shown(place, path)}\0{len(whole)}\0".encode() + whole)
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        replace_text(remembered, sha.hexdigest())
    return sha.hexdigest()
