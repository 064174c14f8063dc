"""Which classes were taken for which: a small table for a run, however many examples the test split has."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def confusion(labels_N: np.ndarray, predicted_N: np.ndarray, classes: Sequence[str]) -> dict[str, list[Any]]:
    """Columns ``label``, ``prediction`` (names of classes) and ``count``: a row for each pair that occurs.

    Args:
        labels_N: Ids of the true classes.
        predicted_N: Ids of those that were predicted.
        classes: Names of the C classes.
    """
    C = len(classes)
    pairs, counts = np.unique(labels_N.astype(np.int64) * C + predicted_N.astype(np.int64), return_counts=True)
    return {
        "label": [classes[pair // C] for pair in pairs.tolist()],
        "prediction": [classes[pair % C] for pair in pairs.tolist()],
        "count": counts.tolist(),
    }
