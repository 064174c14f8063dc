"""What the store holds is declared once: what is declared can be written and read, and nothing else can."""

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY
from frames import make_results, run_row, value_row
from stores import copy_store, one_run

from gru_bench.errors import UserError
from gru_bench.report.view import View
from gru_bench.run.facts import part_name
from gru_bench.store import schema
from gru_bench.store.bench import Figures, Row
from gru_bench.store.fact import INTEGER, NUMBER, TEXT, TRUTH, Fact, by_name
from gru_bench.store.read import read
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

TABLES = {
    "runs": schema.RUN_FACTS,
    "sweep": schema.SWEEP_FACTS,
    "values": schema.VALUE_COLUMNS,
    "curves": schema.CURVE_COLUMNS,
    "bench": schema.BENCH_FACTS | schema.BENCH_COLUMNS,
}
ALL = [pytest.param(fact, id=f"{table}.{fact.name}") for table, facts in TABLES.items() for fact in facts.values()]


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


@pytest.mark.parametrize("fact", ALL)
def test_every_fact_has_a_meaning_and_every_number_a_unit(fact: Fact) -> None:
    assert len(fact.meaning) >= 3
    assert fact.kind in (TEXT, INTEGER, NUMBER, TRUTH, "int64")
    assert bool(fact.unit) == (fact.kind in (INTEGER, NUMBER, "int64"))
    if fact.example is not None:
        python = {TEXT: str, INTEGER: int, NUMBER: float, TRUTH: bool}[fact.kind]
        assert type(fact.example) is python


def test_names_that_must_not_collide() -> None:
    tags = [fact.tag for fact in schema.RUN_FACTS.values() if fact.tag]
    configs = [fact.config for fact in schema.RUN_FACTS.values() if fact.config]
    assert len(tags) == len(set(tags))
    assert len(configs) == len(set(configs))
    assert not any(name.startswith(schema.FREE_FAMILIES) for name in schema.RUN_FACTS)
    with pytest.raises(ValueError, match="declared twice"):
        by_name(Fact("a", TEXT, "one"), Fact("a", TEXT, "two"))


@pytest.mark.parametrize(
    ("fact", "given", "found"),
    [
        (Fact("new", NUMBER, "a new one", "s", example=0.5), 0.25, 0.25),
        (Fact("new", INTEGER, "a new one", "rows", tag="new"), 3, 3),
        (Fact("new", INTEGER, "a tag alone", "1", tag="gru_bench.new", param=False), 3, 3),
        (Fact("new", TEXT, "a new one"), "word", "word"),
        (Fact("new", TRUTH, "a new one"), False, False),
    ],
)
def test_declaring_a_fact_is_all_that_it_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch, fact: Fact, given: object, found: object
) -> None:
    monkeypatch.setitem(schema.RUN_FACTS, "new", fact)
    run_id = one_run(store, "a", lambda run: run.params({"new": given}))
    one_run(store, "b")
    data = store.client.get_run(run_id).data
    assert data.tags.get(fact.tag) == (str(given) if fact.tag else None)
    assert data.params.get("new") == (str(given) if fact.param else None)
    results = read(store.uri)
    assert results.runs["new"].dtype == pd.Series([], dtype=fact.kind).dtype
    by_id = results.runs.set_index("run_id")["new"]
    assert by_id[run_id] == found
    other = by_id.drop(run_id).iloc[0]
    assert other == "" if fact.kind == TEXT else pd.isna(other)  # a run without it is read
    assert found in View(results).runs["new"].tolist()
    made = make_results([run_row("gru", 0), run_row("gru", 1, new=given)], [])
    assert made.runs["new"].iloc[1] == found
    if fact.example is not None:
        assert made.runs["new"].iloc[0] == fact.example


@pytest.mark.parametrize("name", ["new", "cells", "configx", "run_id", "experiment", "status", "settings", "overrides"])
def test_what_is_not_declared_as_written_is_refused(store: Store, name: str) -> None:
    def inside(run: Run) -> None:
        with pytest.raises(ValueError, match=f"^{name}: not declared .* gru_bench/store/schema.py"):
            run.params({"cell": "gru", name: "x"})
        assert not store.client.get_run(run.run_id).data.params

    one_run(store, "a", inside)


def test_a_value_of_another_kind_is_refused(store: Store) -> None:
    def inside(run: Run) -> None:
        with pytest.raises(UserError, match=r"threads='auto' is not what that column holds \(Int64\)"):
            run.params({"cell": "gru", "threads": "auto"})
        assert not store.client.get_run(run.run_id).data.params

    one_run(store, "a", inside)


def test_a_sweep_has_facts_of_its_own(store: Store) -> None:
    with pytest.raises(ValueError, match=r"^cell: not declared in gru_bench/store/schema.py as written by a sweep"):
        store.open_sweep("quick", [], {"overrides": "", "cell": "gru"})
    assert store.client.get_experiment_by_name("quick") is None


def test_what_a_benchmark_stores_has_every_column() -> None:
    shared = {"git_commit" if name == "commit" else name for name in Figures.model_fields} - {"rows", "environment"}
    assert shared == set(schema.BENCH_FACTS)
    assert {"run_id", *schema.BENCH_FACTS, *Row.model_fields} >= set(schema.BENCH_COLUMNS)


def test_the_size_of_a_part_is_a_value_like_others(store: Store) -> None:
    def inside(run: Run) -> None:
        for length in (100, 9):
            part = {"slice": "length", "slice_value": str(length)}
            run.value("test", "mse", 1 / length, unit="squared error", higher_is_better=False, **part)
            run.value("test", "n", 10 * length, unit="examples", higher_is_better=None, **part)
        run.value("test", "mse", 0.5, unit="squared error", higher_is_better=False)

    run_id = one_run(store, "a", inside)
    assert (schema.PART_SIZE, schema.PART_SIZE_UNIT) == ("n", "examples")
    values = read(store.uri).values
    rows = list(values[["metric", "slice_value", "value", "unit"]].itertuples(index=False, name=None))
    assert rows == [
        ("mse", "", 0.5, "squared error"),
        ("mse", "9", 1 / 9, "squared error"),
        ("mse", "100", 1 / 100, "squared error"),
        ("n", "9", 90.0, "examples"),
        ("n", "100", 1000.0, "examples"),
    ]
    assert values["higher_is_better"].isna().tolist() == [False, False, False, True, True]
    assert "test/n" not in store.client.get_run(run_id).data.metrics  # of parts MLflow keeps no metric
    made = make_results(
        [run_row("gru", 0)],
        [value_row("adding-gru-0", "test", "n", 90, unit="examples", higher_is_better=None, slice="length")],
    )
    assert made.values["higher_is_better"].isna().all()


TAG_NAMES = "|".join(fact.tag.rpartition(".")[2] for fact in schema.RUN_FACTS.values() if "." in fact.tag)
TAG = re.compile(rf"""["'`](?:gru_bench|mlflow)\.(?:{TAG_NAMES}|kind|status|parentRunId)["'`]""")


@pytest.mark.parametrize(
    "path",
    [path for path in sorted((REPOSITORY / "gru_bench").rglob("*.py")) if path.name != "schema.py"],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_tags_are_named_in_one_place(path: Path) -> None:
    assert not TAG.findall(path.read_text(encoding="utf-8"))
    assert TAG.findall((REPOSITORY / "gru_bench" / "store" / "schema.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("choice", "made", "name"),
    [
        ("adam", "torch.optim.Adam", "adam"),
        ("adam_keras", "torch.optim.Adam", "adam_keras"),
        ("adam", "torch.optim.SGD", "sgd"),
        ("adamw", "torch.optim.Adam", "adam"),
        ("", "torch.optim.RMSprop", "rmsprop"),
    ],
)
def test_an_optimizer_given_by_class_is_named_by_its_class(choice: str, made: str, name: str) -> None:
    node = {"trainer": {"optimizer": {"_target_": made, "_partial_": True}}}
    assert part_name("optimizer", node, {"optimizer": choice} if choice else {}) == name
