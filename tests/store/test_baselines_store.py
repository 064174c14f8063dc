"""Baselines in the store: what is written is read, the latest of each, by the fingerprint of the data."""

import time
from pathlib import Path
from typing import Any

import pytest
from stores import copy_store, one_run, score

from gru_bench.store.baselines import baseline_rows, baselines_of, store_baseline
from gru_bench.store.merge import merge
from gru_bench.store.read import read
from gru_bench.store.schema import BASELINE_FACTS
from gru_bench.store.source import open_source
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

EXAMPLES = {"str": "text", "Int64": 3, "float64": 0.1, "boolean": True}


def put(store: Store, accuracy: float, **facts: Any) -> str:
    time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    every = {name: EXAMPLES[fact.kind] for name, fact in BASELINE_FACTS.items()} | {"data_fingerprint": "data"}
    scores = {"valid": {"accuracy": 1 / 3}, "test": {"accuracy": accuracy}}
    units = {"accuracy": ("share of texts", True)}
    return store_baseline(store, every | facts, scores, units, {"correct": [0, 1], "nats": [0.1, 1 / 3]})


def found_in(store: Store, *fingerprints: str) -> list[tuple[str, str, float]]:
    source = open_source(store.uri)
    rows = baseline_rows(source, baselines_of(source, source.experiments(), fingerprints))
    return [(row["run_id"], row["split"], row["value"]) for row in rows]


def test_the_latest_of_each_recipe_on_the_data_is_read(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    put(store, 0.5)
    later, weighted = put(store, 0.6), put(store, 0.7, recipe="weighted")
    put(store, 0.9, data_fingerprint="other")
    assert found_in(store, "data", "") == [
        (later, "valid", 1 / 3),
        (later, "test", 0.6),
        (weighted, "valid", 1 / 3),
        (weighted, "test", 0.7),
    ]
    assert found_in(store, "") == []
    assert found_in(store) == []


def test_a_report_finds_it_by_the_data_of_its_runs_in_whichever_store(fresh_store: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = copy_store(fresh_store, tmp_path / "one"), copy_store(fresh_store, tmp_path / "two")
    for number, store in enumerate((one, two)):
        one_run(store, f"key{number}/0", score(0.5, data_fingerprint="data", machine=f"m{number}"))
    bag = put(two, 0.6)
    assert read(one.uri).baselines.empty
    found = read(two.uri, experiment="quick")
    assert len(found.runs) == 1
    assert set(found.baselines["run_id"]) == {bag}
    both = merge([read(one.uri), found])
    assert both.baselines.equals(found.baselines)
    examples = both.examples(bag)
    assert examples is not None
    assert examples["nats"].tolist() == [0.1, 1 / 3]
    assert len(merge([found, found]).baselines) == 2
