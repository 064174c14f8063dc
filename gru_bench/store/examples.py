"""What a run kept of its test examples: read when it is asked for."""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow

from gru_bench.store.find import fetched
from gru_bench.store.schema import EXAMPLES_TABLE
from gru_bench.store.source import Source, StoredRun
from gru_bench.store.tables import parquet_table


class Examined:
    """Reads test examples by the run's id; nothing is kept.

    Args:
        source: The store.
        runs: Those that may be asked for.
        table: Name of the table; that of the examples themselves, or of what sums them up.
    """

    def __init__(self, source: Source, runs: Iterable[StoredRun], table: str = EXAMPLES_TABLE) -> None:
        self._source, self._table = source, table
        self._runs = {run.run_id: run for run in runs}

    def __call__(self, run_id: str) -> Mapping[str, np.ndarray] | None:
        """Equally long columns (N,): float64, int64 (truth is 0 or 1), or objects where a column holds text.

        None where the run kept no such table, or the file was cut off while it was written.
        """
        run = self._runs.get(run_id)
        if run is None:
            return None
        try:
            with fetched(self._source, run, (f"{self._table}.parquet",)) as files:
                table = None if files is None else parquet_table(files[0])
        except (OSError, ValueError, pyarrow.ArrowException):
            return None
        return None if table is None else {name: as_numpy(table[name]) for name in table.column_names}


def as_numpy(column: pyarrow.ChunkedArray) -> np.ndarray:
    """A column as float64, int64 or objects; a number that is missing is NaN."""
    found = column.to_numpy()
    if found.dtype == bool or np.issubdtype(found.dtype, np.integer):
        return found.astype(np.int64)
    return found.astype(np.float64) if np.issubdtype(found.dtype, np.floating) else found
