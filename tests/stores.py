"""Stores for tests: a new SQLite store takes seconds to migrate, so one is made and copied."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
from conftest import REPOSITORY

from gru_bench.store.read import Results
from gru_bench.store.schema import CONFIG_KEY, GROUP_KEY, JOB
from gru_bench.store.write import Run, Store

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])}
"""Of another process that imports this checkout and the helpers of the tests."""


def make_template(folder: Path) -> Path:
    """An empty store in one file."""
    file = folder / "mlflow.db"
    folder.mkdir(exist_ok=True)
    Store(uri=f"sqlite:///{file}").open()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


def artifact(store: Store, run_id: str, name: str) -> Path:
    """Where a SQLite store keeps a run's artifact."""
    return Path(store.uri.removeprefix("sqlite:///")).parent / "mlartifacts" / run_id / "artifacts" / name


def columns(path: Path) -> dict[str, list[Any]]:
    """A parquet file by column."""
    found: dict[str, list[Any]] = pyarrow.parquet.ParquetFile(path).read().to_pydict()
    return found


def copy_store(template: Path, folder: Path) -> Store:
    shutil.copy(template, folder / "mlflow.db")
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}")


def tags(key: str, **more: str) -> dict[str, str]:
    return {
        CONFIG_KEY: key,
        GROUP_KEY: key.split("/")[0],
        **{JOB if name == "job" else name: value for name, value in more.items()},
    }


def plan(*cells: str, seeds: int = 1, **more: str) -> list[dict[str, str]]:
    choices = [{"cell": cell, "task": "adding", "seed": str(seed), **more} for cell in cells for seed in range(seeds)]
    return [{"job": str(number)} | choice for number, choice in enumerate(choices)]


def one_run(
    store: Store,
    key: str,
    inside: Callable[[Run], Any] | None = None,
    *,
    experiment: str = "quick",
    sweep_id: str | None = None,
    error: BaseException | None = None,
    **more: str,
) -> str:
    """A run that does what is in ``inside`` and may then fail; returns its id."""
    run_id = ""
    try:
        with store.run(experiment, key, sweep_id=sweep_id, tags=tags(key, **more)) as run:
            run_id = run.run_id
            if inside is not None:
                inside(run)
            if error is not None:
                raise error
    except BaseException as caught:
        if caught is not error:
            raise
    return run_id


def score(value: float = 0.5, **params: object) -> Callable[[Run], None]:
    def inside(run: Run) -> None:
        run.params(params)
        run.value("test", "mse", value, unit="", higher_is_better=False)

    return inside


def same(one: Results, other: Results) -> None:
    pd.testing.assert_frame_equal(one.runs, other.runs, check_exact=True)
    pd.testing.assert_frame_equal(one.values, other.values, check_exact=True)
    pd.testing.assert_frame_equal(one.curves, other.curves, check_exact=True)
