"""Columns of words and tags as of CoNLL 2000 and 2003: a word a line, blank lines between sentences.

Source: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 Shared Task", section 2.2.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gru_bench.data.layouts.base import (
    STRUCTURED,
    Columns,
    Files,
    Layout,
    Read,
    by_split,
    ending,
    head_of,
    lines_of,
    listed,
    shown,
)
from gru_bench.errors import UserError

DOCUMENT = "-DOCSTART-"
NAMES = {3: ("tokens", "pos", "chunk"), 4: ("tokens", "pos", "chunk", "ner")}
"""Names of the columns of CoNLL 2000 and 2003, by their number; others are called ``column_2`` and so on."""


class CoNLL(Layout):
    """A sentence a row: ``tokens`` is the first column, ``tags`` the last. Lines ``-DOCSTART-`` are no words."""

    name = "conll"
    answer = "tags"
    shape = "a word a line, its tags behind it, a blank line after each sentence"

    def files(self, place: Path, columns: Mapping[str, str], encoding: str | None) -> Files:
        return by_split(
            place, [file for file in listed(place) if ending(file) not in STRUCTURED and self.looks(file, encoding)]
        )

    def looks(self, file: Path, encoding: str | None) -> bool:
        words = [_fields(line) for line in head_of(file, encoding) if line.strip() and not line.startswith(DOCUMENT)]
        return bool(words) and len(words[0]) > 1 and len({len(word) for word in words}) == 1

    def read(self, place: Path, files: Files, encoding: str | None) -> Read:
        splits: dict[str, Columns] = {}
        documents, width = 0, 0
        for split, paths in files.items():
            rows: list[list[list[str]]] = []
            for path in paths:
                sentence: list[list[str]] = []
                for number, line in [*lines_of(path, encoding), (0, "")]:
                    if line.startswith(DOCUMENT):
                        documents += 1
                    elif line.strip():
                        word = _fields(line)
                        width = width or len(word)
                        if len(word) != width or width < 2:
                            raise UserError(
                                f"data.path={place}: {shown(place, path)}, line {number:,}: {len(word)} columns, where "
                                f"the first word has {width}; valid: a word a line, its tags behind it, a blank line "
                                "after each sentence"
                            )
                        sentence.append(word)
                        continue
                    if sentence:
                        rows.append(sentence)
                        sentence = []
            names = NAMES.get(width, ("tokens", *(f"column_{i + 1}" for i in range(1, width))))
            columns: Columns = {
                name: [[word[at] for word in sentence] for sentence in rows] for at, name in enumerate(names)
            }
            splits[split] = columns | {"tags": columns[names[-1]]} if width else {}
        notes = [f"read as CoNLL's columns: words first, {_tags_note(splits)}"] if splits.get("train") else []
        if documents:
            notes.append(f"{documents:,} lines {DOCUMENT} are no words and left out")
        return Read(splits, notes)


def scheme_of(rows: Sequence[Sequence[str]]) -> str | None:
    """How tags mark chunks: ``IOB2`` (each begins with B-), ``IOB1`` (only one that touches another does), or None.

    Args:
        rows: Tags of each sentence.
    """
    begins = inside = 0
    for tags in rows:
        before = "O"
        for tag in tags:
            if tag != "O" and tag[:2] not in ("B-", "I-"):
                return None
            begins += tag.startswith("B-")
            inside += tag.startswith("I-") and (before == "O" or before[2:] != tag[2:])
            before = tag
    if not begins and not inside:
        return None
    return "IOB1" if inside else "IOB2"


def _tags_note(splits: Mapping[str, Columns]) -> str:
    names = [name for name in splits["train"] if name not in ("tokens", "tags")]
    scheme = scheme_of(splits["train"]["tags"])
    called = f" ({names[-1]})" if not names[-1].startswith("column_") else ""
    note = f"tags from the last of {len(names) + 1} columns{called}"
    if scheme is not None:
        meaning = {"IOB1": "B- only where chunks of one type touch", "IOB2": "each chunk begins with B-"}[scheme]
        note += f", which are {scheme} ({meaning})"
    others = " or ".join(names[:-1])
    return note + (f"; data.tags={others} takes another" if others else "")


def _fields(line: str) -> list[str]:
    """Columns have tabs between them, or else any white space."""
    return [part.strip() for part in line.split("\t")] if "\t" in line.strip() else line.split()
