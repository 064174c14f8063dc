"""What runs and sweeps write, and how the UI shows it."""

import json
import math
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from mlflow.entities import ViewType
from stores import artifact, columns, copy_store, one_run, plan

from gru_bench.errors import Unsupported
from gru_bench.store.schema import ERROR, GROUP_KEY, GROUP_LABEL, PARENT, STATUS, SWEEP
from gru_bench.store.ui_view import UI_VIEW_TAG, group_params, ui_url_path, view_state
from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


@pytest.fixture(autouse=True)
def flushes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However loaded the machine is."""
    monkeypatch.setattr("gru_bench.store.courier.FLUSH_WITHIN_S", 100.0)


# what a run writes


def test_params(store: Store) -> None:
    flat: dict[str, object] = {f"config.k{number}": number for number in range(250)}
    flat |= {
        "config.list": [1, 2],
        "config.a[0]@b": 1,
        "config.none": None,
        "data.train_rows": 7,
        "env_torch": "2.13.0",
    }
    flat |= {"notes": "x" * 5000, "shared": True, "learning_rate": 1e-05, "git_commit": ""}
    params = store.client.get_run(one_run(store, "a", lambda run: run.params(flat))).data.params
    assert {f"config.k{number}": str(number) for number in range(250)}.items() <= params.items()
    assert (params["config.none"], params["shared"], params["learning_rate"]) == ("null", "True", "1e-05")
    assert (params["config.list"], params["git_commit"], params["config.a_0__b"]) == ("[1, 2]", "", "1")
    assert (params["data.train_rows"], params["env_torch"]) == ("7", "2.13.0")
    assert len(params["notes"]) == 1000
    assert params["notes"].endswith("(cut; the whole is in config.yaml)")


def test_curves_are_kept_until_they_are_flushed(store: Store) -> None:
    with store.run("quick", "a", sweep_id=None, tags={}) as run:
        for step in range(2500):
            run.curve("train/loss", step, step / 3)
        assert store.client.get_metric_history(run.run_id, "train/loss") == []
        run.flush()
        assert len(store.client.get_metric_history(run.run_id, "train/loss")) == 2500
        run.flush()
    history = store.client.get_metric_history(run.run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(step, step / 3) for step in range(2500)]


def test_infinity_does_not_reach_the_charts(store: Store) -> None:
    def measure(run: Run) -> None:
        run.curve("train/loss", 1, math.inf)
        run.value("test", "perplexity", -math.inf, unit="", higher_is_better=False)

    run_id = one_run(store, "a", measure)
    metrics = store.client.get_run(run_id).data.metrics
    assert all(math.isnan(value) for value in metrics.values())
    assert len(metrics) == 2
    assert columns(artifact(store, run_id, "curves.parquet"))["value"] == [math.inf]
    assert columns(artifact(store, run_id, "values.parquet"))["value"] == [-math.inf]


def test_a_value_does_not_bend_a_curve_of_its_name(store: Store) -> None:
    def measure(run: Run) -> None:
        run.curve("valid/loss", 10, 0.2)
        run.curve("valid/loss", 20, 0.5)
        run.value("valid", "loss", 0.2, unit="nats", higher_is_better=False)
        run.value("test", "loss", 0.3, unit="nats", higher_is_better=False)
        run.value("test", "loss", 0.4, unit="nats", higher_is_better=False, slice="length", slice_value="50")
        run.value("test", "loss", 0.25, unit="nats", higher_is_better=False)

    run_id = one_run(store, "a", measure)
    assert store.client.get_run(run_id).data.metrics == {"valid/loss": 0.5, "valid/best_loss": 0.2, "test/loss": 0.25}
    assert columns(artifact(store, run_id, "values.parquet")) == {
        "split": ["valid", "test", "test"],
        "metric": ["loss", "loss", "loss"],
        "slice": ["", "", "length"],
        "slice_value": ["", "", "50"],
        "value": [0.2, 0.25, 0.4],
        "unit": ["nats", "nats", "nats"],
        "higher_is_better": [False, False, False],
    }


def test_tables_and_texts(store: Store) -> None:
    table = {"correct": [True, False], "nats": [0.5, math.nan], "text": ["a", "ü"]}

    def write(run: Run) -> None:
        run.table("test_examples", table)
        run.text("config.yaml", "seed: 0\n")
        run.params({"num_parameters": 12, "group_key": "g"})

    run_id = one_run(store, "a", write, cell="gru")
    read = columns(artifact(store, run_id, "test_examples.parquet"))
    assert (read["correct"], read["text"]) == (table["correct"], table["text"])
    assert artifact(store, run_id, "config.yaml").read_text() == "seed: 0\n"
    data = store.client.get_run(run_id).data
    assert (data.tags["cell"], data.tags["num_parameters"], data.tags["mlflow.runName"]) == ("gru", "12", "a")
    assert (data.tags[GROUP_KEY], data.params) == ("g", {"num_parameters": "12"})


# sweeps


def test_a_sweep_that_went_well(store: Store) -> None:
    planned = plan("rnn", "gru", seeds=2)
    sweep_id = store.open_sweep("quick", planned, {"overrides": "cell=rnn,gru", "launcher": "basic"})
    run_ids = [one_run(store, choice["job"], sweep_id=sweep_id, job=choice["job"]) for choice in planned]
    assert store.close_sweep(sweep_id) == {"finished": 4, "failed": 0, "killed": 0, "unsupported": 0, "missing": 0}
    parent = store.client.get_run(sweep_id)
    assert (parent.info.status, parent.data.tags[STATUS]) == ("FINISHED", "finished")
    assert parent.data.params == {"overrides": "cell=rnn,gru", "launcher": "basic"}
    assert json.loads(artifact(store, sweep_id, "planned.json").read_text()) == planned
    for run_id in run_ids:
        run_tags = store.client.get_run(run_id).data.tags
        assert run_tags[PARENT] == run_tags[SWEEP] == sweep_id


def test_a_sweep_that_did_not(store: Store) -> None:
    sweep_id = store.open_sweep("quick", plan("rnn", "lstm", "gru", seeds=2), {})
    one_run(store, "0", sweep_id=sweep_id, job="0")
    one_run(store, "1", sweep_id=sweep_id, job="1", error=ValueError("no"))
    one_run(store, "2", sweep_id=sweep_id, job="2", error=Unsupported("no"))
    one_run(store, "3", sweep_id=sweep_id, job="3", error=KeyboardInterrupt())
    retried = [one_run(store, "4", sweep_id=sweep_id, job="4", error=error) for error in (ValueError(), None)]
    one_run(store, "other", job="5")  # of no sweep
    counts = store.close_sweep(sweep_id)
    assert counts == {"finished": 2, "failed": 1, "killed": 1, "unsupported": 1, "missing": 1}
    assert len(set(retried)) == 2
    parent = store.client.get_run(sweep_id)
    assert parent.info.status == "FAILED"
    reason = "of 6 jobs: 1 failed, 1 killed, 1 unsupported, 1 missing"
    assert parent.data.tags[ERROR] == reason

    assert store.close_sweep(sweep_id) == counts
    assert store.client.get_run(sweep_id).info.end_time == parent.info.end_time


def test_a_sweep_interrupted_while_it_opens(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gru_bench.store.write.log_facts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.open_sweep("quick", plan("rnn", "gru"), {})
    (parent,) = store.client.search_runs([store.experiment_id("quick")], run_view_type=ViewType.ALL)
    assert parent.info.status == "FAILED"
    assert parent.data.tags[ERROR] == "of 2 jobs: 2 missing"


# the UI


def test_the_ui_averages_over_seeds_alone() -> None:
    assert group_params(plan("rnn", "gru", seeds=3)) == ["cell"]
    assert group_params(plan("rnn", "gru", budget="hidden")) == ["cell"]
    longer = {"job": "1", "cell": "gru", "task": "copy_memory", "seed": "0", "trainer.max_steps": "5"}
    both = [*plan("gru"), longer]
    by_label = [{"mode": "tag", "groupByData": GROUP_LABEL}]
    for planned in (both, plan("gru", optimizer="adam") + plan("gru", optimizer="sgd")):
        assert group_params(planned) == []
        assert json.loads(view_state([]))["groupBy"]["groupByKeys"] == by_label


def test_the_experiment_carries_its_view(store: Store) -> None:
    store.open_sweep("quick", plan("rnn", "gru"), {})
    experiment = store.client.get_experiment(store.experiment_id("quick"))
    view = json.loads(experiment.tags[UI_VIEW_TAG])
    assert view["groupBy"]["groupByKeys"] == [{"mode": "param", "groupByData": "cell"}]
    assert [section["name"] for section in view["compareRunSections"]][:2] == ["test", "valid"]
    assert UI_VIEW_TAG.endswith(ui_url_path("7").split("viewStateShareKey=")[1].split("&")[0])
    assert ui_url_path("7").startswith("/#/experiments/7/runs?")


def test_the_yaml_is_the_default_store() -> None:
    node = yaml.safe_load((REPOSITORY / "conf" / "tracking" / "mlflow.yaml").read_text())
    assert node.pop("_target_") == "gru_bench.store.write.Store"
    assert Store(**node).uri == Store().uri
