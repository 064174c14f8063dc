"""What was found in rows, said as plainly as what was dropped: classes, lengths, repeated contents, and what is odd."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_LISTED, LONGEST_NAME = 10, 40
PLACEHOLDERS = {"-", "--", "?", ".", "_", "n/a", "na", "nan", "none", "null", "nil", "unknown", "undefined", "tbd"}
"""What people write where there is no label, in lower case."""
HEADERS = {"label", "labels", "class", "category", "target", "tag", "tags"}
MAJORITY, ONE_TEXT, FEWEST_REPEATS = 0.95, 0.1, 3
"""Shares of a split that one class, or one content, holds only where something is wrong; and repeats that are few."""
SHARES = (50, 95, 100)
"""Percentiles of lengths that are said; the last is the longest."""


@dataclass
class Findings:
    """What data.yaml shows of the rows of each split.

    Attributes:
        classes: Rows of each class, the most frequent first.
        tags: Likewise words of each tag.
        lengths: Of what is read: median, 95th percentile and longest, before anything is cut.
        repeated: Rows whose content a row before them in the same split has.
        remarks: What a reader should look at, one sentence each.
    """

    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    tags: dict[str, dict[str, int]] = field(default_factory=dict)
    lengths: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add_lengths(self, what: str, lengths: Mapping[str, Sequence[int] | np.ndarray]) -> None:
        """Describe lengths by split.

        Args:
            what: What is counted, of what: ``words a text``.
            lengths: Of every row.
        """
        self.lengths[what] = {
            split: dict(zip(("median", "percentile_95", "longest"), percentiles(of), strict=True))
            for split, of in lengths.items()
            if len(of)
        }

    def add_repeats(self, split: str, hashes_N: np.ndarray) -> None:
        """Count contents that a split has more than once.

        Args:
            split: Its name.
            hashes_N: A hash of each row's content.
        """
        _, numbers = np.unique(hashes_N, return_counts=True)
        self.repeated[split] = int((numbers - 1).sum())
        most = int(numbers.max(initial=0))
        if most >= FEWEST_REPEATS and most >= ONE_TEXT * len(hashes_N):
            self.remarks.append(f"{most:,} of {len(hashes_N):,} {split} rows have one and the same content")

    def notes(self) -> list[str]:
        """Sentences for a reader, of the training rows where the splits would say the same."""
        notes = []
        for what in ("classes", "tags"):
            if counted := getattr(self, what).get("train"):
                notes.append(f"{what} (train): {list_counts(counted)}")
        for what, by_split in self.lengths.items():
            if of := by_split.get("train"):
                notes.append(
                    f"{what} (train): median {of['median']:,}, 95 % at most {of['percentile_95']:,}, longest "
                    f"{of['longest']:,}"
                )
        if any(self.repeated.values()):
            told = ", ".join(f"{split} {number:,}" for split, number in self.repeated.items())
            notes.append(f"rows that repeat the content of another of their split: {told}")
        return [*notes, *(f"remark: {remark}" for remark in self.remarks)]

    def as_facts(self) -> dict[str, Any]:
        """What there is, as JSON and YAML hold it."""
        return {name: value for name, value in vars(self).items() if value}


def count(ids: Sequence[int], names: Sequence[str]) -> dict[str, int]:
    """How often each class occurs, the most frequent first.

    Args:
        ids: Classes, one a row or a word.
        names: Names of all classes.
    """
    return {names[one]: number for one, number in Counter(ids).most_common()}


def list_counts(counted: Mapping[str, int]) -> str:
    """Classes with their counts; of very many the first ones."""
    shown = ", ".join(f"{short(name)} ({number:,})" for name, number in list(counted.items())[:MOST_LISTED])
    return shown if len(counted) <= MOST_LISTED else f"{shown} and {len(counted) - MOST_LISTED:,} more"


def short(name: str) -> str:
    """A class's name as a line can hold it."""
    clean = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return clean if len(clean) <= LONGEST_NAME else f"{clean[:LONGEST_NAME]}..."


def percentiles(lengths: Sequence[int] | np.ndarray) -> list[int]:
    """The median, the 95th percentile and the longest: lengths that occur."""
    return [int(value) for value in np.percentile(lengths, SHARES, method="inverted_cdf")]


def class_remarks(counted: Mapping[str, int], column: str) -> list[str]:
    """What is odd about the labels of the training rows.

    Args:
        counted: Rows of each class.
        column: The source's name of the column.
    """
    remarks = []
    headers = HEADERS | {column.strip().lower()}
    odd = [name for name in counted if name.strip().lower() in headers | PLACEHOLDERS]
    lone = [name for name, number in counted.items() if number == 1 and name not in odd]
    if lone:
        remarks.append(f"a single training row has {_named(lone)}: nothing can be learned from it")
    for names in alike(counted):
        remarks.append(f"{_named(names)} differ by case or spaces alone, and count as {len(names)} classes")
    for name in odd:
        what = f"the class {short(name)!r} ({counted[name]:,} training {'row' if counted[name] == 1 else 'rows'})"
        if name.strip().lower() in PLACEHOLDERS:
            remarks.append(f"{what} may stand for no label; it is learned like any other")
        else:
            remarks.append(f"{what} is called as columns are: a header among the rows?")
    most = max(counted, key=lambda name: counted[name])
    total = sum(counted.values())
    if len(counted) > 1 and counted[most] > MAJORITY * total:
        remarks.append(f"{counted[most] / total:.1%} of the training rows have the class {short(most)!r}")
    return remarks


def alike(names: Mapping[str, int]) -> list[list[str]]:
    """Groups of names that differ by case or white space alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(name.split()).casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _named(names: Sequence[str]) -> str:
    several = "the classes" if len(names) > 1 else "the class"
    shown = ", ".join(repr(short(name)) for name in names[:MOST_LISTED])
    return f"{several} {shown}" + (f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else "")
