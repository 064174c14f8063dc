"""Timings in the store: what is written is read, the latest of each pair, by experiment and machine."""

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stores import columns, copy_store, one_run, score

from gru_bench.errors import UserError
from gru_bench.store.merge import merge
from gru_bench.store.read import read
from gru_bench.store.schema import KIND, STATUS, TIMING_COLUMNS, TIMING_FACTS, TIMING_KIND, TIMING_SAMPLES
from gru_bench.store.timings import store_timing
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

HERE, THERE = "ab12cd34", "ffffffff"
EXAMPLES = {"str": "text", "Int64": 3, "float64": 0.1, "boolean": True}


def put(store: Store, experiment: str = "timings", **facts: Any) -> str:
    time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    every = {name: EXAMPLES[fact.kind] for name, fact in TIMING_FACTS.items()}
    every |= {"status": "finished", "error": "", "machine": HERE, "first_cell": "gru", "second_cell": "lstm"} | facts
    samples = {"seconds": [0.25, 1 / 3], "arm": ["first", "second"]}
    return store_timing(store, experiment, every, samples, {}, {"python": "3.12"})


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


def test_what_is_written_is_read(store: Store) -> None:
    run_id = put(store, first_joules=None)
    found = read(store.uri, experiment="timings")
    assert found.runs.empty
    assert list(found.timings.columns) == list(TIMING_COLUMNS)
    (row,) = found.timings.to_dict("records")
    assert (row["run_id"], row["experiment"], row["ratio"]) == (run_id, "timings", 0.1)
    for name, fact in TIMING_FACTS.items():
        assert found.timings[name].dtype == pd.Series([], dtype=fact.kind).dtype, name
    assert pd.isna(row["first_joules"])
    file = next(Path(store.uri.removeprefix("sqlite:///")).parent.rglob(f"{TIMING_SAMPLES}.parquet"))
    assert columns(file) == {"seconds": [0.25, 1 / 3], "arm": ["first", "second"]}
    assert read(store.uri).timings.equals(found.timings)  # it is the latest that there is


def test_how_a_timing_ended_is_seen_in_mlflow_too(store: Store) -> None:
    ended = {}
    for status in ("finished", "failed", "unsupported"):
        run = store.client.get_run(put(store, status=status, error="no luck"))
        ended[status] = run.info.status
        assert run.data.tags[KIND] == TIMING_KIND
        assert run.data.tags[STATUS] == status
    assert ended == {"finished": "FINISHED", "failed": "FAILED", "unsupported": "FAILED"}


def test_all_that_finished_is_read_and_of_what_never_did_the_latest(store: Store) -> None:
    for ratio, steps, status, error in (
        (1.0, 3, "finished", ""), (9.0, 9, "failed", "a"), (2.0, 3, "finished", ""), (9.0, 3, "failed", "b"),
        (9.0, 9, "failed", "c"),
    ):  # fmt: skip
        put(store, ratio=ratio, steps=steps, status=status, error=error)
    put(store, ratio=3.0, torch="another")
    found = read(store.uri, experiment="timings").timings
    assert list(found.loc[found["status"] == "finished", "ratio"]) == [1.0, 2.0, 3.0]
    assert list(found.loc[found["status"] == "failed", "error"]) == ["c"]


def test_runs_come_with_the_timings_of_their_machine(store: Store) -> None:
    one_run(store, "a", score(0.5, machine=HERE, device="cpu", cell="gru"))
    put(store, "regimes")
    put(store, "regimes", machine=THERE)
    (experiment,) = read(store.uri).runs["experiment"]
    put(store, experiment, machine=THERE)  # of this experiment, wherever it was measured
    found = read(store.uri).timings
    assert list(zip(found["experiment"], found["machine"], strict=True)) == [("regimes", HERE), (experiment, THERE)]
    assert len(read(store.uri, experiment="regimes").timings) == 2
    with pytest.raises(UserError, match=f"with runs: {experiment}, regimes"):
        read(store.uri, experiment="none")


def test_stores_are_merged(fresh_store: Path, tmp_path: Path) -> None:
    parts = []
    for name, machine, ratio in (("one", HERE, 1.0), ("two", HERE, 2.0), ("three", THERE, 3.0)):
        (tmp_path / name).mkdir()
        store = copy_store(fresh_store, tmp_path / name)
        put(store, machine=machine, ratio=ratio, measured_at=f"2026-01-0{ratio:.0f}T00:00:00+00:00")
        parts.append(read(store.uri, experiment="timings"))
    found = merge([*parts[::-1], parts[0]])
    assert list(found.timings["ratio"]) == [1.0, 2.0, 3.0]
    assert list(found.timings.columns) == list(TIMING_COLUMNS)
    assert found.runs.empty
