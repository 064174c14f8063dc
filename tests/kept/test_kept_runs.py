"""What a run keeps: the weights that it says, as a model of MLflow, found by its id wherever the store lies."""

import json
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Command
from made_tasks import loaded
from mlflow.entities import LoggedModel
from runs import STEPS, TINY, URI, stored
from servers import free_port, mlflow_server, serving
from stores import ENVIRONMENT

import gru_bench
from gru_bench.config.check import construct
from gru_bench.errors import UserError
from gru_bench.kept.load import Kept, load_folder
from gru_bench.kept.mlmodel import form_of, write_mlmodel
from gru_bench.kept.write import write_kept
from gru_bench.models.classifier import Classifier
from gru_bench.run.build import ModelBuilder, Place, make_cell
from gru_bench.run.job import Job
from gru_bench.run.keep import Weights
from gru_bench.run.record import Recorder
from gru_bench.store.connect import absolute_uri
from gru_bench.store.write import Store
from gru_bench.tasks.base import Scores
from gru_bench.training.fit import Event, Fit
from gru_bench.training.trainer import evaluate

RUN = ["train", "cell=gru", *TINY, *STEPS]
CPU = Place(torch.device("cpu"), torch.float32)

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def ask_mlflow() -> Iterator[None]:
    """MLflow's own way to a model, whose import warns of MLflow's own types; afterwards it knows no store of a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def only_run(store: Path = Path("mlflow.db")) -> str:
    with closing(sqlite3.connect(store)) as database:
        ((run_id,),) = database.execute("SELECT run_uuid FROM runs").fetchall()
    return str(run_id)


def models(uri: str = URI) -> list[LoggedModel]:
    """What the tab "Models" of the experiment lists."""
    client = mlflow.MlflowClient(absolute_uri(uri))
    ids = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_logged_models(ids))


def test_a_run_keeps_the_model_that_it_tested(gru_bench: Command, tmp_path: Path) -> None:
    assert gru_bench(*RUN) == 0
    run_id = only_run()
    kept = load(run_id)
    assert {name: kept.facts[name] for name in ("run_id", "task", "cell", "kept", "metric")} == {
        "run_id": run_id, "task": "adding", "cell": "gru", "kept": "best", "metric": "mse",
    }  # fmt: skip
    found = stored()
    tested = found.values.set_index(["split", "metric", "slice"])["value"]
    task = construct(kept.config["task"], None)
    task.load()
    assert kept.facts["data_fingerprint"] == task.fingerprint() == found.runs["data_fingerprint"][0]
    assert evaluate(kept.module, task, "test").metrics["mse"] == tested["test", "mse", ""]
    assert (
        evaluate(kept.module, task, "valid").metrics["mse"] == tested["valid", "mse", ""] == kept.facts["valid_score"]
    )

    (model,) = models()
    assert (model.name, str(model.status), model.source_run_id) == ("gru adding seed 0", "READY", run_id)
    assert {name: model.params[name] for name in ("task", "cell", "hidden_size", "seed", "kept")} == {
        "task": "adding", "cell": "gru", "hidden_size": "6", "seed": "0", "kept": "best",
    }  # fmt: skip
    scores = {metric.key: metric.value for metric in model.metrics or []}
    assert scores["test/mse"] == tested["test", "mse", ""]
    assert scores["valid/best_mse"] == tested["valid", "mse", ""]
    run = mlflow.MlflowClient(absolute_uri(URI)).get_run(run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]  # type: ignore[union-attr]
    assert run.data.metrics["test/mse"] == scores["test/mse"]

    # the same through MLflow, by either name
    mlflow.set_tracking_uri(absolute_uri(URI))
    x = np.random.default_rng(0).random((5, 3, 2), dtype=np.float32)
    wanted = kept.module(torch.from_numpy(x)).detach().numpy()
    for uri in (f"runs:/{run_id}/model", f"models:/{model.model_id}"):
        served = mlflow.pyfunc.load_model(uri)
        np.testing.assert_array_equal(served.predict(x), wanted)
        assert served.predict(served.input_example).shape == (1, 1)
    # a link on the disk, not a copy
    at_run, at_model = (
        Path("mlartifacts", *place, "artifacts", *rest, "model.safetensors")
        for place, rest in (([run_id], ["model"]), (["models", model.model_id], []))
    )
    assert at_run.samefile(at_model)

    # the store may be moved, and the folder be taken out of it
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    with closing(sqlite3.connect("mlflow.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy("mlflow.db", elsewhere)
    shutil.move("mlartifacts", elsewhere)
    uri = f"sqlite:///{elsewhere}/mlflow.db"
    assert load(run_id, tracking_uri=uri).facts == kept.facts
    Store(uri=uri).open()
    mlflow.set_tracking_uri(uri)
    np.testing.assert_array_equal(mlflow.pyfunc.load_model(f"models:/{model.model_id}").predict(x), wanted)
    taken = shutil.copytree(elsewhere / "mlartifacts" / run_id / "artifacts" / "model", tmp_path / "taken")
    assert load(taken).facts == kept.facts


def load(source: str | Path, **named: Any) -> Kept:
    return gru_bench.load(source, **named)


def test_runs_without_a_model_or_with_an_older_one(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench(*RUN, "save=none") == 0
    assert not models()
    run_id = only_run()
    with pytest.raises(
        UserError, match=rf"^run={run_id}: its model was not kept \(gru adding seed 0\); train it again"
    ):
        load(run_id)
    with pytest.raises(UserError, match=r"^run=0{32}: no such run in sqlite:[^\n]*; the latest are: "):
        load("0" * 32)

    assert gru_bench(*RUN, "tracking.uri=sqlite:///older.db") == 0
    older = only_run(Path("older.db"))
    artifacts = next(Path().glob(f"*/{older}/artifacts"))
    torch.save(load_folder(artifacts / "model").module.state_dict(), artifacts / "model.pt")
    shutil.rmtree(artifacts / "model")
    config = artifacts / "config.yaml"
    config.write_text(config.read_text().replace("save: best", "keep_model: true"))
    with pytest.raises(UserError, match=r"was kept by an older version, for gru-bench probe alone"):
        load(older, tracking_uri="sqlite:///older.db")
    capsys.readouterr()
    asked = ["probe=[measured_horizon]", "probes.measured_horizon.examples=16", "threads=1"]
    assert gru_bench("probe", f"run={older}", *asked, "tracking.uri=sqlite:///older.db") == 0
    assert capsys.readouterr().out.startswith(f"run {older}: gru adding seed 0\nmeasured_horizon: ")


def test_a_key_of_an_older_version_names_the_new_one(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("keep_model=true", "+keep_model=true"):
        assert gru_bench(*RUN, key) == 2
        error = capsys.readouterr().err
        assert error.startswith("gru-bench train: keep_model: no such key; set save: best ")
        assert len(error.splitlines()) == 1
    assert gru_bench(*RUN, "save=all") == 2
    assert "save='all': must be 'best', 'none' or 'last'" in capsys.readouterr().err


def test_the_last_weights_are_those_of_the_last_step(gru_bench: Command) -> None:
    worse = ["trainer.learning_rate=0.9", "trainer.max_steps=12"]  # so that the best step is not the last one
    assert gru_bench(*RUN, "save=last", *worse) == 0
    run_id = only_run()
    kept, found = load(run_id), stored()
    curve = found.curves[found.curves["metric"] == "valid/mse"].set_index("step")["value"]
    assert curve.idxmin() != 12, "the test would see nothing"
    assert (kept.facts["kept"], kept.facts["step"], kept.facts["valid_score"]) == ("last", 12, curve[12])
    task = construct(kept.config["task"], None)
    task.load()
    assert evaluate(kept.module, task, "valid").metrics["mse"] == curve[12]
    (model,) = models()
    # the test split was scored with other weights
    assert {metric.key: metric.value for metric in model.metrics or []}["valid/mse"] == curve[12]
    assert not [metric.key for metric in model.metrics or [] if not metric.key.startswith("valid/")]


def test_a_run_that_does_not_finish_leaves_no_model(gru_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "test", fails)  # its weights are kept by then
        assert gru_bench(*RUN) == 130
        patch.setattr(Recorder, "test", lambda *_: 1 / 0)
        assert gru_bench("train", "-m", "seed=0", *RUN[1:]) == 1
    assert not models()
    assert gru_bench(*RUN) == 0
    assert len(models()) == 1


def test_weights_that_no_number_scores(gru_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has no NaN."""
    keep = Weights.keep

    def scored(weights: Weights, job: Job, record: Recorder, model: torch.nn.Module, fit: Fit, size: int) -> None:
        fit.valid = Scores({"mse": float("nan"), "loss": float("nan")})
        keep(weights, job, record, model, fit, size)

    monkeypatch.setattr(Weights, "keep", scored)
    assert gru_bench(*RUN) == 0
    assert load(only_run()).facts["valid_score"] is None


def test_only_the_end_of_training_gives_the_last_weights() -> None:
    weights, model = Weights("last"), torch.nn.Linear(1, 1)
    weights.hook(Event("evaluation", 1, model, cast(Any, SimpleNamespace())))
    assert weights._last is None
    weights.hook(Event("end", 2, model, cast(Any, SimpleNamespace())))
    before = model.weight.item()
    with torch.no_grad():
        model.weight += 1
    assert weights._last is not None
    assert weights._last["weight"].item() == before


def test_a_model_that_cannot_answer_the_example_is_kept_without_a_form(
    gru_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Classifier.forward

    def wants_more(self: Classifier, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        if inputs.shape[1] == 1:
            raise TypeError("lengths are missing")
        return forward(self, inputs, lengths)

    monkeypatch.setattr(Classifier, "forward", wants_more)
    assert gru_bench(*RUN) == 0
    kept = load(only_run())
    assert kept.facts["cell"] == "gru"
    assert kept.module.training is False


# what MLflow makes of it, for every kind of input


@pytest.mark.parametrize(
    "name", ["text_classification", "sequence_tagging", "translation", "language_modeling", "copy_memory", "adding"]
)
@pytest.mark.usefixtures("hydra_conf", "own_caches")
def test_mlflow_asks_a_model_of_each_kind(name: str, tmp_path: Path) -> None:
    task, node = loaded(name, tmp_path, small=True)
    builder = ModelBuilder(node, task.sizes(), CPU)
    model = builder.build(make_cell(node), construct(node["backend"]), 4, seed=0).train()
    reader, folder = task.reader(), tmp_path / "kept"
    facts = {"hidden_size": 4, "sizes": task.sizes(), "task": name}
    write_kept(folder, model, node, facts, reader)
    form = form_of(model, reader, task.sizes(), CPU)
    assert model.training
    assert form is not None
    write_mlmodel(folder, form)
    served = mlflow.pyfunc.load_model(str(folder))
    answer = served.predict(served.input_example)
    signature = served.metadata.signature
    assert signature.outputs is not None
    if reader is None:
        assert isinstance(answer, np.ndarray)
        assert answer.ndim == len(signature.outputs.inputs[0].shape)
        return
    assert signature.inputs.input_names() == list(reader.roles)
    assert list(answer.columns) == signature.outputs.input_names()
    rows = [dict.fromkeys(reader.roles, text) for text in ("the dog sees", "a cat")]
    if "tokens" in reader.roles:
        rows = [{"tokens": str(row["tokens"]).split()} for row in rows]
    frame = served.predict(pd.DataFrame(rows))
    assert frame.to_dict("records") == load_folder(folder).predict(rows)
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    sent = json.loads((folder / "serving_input_example.json").read_text())
    parsed = infer_and_parse_data(sent, served.metadata.get_input_schema())
    pd.testing.assert_frame_equal(served.predict(parsed), answer)


@pytest.mark.usefixtures("hydra_conf", "own_caches")
def test_a_model_of_two_sides_without_a_reader_has_no_form(tmp_path: Path) -> None:
    task, node = loaded("translation", tmp_path, small=True)
    model = ModelBuilder(node, task.sizes(), CPU).build(make_cell(node), construct(node["backend"]), 4, seed=0)
    assert form_of(model, None, task.sizes(), CPU) is None


# servers


@pytest.mark.slow
def test_a_server_gets_the_model_and_serves_it(gru_bench: Command, empty_folder: Path) -> None:
    served = empty_folder / "served"
    served.mkdir()
    with mlflow_server(served) as uri:
        assert gru_bench(*RUN, f"tracking.uri={uri}") == 0
        (model,) = models(uri)
        assert (model.name, str(model.status)) == ("gru adding seed 0", "READY")
        assert {"test/mse", "valid/best_mse"} <= {metric.key for metric in model.metrics or []}
        run_id = str(model.source_run_id)
        asked = json.dumps({"experiment_ids": [model.experiment_id]}).encode()
        request = urllib.request.Request(
            f"{uri}/ajax-api/2.0/mlflow/logged-models/search", asked, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # what the page asks
            (shown,) = json.load(answer)["models"]
        assert (shown["info"]["name"], shown["info"]["source_run_id"]) == (model.name, run_id)
        kept = load(run_id, tracking_uri=uri)
        folder = served / "taken"
        mlflow.set_tracking_uri(uri)
        mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model", dst_path=str(served))
        (served / "model").rename(folder)
    port = free_port()
    command = ["mlflow", "models", "serve", "--env-manager", "local", "-m", str(folder), "--port", str(port)]
    with serving(command, port, "/ping", served) as address:
        example = (folder / "serving_input_example.json").read_bytes()
        request = urllib.request.Request(f"{address}/invocations", example, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            said = json.load(answer)["predictions"]
    x = torch.tensor(json.loads(example)["inputs"])
    np.testing.assert_allclose(said, kept.module(x).detach().numpy(), rtol=1e-6)


@pytest.mark.slow
def test_a_killed_process_leaves_no_model(empty_folder: Path, fresh_store: Path) -> None:
    shutil.copy(fresh_store, empty_folder / "mlflow.db")
    for moment in ("create_logged_model", "finalize_logged_model"):
        code = (
            "import os, sys\nfrom mlflow import MlflowClient\nfrom gru_bench.commands import cli\n"
            f"MlflowClient.{moment} = lambda *a, **k: os._exit(9)\nsys.exit(cli.run(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, *RUN]
        ended = subprocess.run(command, cwd=empty_folder, env=ENVIRONMENT, capture_output=True, check=False)
        assert ended.returncode == 9
        Store(uri=f"sqlite:///{empty_folder}/mlflow.db").recover()
    found = models(f"sqlite:///{empty_folder}/mlflow.db")
    assert [str(model.status) for model in found] == ["READY"] * 2
    assert len({model.source_run_id for model in found}) == 2
