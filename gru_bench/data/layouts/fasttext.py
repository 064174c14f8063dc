"""fastText's files of labeled texts: words that begin with ``__label__`` are labels, all others the text.

Source: fastText's documentation, "Text classification" (fasttext.cc/docs/en/supervised-tutorial.html).
"""

import re
from collections.abc import Mapping
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
)

LABEL = re.compile(r"(?<!\S)__label__(\S+)")


class FastText(Layout):
    """A row a line. Of several labels the first is the row's, and how often that was so is said."""

    name = "fasttext"
    answer = "label"
    shape = "__label__NAME and a text, a row a line"

    def files(self, place: Path, columns: Mapping[str, str], encoding: str | None) -> Files:
        return by_split(
            place, [file for file in listed(place) if ending(file) not in STRUCTURED and self.looks(file, encoding)]
        )

    def looks(self, file: Path, encoding: str | None) -> bool:
        lines = [line for line in head_of(file, encoding) if line.strip()]
        return bool(lines) and all(LABEL.search(line) for line in lines)

    def read(self, place: Path, files: Files, encoding: str | None) -> Read:
        splits: dict[str, Columns] = {}
        rows = several = 0
        for split, paths in files.items():
            texts: list[str] = []
            labels: list[str | None] = []
            for path in paths:
                for _, line in lines_of(path, encoding):
                    if not line.strip():
                        continue
                    found = LABEL.findall(line)
                    several += len(found) > 1
                    labels.append(found[0] if found else None)
                    texts.append(LABEL.sub("", line).strip())
            rows += len(texts)
            splits[split] = {"text": texts, "label": labels}
        read = Read(splits, ["read as fastText's layout: __label__NAME is the label, the rest of the line the text"])
        if several:
            read.remarks.append(f"{several:,} of {rows:,} rows have several labels: the first of each is used")
        return read
