"""The stored figures of ``bench/cells.py``: for each machine, the latest of each device, dtype and threads."""

import tempfile
from typing import TYPE_CHECKING

import pyarrow

from gru_bench.errors import UserError
from gru_bench.store.connect import BENCH, BENCH_TABLE, KIND, fetch, search
from gru_bench.store.tables import Rows, parquet_rows

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

PLACE = ("machine", "device", "dtype", "threads")
"""Figures of one place are replaced by later ones; those of two places are two measurements."""
FACTS = (*PLACE, "torch", "git_commit", "rounds")


def latest_figures(client: "MlflowClient", uri: str, experiment_ids: list[str], machines: set[str]) -> Rows:
    """The rows of the latest benchmark of each place on these machines, by place, then as they were measured.

    Args:
        client: From :func:`gru_bench.store.connect`.
        uri: The store's absolute URI.
        experiment_ids: Where to look.
        machines: Their ids.

    Raises:
        UserError: The table of one of them cannot be read.
    """
    if not machines - {""}:
        return []
    latest: dict[tuple[str, ...], MlflowRun] = {}
    for run in search(client, experiment_ids, f"tags.`{KIND}` = '{BENCH}' AND attributes.status = 'FINISHED'"):
        params = run.data.params
        if params.get("machine") in machines:
            latest[tuple(params.get(name, "") for name in PLACE)] = run
    return [row for _, run in sorted(latest.items()) for row in figures_of(client, uri, run)]


def figures_of(client: "MlflowClient", uri: str, run: "MlflowRun") -> Rows:
    """One benchmark's rows, each with the facts that all of them share."""
    facts = {name: run.data.params.get(name, "") for name in FACTS}
    shared = {name: int(text) if name in ("threads", "rounds") else text for name, text in facts.items()}
    name = f"{BENCH_TABLE}.parquet"
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = fetch(client, uri, run, (name,), folder)
            rows = None if files is None else parquet_rows(files[0])
    except (OSError, pyarrow.ArrowException):
        rows = None
    if rows is None:
        raise UserError(
            f"benchmark {run.info.run_id}: its {name} cannot be read from {run.info.artifact_uri}; artifacts must "
            "stay where they were written, or in mlartifacts beside the SQLite file"
        )
    return [{"run_id": run.info.run_id} | shared | row for row in rows]
