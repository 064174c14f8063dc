"""Columns of labels or of tags: rows without one, ids for names, and classes that training lacks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gru_bench.data import labels
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "valid", "test")
NUMBER = "number"
"""Column of a row's number in the source, from 1, which messages name; rows before it may have been left out."""


def drop_unlabeled(
    raw: dict[str, "pa.Table"],
    own_names: list[str] | None,
    counts: dict[str, dict[str, int]],
    notes: list[str],
) -> dict[str, "pa.Table"]:
    """Leave out rows without a label, or with a word that has no tag.

    Args:
        raw: Rows by split.
        own_names: Names that the data set brings for its labels; None where there are none.
        counts: By split; gets ``unlabeled``.
        notes: Gets a sentence where there are such rows.
    """
    role = role_of(raw)
    lists = {split: _label_lists(table, role) for split, table in raw.items()}
    # -1 in plain numbers may be a class of its own: then training has it
    trained = {value for row in lists["train"] for value in row} if own_names is None else set()
    minus_one = -1 not in trained
    kept: dict[str, pa.Table] = {}
    for split, table in raw.items():
        flat = [value for row in lists[split] for value in row]
        absent = labels.missing(flat, minus_one=minus_one)
        row_of = np.arange(len(table)).repeat([len(row) for row in lists[split]]) if role == "tags" else None
        unlabeled = absent if row_of is None else np.bincount(row_of[absent], minlength=len(table)) > 0
        number = int(unlabeled.sum())
        counts[split]["unlabeled"] = number
        if number:
            notes.append(f"{number:,} of {len(table):,} {split} rows have no label and are not used")
        kept[split] = table.take(np.flatnonzero(~unlabeled)) if number else table
    return kept


def encode_labels(
    raw: dict[str, "pa.Table"],
    sources_train: "pa.Table",
    own_names: list[str] | None,
    carved: list[str],
    columns: Mapping[str, str],
) -> tuple[dict[str, "pa.Table"], list[str]]:
    """Labels, or tags, as ids, and the names of the classes.

    Args:
        raw: Rows by split, none without a label.
        sources_train: The training rows from before splits were carved from them.
        own_names: Names that the data set brings for its labels; None where there are none.
        carved: Splits that were carved from the training rows.
        columns: The source's names of the columns.

    Raises:
        UserError: Too few or too many classes, or one that training does not have.
    """
    import pyarrow as pa

    role = role_of(raw)
    lists = {split: _label_lists(table, role) for split, table in raw.items()}
    # one rare tag must not cost a whole data set because its row was carved; a rare class is for its owner to see
    known = lists["train"] if role == "label" else _label_lists(sources_train, role)
    classes = labels.class_names((value for row in known for value in row), own_names)
    encoded: dict[str, pa.Table] = {}
    present: set[int | None] = set()
    for split in SPLITS:
        ids = [labels.encode(row, classes, own_names=own_names is not None) for row in lists[split]]
        if split == "train":
            present = {value for row in ids for value in row}
            names = [classes[value] for value in sorted(v for v in present if v is not None)]
            labels.check_classes(role, columns[role], names, sum(map(len, ids)))
        for row, (values, given) in enumerate(zip(ids, lists[split], strict=True)):
            for value, label in zip(values, given, strict=True):
                if value is None or (role == "label" and value not in present):
                    shown = classes[value] if value is not None else label
                    listed = labels.list_some([classes[v] for v in sorted(v for v in present if v is not None)])
                    number = raw[split].column(NUMBER)[row].as_py()
                    place = f"train split, which was carved for {split}," if split in carved else f"{split} split"
                    raise UserError(
                        f"data.{role}={columns[role]}: row {number:,} of the {place} has the "
                        f"{role.removesuffix('s')} {shown!r}, which no training row has; training has {listed}"
                    )
        column = pa.array([row[0] for row in ids] if role == "label" else ids)
        encoded[split] = raw[split].set_column(raw[split].column_names.index(role), role, column)
    return encoded, classes


def role_of(tables: Mapping[str, "pa.Table"]) -> str:
    """``label`` or ``tags``, whichever the tables have."""
    return "label" if "label" in tables["train"].column_names else "tags"


def flat_ids(table: "pa.Table") -> list[int]:
    """The class of each row, or of each word."""
    if "label" in table.column_names:
        return table.column("label").to_pylist()
    return [tag for row in table.column("tags").to_pylist() for tag in row]


def _label_lists(table: "pa.Table", role: str) -> list[list[Any]]:
    """Labels of each row; a row of a column ``label`` has one."""
    values = table.column(role).to_pylist()
    if role == "label":
        return [[labels.plain(value)] for value in values]
    return [[None] if row is None else [labels.plain(value) for value in row] for row in values]
