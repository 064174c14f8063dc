"""A store as it was written before facts were declared in one place, word for word, is still read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from stores import copy_store

from gru_bench.report.view import View
from gru_bench.store.read import Results, read
from gru_bench.store.schema import CURVE_COLUMNS, RUN_FACTS, VALUE_COLUMNS

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PARAMS = {
    "cell": "gru", "family": "gru", "backend": "bptt", "task": "adding", "budget": "hidden", "seed": "0",
    "hidden_size_asked": "64", "num_layers": "1", "device": "cpu", "dtype": "float32", "threads": "1",
    "machine": "f94a4a25ce68", "shared": "False", "learning_rate": "0.016", "learning_rate_trials": "5",
    "batch_size": "32", "primary_metric": "mse", "primary_unit": "squared error", "primary_higher_is_better": "False",
    "margin": "0.01", "beats_trivial_by": "0.1", "ceiling": "0.001",
    "data_source": "adding/1:[10, 25, 50]:[10, 25, 50, 75, 100]:1000", "generated": "True",
    "git_commit": "471b865f930cb1d47bbbea9ae425b1a4eae31ef5", "dirty": "False", "env_python": "3.11.7",
    "env_torch": "2.13.0+cpu", "config.seed": "0", "config.hidden_size": "64",
    "config.trainer._target_": "gru_bench.trainer.Trainer", "config.trainer.max_steps": "8",
    "config.trainer.optimizer": "adam", "config.trainer.learning_rate": "0.016", "config.trainer.patience": "null",
    "config.cell._target_": "gru_bench.cells.gru.GRU", "config.task._target_": "gru_bench.tasks.adding.Adding",
    "config.task.margin": "0.01", "config.task.beats_trivial_by": "0.1", "config.task.ceiling": "0.001",
    "config.data": "{}", "data_fingerprint": "ead81df4ca7cd25d",
    "notes": "lengths 75, 100 were never trained: they test extrapolation", "hidden_size": "64",
    "num_parameters": "12993", "parity": "passed", "parity_output_error": "1.2507485826058952e-07",
    "parity_gradient_error": "5.193159046267206e-07", "kernel": "native AVX-512", "stopped": "max_steps=8",
}  # fmt: skip
VALUES = {
    "split": ["test", "test", "test", "valid", "train"],
    "metric": ["trivial_mse", "mse", "mse", "mse", "steps"],
    "slice": ["", "", "length", "", ""],
    "slice_value": ["", "", "100", "", ""],
    "value": [0.1694832593202591, 0.5, 0.75, 2.3984499914697928, 8.0],
    "unit": ["squared error"] * 4 + ["steps"],
    "higher_is_better": [False, False, False, False, None],
}
CURVES = {"metric": ["train/loss", "valid/mse"], "step": [4, 4], "value": [0.935698390007019, 2.3984499914697928]}
PLAN = [
    {"job": str(job), "cell": "gru", "backend": "bptt", "task": "adding", "budget": "hidden", "seed": str(job)}
    | {"hidden_size": "64", "trainer.optimizer": "adam", "task.batch_size": "32", "trainer.learning_rate": "0.016"}
    for job in range(2)
]


def write_run(store: Any, experiment_id: str, sweep: str, params: Mapping[str, str], folder: Path) -> str:
    """One run with MLflow's own client."""
    tags = {name: params[name] for name in ("cell", "task", "backend", "budget", "seed", "family")}
    tags |= {"hidden_size": params["hidden_size"], "num_parameters": params["num_parameters"]}
    tags |= {"gru_bench.job": "0", "gru_bench.kind": "run", "gru_bench.status": "finished"}
    tags |= {"gru_bench.sweep": sweep, "mlflow.parentRunId": sweep}
    tags |= {"gru_bench.config_key": "352fb5c33dc42857", "gru_bench.group_key": "9c8f4c531292414f"}
    run_id: str = store.client.create_run(experiment_id, tags=tags, run_name="gru adding seed 0").info.run_id
    for name, text in params.items():
        store.client.log_param(run_id, name, text)
    for name, columns in {"values": VALUES, "curves": CURVES}.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"{name}.parquet")
        store.client.log_artifact(run_id, str(folder / f"{name}.parquet"))
    store.client.set_terminated(run_id, "FINISHED")
    return run_id


@pytest.fixture
def old(fresh_store: Path, tmp_path: Path) -> tuple[Results, str]:
    """What is read of a sweep of two jobs, one of which ran; and that run's id."""
    store = copy_store(fresh_store, tmp_path)
    location = (tmp_path / "mlartifacts").as_uri()
    experiment_id = store.client.create_experiment("adhoc", artifact_location=location)
    sweep = store.client.create_run(experiment_id, tags={"gru_bench.kind": "sweep"}, run_name="adhoc sweep").info.run_id
    store.client.log_text(sweep, json.dumps(PLAN), "planned.json")
    store.client.log_param(sweep, "overrides", "cell=gru task=adding seed=0,1")
    (tmp_path / "tables").mkdir()
    run_id = write_run(store, experiment_id, sweep, PARAMS, tmp_path / "tables")
    store.client.set_terminated(sweep, "FAILED")
    return read(store.uri), run_id


def only(runs: pd.DataFrame, status: str) -> "pd.Series[Any]":
    """The one run with that status."""
    (position,) = (runs["status"] == status).to_numpy().nonzero()[0]
    return runs.iloc[position]


def test_all_of_it_is_there(old: tuple[Results, str]) -> None:
    results, run_id = old
    runs = results.runs
    assert sorted(runs["status"]) == ["finished", "missing"]
    assert list(runs.columns) == [*RUN_FACTS, "env_python", "env_torch"]
    row = only(runs, "finished")
    assert row["run_id"] == run_id
    for name, text in PARAMS.items():
        if not name.startswith("config."):
            fact = RUN_FACTS.get(name)
            number = fact is not None and fact.kind in ("Int64", "float64")
            assert row[name] == float(text) if number else str(row[name]) == text, name
    assert (row["config_key"], row["group_key"], row["job"]) == ("352fb5c33dc42857", "9c8f4c531292414f", 0)
    found = results.values.drop(columns="run_id")
    assert list(results.values.columns) == list(VALUE_COLUMNS)
    assert sorted(found["value"]) == sorted(VALUES["value"])
    assert list(found["split"]) == ["train", "valid", "test", "test", "test"]
    assert list(results.curves.columns) == list(CURVE_COLUMNS)
    assert list(results.curves["value"]) == CURVES["value"]


def test_what_was_not_known_then_is_missing(old: tuple[Results, str]) -> None:
    row = only(old[0].runs, "finished")
    for name in ("learning_rate_from", "learning_rate_extra", "tuning_key", "optimizer", "schedule", "stopping"):
        assert row[name] == ""
    assert row["test_selection"] == ""
    assert pd.isna(row["learning_rate_trial_seeds"])


def test_a_plan_of_then_is_a_row(old: tuple[Results, str]) -> None:
    row = only(old[0].runs, "missing")
    assert (row["cell"], row["seed"], row["hidden_size_asked"], row["batch_size"]) == ("gru", 1, 64, 32)
    assert (row["learning_rate"], row["job"], row["error"]) == (0.016, 1, "planned, but not run")
    assert pd.isna(row["hidden_size"])


def test_the_report_groups_it(old: tuple[Results, str]) -> None:
    (task,) = View(old[0]).tasks
    assert (task.metric, task.beats_trivial_by, task.ceiling) == ("mse", 0.1, 0.001)
    assert task.trivial_value == 0.1694832593202591
    (group,) = task.groups
    assert (group.label, len(group.runs), group.num_unfinished) == ("gru", 2, 1)
