"""Class names and ids, from a data set's own names, from texts or from numbers."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gru_bench.errors import UserError

MOST_SHOWN = 10
MANY = 20
"""So many classes are not asked about; with more, there must be two rows per class."""


def plain(value: Any) -> Any:
    """A label as it is compared: None for a missing one, whole numbers as int, texts without outer white space."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return value.strip() or None
    return value


def missing(values: list[Any], *, minus_one: bool) -> np.ndarray:
    """Where there is no label: nothing, or -1 where that means no label; (N,) of bool.

    Args:
        values: Labels as :func:`plain` gives them.
        minus_one: Whether -1 stands for a missing label, as it does on the hub.
    """
    absent = (None, -1) if minus_one else (None,)
    return np.fromiter((value in absent for value in values), dtype=bool, count=len(values))


def class_names(values: Iterable[Any], names: list[str] | None) -> list[str]:
    """Names of the classes in the order of their ids: the data set's own, else in numeric or alphabetic order."""
    if names is not None:
        return names
    distinct = {value for value in values if value is not None}
    numeric = all(isinstance(value, int | float) for value in distinct)
    return [str(value) for value in sorted(distinct, key=(lambda v: v) if numeric else str)]


def check_classes(role: str, column: str, present: list[str], number: int) -> None:
    """Check the classes that training has against what a classifier needs.

    Args:
        role: ``label`` or ``tags``.
        column: The source's name of the column.
        present: The classes of the training rows.
        number: Rows, or words that have a tag.

    Raises:
        UserError: One class alone, or so many that the column is no label.
    """
    many, each, one = ("classes", "rows", "a label") if role == "label" else ("tags", "words", "one of tags")
    if len(present) < 2:
        only = f"only {present[0]!r}" if present else f"no {role.removesuffix('s')}"
        raise UserError(f"data.{role}={column}: the training rows have {only}; valid: two {many} or more")
    if len(present) > MANY and len(present) > number / 2:
        raise UserError(
            f"data.{role}={column}: {len(present):,} distinct values in {number:,} {each}: is that column {one}?"
        )


def encode(values: list[Any], classes: list[str], *, own_names: bool) -> list[int | None]:
    """Ids of labels; None for what is no class.

    Args:
        values: Labels as :func:`plain` gives them, none missing.
        classes: All names.
        own_names: Whether the values are already ids, as in a data set that brings its own names.
    """
    if own_names:
        return [value if isinstance(value, int) and 0 <= value < len(classes) else None for value in values]
    index = {name: i for i, name in enumerate(classes)}
    return [index.get(str(value)) for value in values]


def list_some(names: list[str]) -> str:
    """Names for a message; of very many the first ones."""
    shown = ", ".join(names[:MOST_SHOWN])
    return shown if len(names) <= MOST_SHOWN else f"{shown} and {len(names) - MOST_SHOWN:,} more"
