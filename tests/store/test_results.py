import math
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stores import copy_store, one_run, plan, same, score

import gru_bench.store.find
from gru_bench.errors import Unsupported, UserError
from gru_bench.store.read import read
from gru_bench.store.schema import CURVE_COLUMNS, JOB, RUN_FACTS, VALUE_COLUMNS
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

FACTS: dict[str, object] = {
    "cell": "gru_article",
    "family": "gru",
    "backend": "loop",
    "task": "adding",
    "budget": "hidden",
    "seed": 3,
    "kernel": "ATen loop",
    "hidden_size_asked": 64,
    "hidden_size": 61,
    "num_layers": 2,
    "num_parameters": 12345,
    "device": "cpu",
    "machine": "0a1b",
    "threads": 1,
    "shared": True,
    "dtype": "float32",
    "learning_rate": 3e-05,
    "batch_size": 32,
    "git_commit": "",
    "dirty": "",
    "primary_metric": "mse",
    "primary_unit": "",
    "primary_higher_is_better": False,
    "margin": 0.01,
    "beats_trivial_by": 0.1,
    "ceiling": 0.001,
    "data_source": "adding/1",
    "data_fingerprint": "ffff",
    "generated": True,
    "env_torch": "2.13.0",
    "env_cores": 2,
    "config.trainer.max_steps": 500,
}
AWKWARD = [0.1, -0.0, 1 / 3, 1e-300, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 2**53 + 1]


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


def only(frame: pd.DataFrame) -> dict[str, Any]:
    (row,) = frame.to_dict("records")
    return {str(name): value for name, value in row.items()}


# what is read is what was written


def test_facts_have_their_types(store: Store) -> None:
    run_id = one_run(store, "group/3", lambda run: run.params(FACTS), experiment="adhoc", seed="3", cell="gru_article")
    frame = read(store.uri).runs
    assert list(frame.columns) == [*RUN_FACTS, "env_cores", "env_torch"]
    for name, fact in RUN_FACTS.items():
        assert frame[name].dtype == pd.Series([], dtype=fact.kind).dtype, name
    row = only(frame)
    expected = FACTS | {
        "run_id": run_id,
        "sweep": "",
        "experiment": "adhoc",
        "config_key": "group/3",
        "group_key": "group",
        "status": "finished",
        "error": "",
        "env_cores": "2",
    }
    for name, value in expected.items():
        if name not in ("dirty", "config.trainer.max_steps"):
            assert row[name] == value, name
            assert isinstance(row[name], bool) == isinstance(value, bool), name
    assert frame[["dirty", "job"]].isna().all(axis=None)
    assert row["stopped"] == ""
    assert math.isnan(row["parity_output_error"])


def test_a_fact_of_another_kind_is_named(store: Store) -> None:
    run_id = one_run(store, "a", lambda run: store.client.log_param(run.run_id, "threads", "auto"))
    with pytest.raises(UserError, match=rf"run {run_id}: threads='auto' is not what that column holds"):
        read(store.uri)


def test_values_and_curves_are_exact(store: Store) -> None:
    def inside(run: Run) -> None:
        for position, value in enumerate(AWKWARD):
            run.value("test", "mse", value, unit="u", higher_is_better=None, slice="length", slice_value=f"{position}0")
            run.curve("train/loss", 10 * position, value)
        run.value("speed", "train_tokens_per_s", 1e6, unit="tokens/s", higher_is_better=True)
        run.value("test", "mse", 0.1, unit="u", higher_is_better=False)
        run.value("valid", "mse", 0.2, unit="u", higher_is_better=False)

    run_id = one_run(store, "a", inside)
    tables = read(store.uri)
    assert {name: str(kind) for name, kind in tables.curves.dtypes.items()}["step"] == "int64"
    assert list(tables.values.columns) == list(VALUE_COLUMNS)
    assert list(tables.curves.columns) == list(CURVE_COLUMNS)
    curve = tables.curves
    assert (set(curve["run_id"]), set(curve["metric"])) == ({run_id}, {"train/loss"})
    assert list(curve["step"]) == [10 * position for position in range(len(AWKWARD))]
    slices = tables.values[tables.values["slice"] == "length"]
    # 90 comes after 10, not after 9
    assert list(slices["slice_value"]) == [f"{position}0" for position in range(len(AWKWARD))]
    for read_back in (list(curve["value"]), list(slices["value"])):
        assert [value.hex() for value in read_back] == [float(value).hex() for value in AWKWARD]
    assert slices["higher_is_better"].isna().all()
    whole = tables.values[tables.values["slice"] == ""]
    assert list(whole["split"]) == ["valid", "test", "speed"]
    assert list(whole["higher_is_better"]) == [False, False, True]
    assert list(whole["unit"]) == ["u", "u", "tokens/s"]


def test_reading_twice_gives_the_same(store: Store) -> None:
    for key in "cab":
        one_run(store, key, score(ord(key), cell=key, seed=ord(key)))
    same(read(store.uri), read(store.uri))


def test_runs_are_ordered_by_what_they_are(store: Store) -> None:
    wanted = [("adding", "rnn", "rnn", 0), ("adding", "lstm", "lstm", 0), ("adding", "gru", "gru", 2)]
    wanted += [("adding", "gru", "gru", 10), ("adding", "gru", "gru_article", 0), ("copy_memory", "rnn", "rnn", 0)]
    for number in (3, 5, 0, 4, 1, 2):
        task, family, cell, seed = wanted[number]
        one_run(store, str(number), score(task=task, family=family, cell=cell, seed=seed))
    frame = read(store.uri).runs
    assert list(zip(frame["task"], frame["family"], frame["cell"], frame["seed"], strict=True)) == wanted


def test_joined_keeps_runs_without_values(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("rnn", "lstm", "gru"), {})
    one_run(store, "0", score(0.25), sweep_id=sweep_id, job="0", cell="rnn")
    one_run(store, "1", sweep_id=sweep_id, job="1", cell="lstm", error=Unsupported("not here"))
    store.close_sweep(sweep_id)
    tables = read(store.uri)
    joined = tables.joined()
    assert list(joined.columns) == list(tables.runs.columns) + list(VALUE_COLUMNS)[1:]
    assert joined["metric"].isna().tolist() == [False, True, True]
    assert list(joined["status"]) == ["finished", "unsupported", "missing"]
    assert list(joined["error"]) == ["", "not here", "planned, but not run"]
    assert joined["value"].dropna().tolist() == [0.25]


# which runs count


@pytest.mark.parametrize(
    ("endings", "counts"),
    [
        ((None, None), 1),
        ((None, ValueError("x")), 0),
        ((ValueError("x"), None), 1),
        ((None, None, KeyboardInterrupt()), 1),
        ((ValueError("x"), ValueError("y")), 1),
    ],
)
def test_one_row_a_key(store: Store, endings: tuple[BaseException | None, ...], counts: int) -> None:
    run_ids = []
    for number, error in enumerate(endings):
        run_ids.append(one_run(store, "same", score(number), error=error))
        time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    one_run(store, "other", score(100))
    tables = read(store.uri, experiment="quick")
    assert len(tables.runs) == 2
    kept = tables.runs[tables.runs["config_key"] == "same"]
    assert only(kept)["run_id"] == run_ids[counts]
    assert sorted(tables.values["value"]) == [counts, 100]


def test_two_fingerprints_under_one_key(store: Store) -> None:
    one_run(store, "same", score(data_fingerprint="aaaa"))
    one_run(store, "other", score(data_fingerprint="bbbb"))
    one_run(store, "same", score(), error=ValueError("before the data was loaded"))
    read(store.uri)
    one_run(store, "same", score(data_fingerprint="bbbb"), error=ValueError("x"))
    with pytest.raises(UserError, match=r"config_key=same: .* saw aaaa, run .* saw bbbb"):
        read(store.uri)


def test_planned_jobs_that_left_no_run(store: Store) -> None:
    planned = plan("rnn", "gru_article", seeds=2, backend="loop", budget="hidden", hidden_size="32", threads="auto")
    sweep_id = store.open_sweep("quick", planned, {})
    one_run(store, "0", score(family="rnn"), sweep_id=sweep_id, job="0", cell="rnn", task="adding", seed="0")
    running = read(store.uri).runs
    assert set(running["error"]) == {"", "planned, but not run yet"}
    counts = store.close_sweep(sweep_id)
    frame = read(store.uri).runs
    missing = frame[frame["status"] == "missing"]
    assert len(missing) == counts["missing"] == 3
    assert set(missing["run_id"]) == {""}
    assert set(missing["sweep"]) == {sweep_id}
    assert list(missing["job"]) == [1, 2, 3]
    assert list(missing["cell"]) == ["rnn", "gru_article", "gru_article"]
    assert list(missing["family"]) == ["rnn", "", ""]
    assert list(missing["seed"]) == [1, 0, 1]
    assert list(missing["hidden_size_asked"]) == [32] * 3
    assert missing["threads"].isna().all()
    assert set(missing["error"]) == {"planned, but not run"}


def test_a_later_sweep_fills_the_gaps(store: Store) -> None:
    first = store.open_sweep("quick", plan("rnn", "lstm", "gru"), {})
    one_run(store, "rnn", sweep_id=first, job="0", cell="rnn")
    store.close_sweep(first)
    time.sleep(0.002)
    second = store.open_sweep("quick", plan("lstm", "gru"), {})
    one_run(store, "lstm", sweep_id=second, job="0", cell="lstm")
    store.close_sweep(second)
    frame = read(store.uri, experiment="quick").runs
    assert list(zip(frame["cell"], frame["status"], strict=True)) == [
        ("rnn", "finished"),
        ("lstm", "finished"),
        ("gru", "missing"),
    ]
    assert frame["sweep"].iloc[2] == second
    alone = read(store.uri, sweep=first).runs
    assert list(alone["status"]) == ["finished", "missing", "missing"]


# what to read


def test_by_name_by_sweep_and_the_latest(store: Store) -> None:
    one_run(store, "single", score(1.0), experiment="adhoc")
    assert list(read(store.uri).values["value"]) == [1.0]  # no sweep yet
    sweeps = []
    for number, experiment in enumerate(("quick", "quick", "article"), start=2):
        time.sleep(0.002)
        sweeps.append(store.open_sweep(experiment, plan("gru"), {}))
        one_run(store, str(number), score(number), experiment=experiment, sweep_id=sweeps[-1], job="0")
        store.close_sweep(sweeps[-1])
    one_run(store, "later", score(9.0), experiment="adhoc")

    def values(**select: str) -> list[float]:
        return sorted(read(store.uri, **select).values["value"])

    assert values() == [4]
    assert values(experiment="quick") == [2, 3]
    assert values(sweep=sweeps[0]) == [2]
    assert values(experiment="adhoc") == [1, 9]
    with pytest.raises(UserError, match=f"sweep={sweeps[0]} belongs to experiment=quick, not article"):
        values(experiment="article", sweep=sweeps[0])
    with pytest.raises(UserError, match=rf"sweep=x: no such sweep .*: {sweeps[2]} \(article\), {sweeps[1]}"):
        values(sweep="x")
    with pytest.raises(UserError, match=r"experiment=quik: no such experiment .*; with runs: adhoc, article, quick"):
        values(experiment="quik")
    store.client.create_experiment("bare")
    with pytest.raises(UserError, match="experiment=bare: has no runs"):
        values(experiment="bare")


def test_runs_of_others_are_not_ours(store: Store) -> None:
    one_run(store, "ours", score(1.0))
    store.client.create_run(store.experiment_id("quick"), run_name="somebody else's")
    assert list(read(store.uri, experiment="quick").values["value"]) == [1.0]


def test_deleted_runs_are_gone(store: Store) -> None:
    one_run(store, "kept", score(1.0))
    store.client.delete_run(one_run(store, "deleted", score(2.0)))
    assert list(read(store.uri).values["value"]) == [1.0]


def test_an_empty_store(store: Store) -> None:
    with pytest.raises(UserError, match="no runs yet; `gru-bench train` writes some"):
        read(store.uri)
    with pytest.raises(UserError, match="with runs: none yet"):
        read(store.uri, experiment="quick")


def test_reading_makes_nothing(empty_folder: Path) -> None:
    with pytest.raises(UserError, match=f"sqlite:///{empty_folder}/mlflow.db: there is no such file"):
        read()
    with pytest.raises(UserError, match="no such file"):
        read("sqlite:///nowhere/a.db")
    assert not list(empty_folder.iterdir())
    with closing(sqlite3.connect("mlflow.db")) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(UserError, match="the file holds no runs"):
        read()
    (empty_folder / "text.db").write_text("not a database, but long enough to have a header of its own")
    with pytest.raises(UserError, match="cannot be read: file is not a database"):
        read("sqlite:///text.db")


# runs that wrote no tables


@pytest.fixture
def interrupted(store: Store) -> Iterator[tuple[str, str]]:
    """A sweep with one run that has been flushed once and is still going."""
    sweep_id = store.open_sweep("quick", plan("gru"), {})
    with ExitStack() as stack:
        run = stack.enter_context(store.run("quick", "a", sweep_id=sweep_id, tags={JOB: "0"}))
        run.params({"primary_metric": "mse", "primary_unit": "u", "primary_higher_is_better": False})
        for step in (20, 10):
            run.curve("train/loss", step, step / 3)
            run.curve("valid/mse", step, step / 7)
        run.value("valid", "mse", 10 / 7, unit="u", higher_is_better=False)
        run.value("test", "trivial_mse", 1 / 6, unit="u", higher_is_better=False, charted=False)
        run.value("test", "trivial_loss", 0.5, unit="", higher_is_better=None)  # as older versions wrote it
        run.value("train", "best_step", 10, unit="step", higher_is_better=None)
        run.flush()
        yield sweep_id, run.run_id


@pytest.mark.parametrize("status", ["running", "killed"])
def test_what_mlflow_kept_stands_in(store: Store, interrupted: tuple[str, str], status: str) -> None:
    sweep_id, run_id = interrupted
    if status == "killed":
        store.close_sweep(sweep_id)
    tables = read(store.uri)
    assert only(tables.runs)["status"] == status
    assert [tuple(row) for row in tables.curves.itertuples(index=False)] == [
        (run_id, "train/loss", 10, 10 / 3),
        (run_id, "train/loss", 20, 20 / 3),
        (run_id, "valid/mse", 10, 10 / 7),
        (run_id, "valid/mse", 20, 20 / 7),
    ]
    values = tables.values[["split", "metric", "value", "unit"]]
    assert [tuple(row) for row in values.itertuples(index=False)] == [
        ("train", "best_step", 10, ""),
        ("valid", "mse", 10 / 7, "u"),
        ("test", "trivial_loss", 0.5, ""),
        ("test", "trivial_mse", 1 / 6, "u"),
    ]
    assert tables.values["higher_is_better"].isna().tolist() == [True, False, True, False]


def test_a_table_cut_off_while_it_was_written(store: Store, tmp_path: Path) -> None:
    run_id = one_run(store, "a", score(0.5), error=KeyboardInterrupt())
    file = tmp_path / "mlartifacts" / run_id / "artifacts" / "values.parquet"
    file.write_bytes(file.read_bytes()[:50])
    assert list(read(store.uri).values["value"]) == [0.5]


# where the artifacts are


def test_a_store_that_was_moved(store: Store, tmp_path: Path) -> None:
    sweep_id = store.open_sweep("quick", plan("gru", seeds=2), {})
    one_run(store, "a", score(0.5), sweep_id=sweep_id, job="0")
    before = read(store.uri)
    assert list(before.runs["status"]) == ["finished", "missing"]
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlartifacts"):
        if (tmp_path / name).exists():
            shutil.move(tmp_path / name, moved / name)
    same(read(f"sqlite:///{moved}/mlflow.db"), before)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:99])])
@pytest.mark.parametrize("name", ["values.parquet", "curves.parquet"])
def test_a_damaged_run_is_named_and_left_out(
    name: str, damage: Callable[[Path], object], store: Store, tmp_path: Path
) -> None:
    kept, lost = one_run(store, "a", score(0.5)), one_run(store, "b", score(0.25))
    damage(tmp_path / "mlartifacts" / lost / "artifacts" / name)
    results = read(store.uri)
    status = results.runs.set_index("run_id")[["status", "error"]].T.to_dict("list")
    reason = "finished, but its values.parquet or curves.parquet cannot be read"
    assert status == {kept: ["finished", ""], lost: ["failed", reason]}
    assert set(results.values["run_id"]) == {kept}
    (problem,) = results.problems
    assert problem.startswith(f"run {lost}: {reason} from file://")


@pytest.mark.parametrize("text", ["", "[{", "{}", "[1]", '[{"cell": "gru"}]', '[{"job": "x"}]', "\x00"])
def test_a_damaged_plan_is_named_and_left_out(text: str, store: Store, tmp_path: Path) -> None:
    sweep_id = store.open_sweep("quick", plan("gru", seeds=2), {})
    one_run(store, "a", score(0.5), sweep_id=sweep_id, job="0")
    (tmp_path / "mlartifacts" / sweep_id / "artifacts" / "planned.json").write_text(text)
    results = read(store.uri)
    assert list(results.runs["status"]) == ["finished"]
    (problem,) = results.problems
    assert problem.startswith(f"sweep {sweep_id}: its planned.json is damaged")


def test_artifacts_on_a_server(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way over MLflow's client, which a server's artifacts take."""
    sweep_id = store.open_sweep("quick", plan("gru", seeds=2), {})
    one_run(store, "a", score(0.5), sweep_id=sweep_id, job="0")
    direct = read(store.uri)
    looked: list[str] = []
    monkeypatch.setattr(gru_bench.store.find, "local_folder", looked.append)
    same(read(store.uri), direct)
    assert looked
