"""The values of a column by which scores are also shown, as numbers and names."""

from typing import Any

import numpy as np

from gru_bench.data.ragged import smallest

NONE = "none"
"""What a missing value is called."""


def coded(values: list[Any]) -> tuple[np.ndarray, list[str]]:
    """Number the values of a column.

    Args:
        values: One per row, all of one type; None is a value too, and comes last.

    Returns:
        (R,) the number of each row's value, and the values' names in the order of their numbers.
    """
    distinct = sorted({value for value in values if value is not None})
    if None in values:
        distinct.append(None)
    index = {value: i for i, value in enumerate(distinct)}
    codes_R = np.fromiter((index[value] for value in values), dtype=np.int64, count=len(values))
    return codes_R.astype(smallest(len(distinct))), [NONE if value is None else str(value) for value in distinct]
