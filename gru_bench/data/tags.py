"""Rows of words and tags: one tag a word."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gru_bench.data.labels import list_some
from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def drop_empty(
    tables: Mapping[str, "pa.Table"],
    columns: Mapping[str, str],
    where: str,
    counts: dict[str, dict[str, int]],
    notes: list[str],
) -> dict[str, "pa.Table"]:
    """Check each row's tags against its words, and leave out the rows that have neither.

    Args:
        tables: By split; columns ``tokens`` and ``tags``, both of lists. A row whose list of tags is missing stays:
            it is unlabeled.
        columns: The source's names of the columns.
        where: What the source is called in a message.
        counts: By split; gets ``empty``.
        notes: Gets a sentence where there are such rows.

    Raises:
        UserError: A row has more or fewer tags than words, or no row of a split has words.
    """
    kept: dict[str, pa.Table] = {}
    for split, table in tables.items():
        kept[split] = _with_words(table, split, columns)
        counts[split]["empty"] = number = len(table) - len(kept[split])
        if number == len(table):
            raise UserError(f"{where}: no row of the {split} split has a word in {columns['tokens']}")
        if number:
            notes.append(f"{number:,} of {len(table):,} {split} rows hold no word and are not used")
    return kept


def count_unseen(split: str, table: "pa.Table", train: "pa.Table", classes: list[str], notes: list[str]) -> int:
    """How many words have a tag that no training row has.

    Args:
        split: Whose rows they are.
        table: A column ``tags`` of lists of ids.
        train: Likewise.
        classes: Names of the tags.
        notes: Gets a sentence where there are such words.
    """
    tags_N = _flat(table)
    unseen_N = tags_N[~np.isin(tags_N, np.unique(_flat(train)))]
    if len(unseen_N):
        which = list_some([classes[i] for i in np.unique(unseen_N)])
        notes.append(
            f"{len(unseen_N):,} of {len(tags_N):,} {split} words have a tag that no training row has ({which})"
        )
    return len(unseen_N)


def _with_words(table: "pa.Table", split: str, columns: Mapping[str, str]) -> "pa.Table":
    words_R, tags_R = _list_lengths(table, "tokens", 0), _list_lengths(table, "tags", -1)
    empty_R = (words_R == 0) & (tags_R <= 0)
    unequal = np.flatnonzero((tags_R >= 0) & (tags_R != words_R))
    if len(unequal):
        row = unequal[0]
        raise UserError(
            f"data.tokens={columns['tokens']}, data.tags={columns['tags']}: row {row + 1:,} of the {split} split has "
            f"{words_R[row]:,} tokens and {tags_R[row]:,} tags; valid: one tag for each token"
        )
    return table.filter(~empty_R) if empty_R.any() else table


def _flat(table: "pa.Table") -> np.ndarray:
    return table.column("tags").combine_chunks().flatten().to_numpy()


def _list_lengths(table: "pa.Table", role: str, missing: int) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(role)
    if pa.types.is_null(column.type):
        return np.full(len(column), missing)
    return pc.fill_null(pc.list_value_length(column), missing).to_numpy()
