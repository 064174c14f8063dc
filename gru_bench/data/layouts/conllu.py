"""CoNLL-U, the format of Universal Dependencies: ten columns with tabs between, a word a line.

Source: universaldependencies.org/format.html.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gru_bench.data.layouts.base import Columns, Files, Layout, Read, by_split, ending, head_of, lines_of, listed, shown
from gru_bench.errors import UserError

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
KEPT = ("lemma", "upos", "xpos", "feats", "deprel")
"""Columns that can be tags."""
WORD_ID, RANGE_ID, EMPTY_ID = re.compile(r"\d+"), re.compile(r"\d+-\d+"), re.compile(r"\d+\.\d+")


class CoNLLU(Layout):
    """A sentence a row: ``tokens`` are the words, ``tags`` the universal parts of speech (``upos``).

    A multiword token (``3-4 don't``) is read as its words; an empty node (``8.1``), which no text shows, is left out.
    ``_`` is a tag that is missing.
    """

    name = "conllu"
    answer = "tags"
    shape = "ten columns with tabs between, a word a line"

    def files(self, place: Path, columns: Mapping[str, str], encoding: str | None) -> Files:
        found = [
            file
            for file in listed(place)
            if ending(file) == ".conllu" or (file == place and self.looks(file, encoding))
        ]
        return by_split(place, found)

    def looks(self, file: Path, encoding: str | None) -> bool:
        words = [line.split("\t") for line in head_of(file, encoding) if line.strip() and not line.startswith("#")]
        return bool(words) and all(len(word) == len(COLUMNS) and word[0][:1].isdigit() for word in words)

    def read(self, place: Path, files: Files, encoding: str | None) -> Read:
        splits: dict[str, Columns] = {}
        ranges = nodes = 0
        for split, paths in files.items():
            rows: Columns = {name: [] for name in ("tokens", *KEPT)}
            for path in paths:
                sentence: dict[str, list[Any]] = {name: [] for name in rows}
                for number, line in [*lines_of(path, encoding), (0, "")]:
                    if not line.strip():
                        if sentence["tokens"]:
                            for name, values in sentence.items():
                                rows[name].append(values)
                            sentence = {name: [] for name in rows}
                        continue
                    if line.startswith("#"):
                        continue
                    fields = line.split("\t")
                    if len(fields) != len(COLUMNS):
                        raise UserError(
                            f"data.path={place}: {shown(place, path)}, line {number:,}: {len(fields)} columns; CoNLL-U "
                            "has 10 (ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC) with a tab between them"
                        )
                    word = dict(zip(COLUMNS, fields, strict=True))
                    if RANGE_ID.fullmatch(word["id"]):
                        ranges += 1
                    elif EMPTY_ID.fullmatch(word["id"]):
                        nodes += 1
                    elif WORD_ID.fullmatch(word["id"]):
                        sentence["tokens"].append(word["form"])
                        for name in KEPT:
                            sentence[name].append(_value(name, word[name]))
                    else:
                        raise UserError(
                            f"data.path={place}: {shown(place, path)}, line {number:,}: the id {word['id']!r}; valid: "
                            "3, 3-4 (a multiword token) or 3.1 (an empty node)"
                        )
            splits[split] = {"tokens": rows["tokens"], "tags": rows["upos"], **{name: rows[name] for name in KEPT}}
        read = Read(splits, ["read as CoNLL-U: tags are UPOS; data.tags=xpos (or feats, deprel) takes another column"])
        if ranges:
            read.notes.append(f"{ranges:,} multiword tokens are read as the words that they stand for")
        if nodes:
            read.notes.append(f"{nodes:,} empty nodes are left out: no text shows them")
        return read


def _value(name: str, text: str) -> str | None:
    """``_`` stands for nothing, but of features that is a value too: a word without any."""
    return None if text == "_" and name != "feats" else text
