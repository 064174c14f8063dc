"""What ``bench/cells.py`` measured, in the store: whole, apart from all runs, and read by the machine of the runs."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import bench_document
import pandas as pd
import pytest
from stores import copy_store, one_run, plan, same, score

from gru_bench.errors import UserError
from gru_bench.store.bench import parse, store_figures
from gru_bench.store.read import read
from gru_bench.store.schema import BENCH_COLUMNS, BENCH_EXPERIMENT, BENCH_KIND, KIND
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

HERE = "ab12cd34"


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    """A store with one run on the machine that the made-up figures are of."""
    store = copy_store(fresh_store, tmp_path)
    one_run(store, "a", score(0.5, machine=HERE, device="cpu", cell="gru"))
    return store


def put(store: Store, **facts: Any) -> str:
    time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    return store_figures(json.dumps(bench_document.document(**facts)), uri=store.uri)


def test_what_is_read_is_what_was_measured(store: Store) -> None:
    document = bench_document.document(rows=bench_document.document()["rows"] + bench_document.red("gru", "loop"))
    run_id = store_figures(json.dumps(document), uri=store.uri)
    table = read(store.uri).bench
    assert list(table.columns) == list(BENCH_COLUMNS)
    for name, fact in BENCH_COLUMNS.items():
        assert table[name].dtype == pd.Series([], dtype=fact.kind).dtype, name
    assert len(table) == len(document["rows"])
    shared = {"run_id": run_id, "git_commit": document["commit"]}
    shared |= {name: document[name] for name in ("machine", "torch", "threads", "dtype", "device", "rounds")}
    for found, row in zip(table.to_dict("records"), document["rows"], strict=True):
        for name in BENCH_COLUMNS:
            wanted = (row | shared).get(name)
            assert pd.isna(found[name]) if wanted is None else found[name] == wanted, (name, row)


def test_what_the_store_keeps_of_it(store: Store) -> None:
    text = json.dumps(bench_document.document(dirty=True, something_new=[1, 2]))
    run_id = store_figures(text, uri=store.uri)
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[KIND] == BENCH_KIND
    assert run.data.tags["machine"] == HERE
    assert store.client.get_experiment(run.info.experiment_id).name == BENCH_EXPERIMENT
    params = run.data.params
    assert (params["peak_gflops"], params["env_cpu"], params["dirty"]) == ("100.0", "Some CPU", "True")
    assert store.client.download_artifacts(run_id, "bench.json")
    assert Path(store.client.download_artifacts(run_id, "bench.json")).read_text(encoding="utf-8") == text


def test_runs_are_read_as_if_there_were_no_figures(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("gru"), {})
    one_run(store, "b", score(0.25, machine=HERE), sweep_id=sweep_id, job="0")
    store.close_sweep(sweep_id)
    before = {key: read(store.uri, experiment=key) for key in (None, "quick")}
    put(store)
    for key, results in before.items():
        same(read(store.uri, experiment=key), results)
        assert results.bench.empty
        assert len(read(store.uri, experiment=key).bench) > 0
    with pytest.raises(UserError, match=rf"experiment={BENCH_EXPERIMENT}: has no runs .*; with runs: quick"):
        read(store.uri, experiment=BENCH_EXPERIMENT)


def test_figures_alone_are_no_runs(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    put(store)
    with pytest.raises(UserError, match="no runs yet"):
        read(store.uri)


def test_no_figures_is_a_table_with_columns(store: Store) -> None:
    assert (list(read(store.uri).bench.columns), len(read(store.uri).bench)) == (list(BENCH_COLUMNS), 0)


def test_figures_of_other_machines_are_left_out(store: Store) -> None:
    put(store, machine="elsewhere")
    assert read(store.uri).bench.empty
    one_run(store, "b", score(0.5, machine="elsewhere"))
    assert set(read(store.uri).bench["machine"]) == {"elsewhere"}


def test_the_latest_of_each_place(store: Store) -> None:
    put(store)
    put(store, threads=2)
    wanted = [put(store, torch="2.14.0"), put(store, threads=2), put(store, device="cuda")]
    put(store, machine="elsewhere")
    table = read(store.uri).bench
    assert list(dict.fromkeys(table["run_id"])) == wanted
    assert set(table.loc[table["threads"] == 1, "torch"]) == {"2.14.0", "2.13.0"}
    pd.testing.assert_frame_equal(read(store.uri).bench, table, check_exact=True)


def test_figures_that_were_not_written_to_the_end_do_not_count(store: Store) -> None:
    kept = put(store)
    killed = put(store)
    store.client.set_terminated(killed, "KILLED")
    assert set(read(store.uri).bench["run_id"]) == {kept}


def test_a_table_that_cannot_be_read_is_named_and_left_out(store: Store, tmp_path: Path) -> None:
    run_id = put(store)
    file = tmp_path / "mlartifacts" / run_id / "artifacts" / "bench.parquet"
    for damage in (lambda: file.write_bytes(file.read_bytes()[:20]), lambda: shutil.rmtree(file.parent)):
        damage()
        results = read(store.uri)
        assert results.bench.empty
        (problem,) = results.problems
        assert problem.startswith(f"benchmark {run_id}: its bench.parquet cannot be read from ")


# what is not such an object


def row(**facts: Any) -> dict[str, Any]:
    return {"rows": [bench_document.row("gru", "bptt", (35, 20, 200), **facts)]}


@pytest.mark.parametrize(
    ("facts", "start"),
    [
        ({"rows": []}, "rows: "),
        ({"rows": None}, "rows: "),
        ({"machine": ""}, "machine='': "),
        ({"threads": 0}, "threads=0: input should be greater than 0"),
        ({"threads": True}, "threads=True: "),
        ({"rounds": "15"}, "rounds='15': input should be a valid integer"),
        (row(ms=-1.0), "rows[0].ms=-1.0: input should be greater than 0"),
        (row(ms=float("nan")), "rows[0].ms=nan: "),
        (row(ratio_to_vendor=float("inf")), "rows[0].ratio_to_vendor=inf: "),
        (row(parity="passed"), "rows[0].parity='passed': input should be 'green' or 'red'"),
        (row(ms=None), "rows[0]: a row whose parity is green needs kernel and ms"),
        (row(kernel=""), "rows[0]: a row whose parity is green needs kernel and ms"),
        (row(parity="red"), "rows[0]: a row whose parity is red must not be timed"),
        (row(T=36), "rows[0]: shape 35x20x200 is not T x B x H of the row"),
        (row(shape="35x20x7x9"), "rows[0]: shape 35x20x7x9 is not T x B x H of the row"),
        (row(ratio_low=3.0, ratio_high=2.0), "rows[0]: ratio_low is above ratio_high"),
        ({"rows": row()["rows"] * 2}, "rows has gru on bptt at 35x20x200 twice"),
    ],
)
def test_a_malformed_object_is_a_line_and_stores_nothing(empty_folder: Path, facts: dict[str, Any], start: str) -> None:
    with pytest.raises(UserError) as error:
        store_figures(json.dumps(bench_document.document(**facts)))
    message = str(error.value)
    assert message.startswith(f"figures of bench/cells.py: {start}"), message
    assert "\n" not in message
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize("key", ["machine", "torch", "threads", "dtype", "device", "rounds", "rows"])
def test_a_missing_key_is_named(key: str) -> None:
    document = bench_document.document()
    del document[key]
    with pytest.raises(UserError, match=f"figures of bench/cells.py: {key}: field required"):
        parse(json.dumps(document))


@pytest.mark.parametrize("text", ["", "cell  ms\n1 2", '{"rows": [', "[]", "null"])
def test_what_is_no_json_object_is_a_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^figures of bench/cells.py: .+") as error:
        parse(text)
    assert "\n" not in str(error.value)
