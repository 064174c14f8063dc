"""What is measured on a finished run afterwards: found by the run's id, and added to what the run has."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from gru_bench.errors import UserError
from gru_bench.kept.folder import WEIGHTS_FILE
from gru_bench.store.connect import one_line, without_password
from gru_bench.store.find import fetched, local_folder, run_status
from gru_bench.store.outbox import Outbox, send_now
from gru_bench.store.schema import CONFIG_FILE, KIND, MODEL_FILE, MODEL_FOLDER, RUN_KIND, VALUES_FILE
from gru_bench.store.signals import deferred_signals
from gru_bench.store.source import Source, StoredRun
from gru_bench.store.tables import VALUES_SCHEMA, parquet_table, write_parquet

NAMED = ("split", "metric", "slice", "slice_value")
"""Columns that name a value: of one name there is one value."""
SHOWN = 5
"""Runs that a message names."""


@dataclass(frozen=True)
class Value:
    """One measured number; see :meth:`gru_bench.store.write.Run.value`."""

    split: str
    metric: str
    value: float
    unit: str
    slice: str = ""
    slice_value: str = ""


def finished_run(source: Source, run_id: str) -> StoredRun:
    """A run that has finished.

    Raises:
        UserError: There is no such run (names the latest ones), or it has not finished.
    """
    names = source.experiments()
    runs = source.runs(names, {KIND: RUN_KIND})
    found = next((run for run in runs if run.run_id == run_id), None)
    if found is None:
        latest = [f"{run.run_id} ({run_name(run)})" for run in reversed(runs) if run_status(run) == "finished"]
        known = ", ".join(latest[:SHOWN]) or "none yet; `gru-bench train` writes some"
        raise UserError(f"run={run_id}: no such run in {without_password(source.uri)}; the latest are: {known}")
    if run_status(found) != "finished":
        raise UserError(f"run={run_id}: is {run_status(found)}; only a finished run has all that a probe needs")
    return found


def run_name(run: StoredRun) -> str:
    """As the command line calls it."""
    return " ".join(f"{run.tags.get(name, '?')}" for name in ("cell", "task")) + f" seed {run.tags.get('seed', '?')}"


@contextmanager
def kept_folder(source: Source, run: StoredRun) -> Iterator[Path]:
    """The folder of a run's kept model on this machine, for the time of the block.

    Raises:
        UserError: The model was not kept, or by an older version, which did not keep all that this needs.
    """
    with fetched(source, run, (MODEL_FOLDER,)) as folders:
        if folders is not None:
            yield folders[0]
            return
    with fetched(source, run, (MODEL_FILE,)) as older:
        kept = "was kept by an older version, for gru-bench probe alone" if older else "was not kept"
    raise UserError(f"run={run.run_id}: its model {kept} ({run_name(run)}); train it again with save=best")


@contextmanager
def kept_model(source: Source, run: StoredRun) -> Iterator[tuple[Path, Path]]:
    """Paths of a run's config and of its model's weights, those of older versions too, for the time of the block.

    Raises:
        UserError: The model was not kept.
    """
    with fetched(source, run, (CONFIG_FILE, MODEL_FILE)) as older:
        if older is not None:
            yield older[0], older[1]
            return
    with kept_folder(source, run) as folder:
        yield folder / CONFIG_FILE, folder / WEIGHTS_FILE


def add(source: Source, run: StoredRun, values: Sequence[Value], tables: Mapping[str, Mapping[str, list[Any]]]) -> None:
    """Add values and tables to a finished run. A metric that it has is replaced as a whole; nothing else changes.

    The whole file of values is replaced in one step, so that a process that dies leaves either the old or the new.

    Args:
        source: The store.
        run: Finished.
        values: Numbers.
        tables: Equally long columns by the name of the artifact, without ``.parquet``.

    Raises:
        UserError: The run's values cannot be read, or the store cannot be written.
    """
    outbox = Outbox(run.run_id, RUN_KIND)
    for value in values:
        if not value.slice:
            outbox.point(f"{value.split}/{value.metric}", 0, value.value)
    with deferred_signals(), fetched(source, run, (VALUES_FILE,)) as files:
        if files is None:
            raise UserError(f"run={run.run_id}: its {VALUES_FILE} cannot be found at {run.artifact_uri}")
        together = merged(parquet_table(files[0], VALUES_SCHEMA), values)
        try:
            if local_folder(run.artifact_uri) is None:
                outbox.file(VALUES_FILE, lambda path: pyarrow.parquet.write_table(together, path))
                for name, columns in tables.items():
                    outbox.file(f"{name}.parquet", partial(write_parquet, columns=dict(columns)))
            else:  # beside the files that were found: the store may have been moved since MLflow noted their place
                for name, columns in tables.items():
                    write_parquet(files[0].with_name(f"{name}.parquet"), dict(columns))
                replace(files[0], together)
            send_now(source.client, run.run_id, outbox.take())
        except OSError as error:
            raise UserError(f"run={run.run_id}: cannot be added to ({one_line(error)})") from error


def note_kept(source: Source, run: StoredRun, kept: Iterable[str]) -> None:
    """Write down what a run has kept, after something was added to it."""
    outbox = Outbox(run.run_id, RUN_KIND)
    outbox.facts({"kept": " ".join(sorted(kept))})
    with deferred_signals():
        send_now(source.client, run.run_id, outbox.take())


def merged(old: pyarrow.Table, values: Sequence[Value]) -> pyarrow.Table:
    """The old rows without those of a metric that is measured anew, and the new ones after them.

    All old rows of such a metric go: measured with other settings it has other slices, and two measurements in one
    curve would be taken for one.
    """
    new = {(value.split, value.metric, value.slice, value.slice_value): value for value in values}
    anew = {(value.split, value.metric) for value in values}
    kept = [row for row in old.to_pylist() if (row["split"], row["metric"]) not in anew]
    rows: list[dict[str, Any]] = [
        dict(zip(NAMED, name, strict=True)) | {"value": value.value, "unit": value.unit, "higher_is_better": None}
        for name, value in new.items()
    ]
    return pyarrow.Table.from_pylist(kept + rows, VALUES_SCHEMA)


def replace(path: Path, table: pyarrow.Table) -> None:
    """Write a parquet file in the place of another, which stays until the new one is whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}", suffix=path.suffix)
    os.close(handle)
    try:
        pyarrow.parquet.write_table(table, name)
        Path(name).chmod(path.stat().st_mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
