"""The database read directly against MLflow's own client, and what is read of test examples."""

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stores import artifact, copy_store, one_run, plan, same, score

import gru_bench.store.find
from gru_bench.errors import UserError
from gru_bench.report.files import SORTED_BY, write_results
from gru_bench.store.connect import connect
from gru_bench.store.read import Results, read
from gru_bench.store.schema import KIND, RUN_KIND, SWEEP_KIND
from gru_bench.store.source import Client, Database
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

EXAMPLES = {"length": [10, 20], "squared_error": [0.5, math.nan], "solved": [True, False], "text": ["a", "ü"]}


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    """Two experiments; runs that finished, failed, and are still going with a flushed curve."""
    store = copy_store(fresh_store, tmp_path)
    sweep_id = store.open_sweep("quick", plan("gru", seeds=2), {"overrides": "x"})
    one_run(store, "a", score(0.5, threads=1), sweep_id=sweep_id, job="0", task="adding")
    one_run(store, "b", score(math.inf), sweep_id=sweep_id, job="1", error=ValueError("no"))
    one_run(store, "c", score(0.25), experiment="adhoc")
    with store.run("quick", "lost", sweep_id=sweep_id, tags={}) as run:
        run.curve("valid/mse", 2, math.nan)
        run.curve("valid/mse", 1, 0.5)
    artifact(store, run.run_id, "values.parquet").unlink()
    store.client.set_terminated(run.run_id, "KILLED")
    store.client.delete_run(one_run(store, "d", score(1.0)))
    return store


def test_the_database_says_what_the_client_says(store: Store) -> None:
    client, database = Client(store.uri, connect(store.uri, create=False)), Database(store.uri)
    experiments = client.experiments()
    assert database.experiments() == experiments
    for tags in ({KIND: RUN_KIND}, {KIND: SWEEP_KIND}, {KIND: RUN_KIND, "task": "adding"}, {"task": "none"}):
        for ids in (list(experiments), list(experiments)[:1], []):
            if ids:
                assert database.runs(ids, tags) == client.runs(ids, tags)
            assert database.newest(ids, tags) == client.newest(ids, tags)
    for run in database.runs(experiments, {KIND: RUN_KIND}):
        assert repr(sorted(database.history(run.run_id).items())) == repr(sorted(client.history(run.run_id).items()))


def test_both_ways_give_the_same_results(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = read(store.uri, experiment="quick")
    assert sorted(direct.runs["status"]) == ["failed", "finished", "killed"]
    client = Client(store.uri, store.client)
    monkeypatch.setattr("gru_bench.store.read.open_source", lambda _: client)
    same(read(store.uri, experiment="quick"), direct)


def test_reading_locks_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert len(read(store.uri, experiment="quick").runs) == 3
        writer.rollback()
    with closing(Database(store.uri)._connect()) as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM runs")


def test_tables_of_another_kind(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("ALTER TABLE params RENAME COLUMN key TO name")
    with pytest.raises(UserError, match=r"mlflow.db: cannot be read \(no such column: params.key\); is it a store of"):
        read(store.uri)


@pytest.mark.parametrize("on_a_server", [False, True])
def test_examples(store: Store, monkeypatch: pytest.MonkeyPatch, on_a_server: bool) -> None:
    run_id = one_run(store, "e", lambda run: run.table("test_examples", EXAMPLES))
    results = read(store.uri, experiment="quick")
    if on_a_server:
        monkeypatch.setattr(gru_bench.store.find, "local_folder", lambda _: None)
    found = results.examples(run_id)
    assert found is not None
    assert {name: column.dtype for name, column in found.items()} == {
        "length": np.int64,
        "squared_error": np.float64,
        "solved": np.int64,
        "text": np.dtype(object),
    }
    np.testing.assert_equal(found["squared_error"], [0.5, math.nan])
    assert list(found["solved"]) == [1, 0]
    assert list(found["text"]) == ["a", "ü"]
    (bare,) = (run for run in results.runs["run_id"] if run and results.runs.set_index("run_id")["task"][run])
    assert results.examples(bare) is None
    assert results.examples("no such run") is None


def test_examples_cut_off(store: Store) -> None:
    run_id = one_run(store, "e", lambda run: run.table("test_examples", EXAMPLES))
    file = artifact(store, run_id, "test_examples.parquet")
    file.write_bytes(file.read_bytes()[:60])
    assert read(store.uri, experiment="quick").examples(run_id) is None


# what is written in few calls


def test_a_fact_keeps_its_value(store: Store) -> None:
    with store.run("quick", "f", sweep_id=None, tags={}) as run:
        run.params({"threads": 1})
        run.params({"threads": 1})
        with pytest.raises(ValueError, match="threads=2: was 1 before"):
            run.params({"threads": 2})
    assert store.client.get_run(run.run_id).data.params["threads"] == "1"


def test_a_sending_that_is_not_due_waits(store: Store) -> None:
    def points(run: Run) -> int:
        return len(store.client.get_metric_history(run.run_id, "train/loss"))

    with store.run("quick", "g", sweep_id=None, tags={}) as run:
        for step, least_s in enumerate((1000.0, 1000.0, 0.0)):
            run.curve("train/loss", step, 0.5)
            run.flush(least_s)
            assert points(run) == (1, 1, 3)[step]


# the joined table, written run by run


@pytest.mark.parametrize("change", [lambda frame: frame, lambda frame: frame.assign(error='a "quoted",\nbroken line')])
def test_results_csv_is_the_joined_table(store: Store, tmp_path: Path, change: Callable[..., object]) -> None:
    results = read(store.uri, experiment="quick")
    results = Results(runs=change(results.runs), values=results.values, curves=results.curves)  # type: ignore[arg-type]
    write_results(tmp_path / "results.csv", results)
    joined = results.joined()
    joined = joined.sort_values([column for column in SORTED_BY if column in joined], kind="stable")
    assert (tmp_path / "results.csv").read_bytes() == joined.to_csv(index=False, lineterminator="\n").encode()


def test_results_csv_has_of_a_probe_what_it_did_not_take_apart(store: Store, tmp_path: Path) -> None:
    results = read(store.uri, experiment="quick")
    run_id = results.values["run_id"].iloc[0]
    made = {"run_id": run_id, "split": "probe", "metric": "gradient_end", "value": 0.5, "unit": "1"}
    parts = [made | {"slice": slice, "slice_value": value} for slice, value in (("", ""), ("lag", "1"), ("lag", "2"))]
    values = pd.concat([results.values, pd.DataFrame(parts)], ignore_index=True)
    write_results(tmp_path / "results.csv", Results(runs=results.runs, values=values, curves=results.curves))
    written = pd.read_csv(tmp_path / "results.csv", keep_default_na=False)
    assert written[written["split"] == "probe"]["slice"].tolist() == [""]
    assert len(written[written["run_id"] == run_id]) == 1 + (results.values["run_id"] == run_id).sum()
