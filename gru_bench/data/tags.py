"""Rows of words and tags: one tag a word."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gru_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def rows_with_words(table: "pa.Table", split: str, columns: Mapping[str, str]) -> "pa.Table":
    """Hold each row's tags against its words, and leave out the rows that have neither.

    Args:
        table: Columns ``tokens`` and ``tags``, both of lists. A row whose list of tags is missing stays: it is
            unlabeled.
        split: Whose rows they are, for the message.
        columns: The source's names of the columns, likewise.

    Raises:
        UserError: A row has more or fewer tags than words.
    """
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


def unseen(table: "pa.Table", train: "pa.Table") -> np.ndarray:
    """Ids of the tags of a table that no training row has, one entry for each word that has one.

    Args:
        table: A column ``tags`` of lists of ids.
        train: Likewise.
    """
    tags_N = _flat(table)
    return tags_N[~np.isin(tags_N, np.unique(_flat(train)))]


def _flat(table: "pa.Table") -> np.ndarray:
    return table.column("tags").combine_chunks().flatten().to_numpy()


def _list_lengths(table: "pa.Table", role: str, missing: int) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(role)
    if pa.types.is_null(column.type):
        return np.full(len(column), missing)
    return pc.fill_null(pc.list_value_length(column), missing).to_numpy()
