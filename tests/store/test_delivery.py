"""What becomes of runs when the store fails, or the process is killed, at any call: none is lost, none is doubled."""

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from gru_bench.kept.folder import FACTS_FILE
from gru_bench.store import courier as courier_module
from gru_bench.store import left, spool
from gru_bench.store.courier import Courier
from gru_bench.store.line import Call, StoreAway
from gru_bench.store.notes import NOTE
from gru_bench.store.run import Run
from gru_bench.store.schema import DELIVERY, MODEL_FOLDER, RUN_KIND, STATUS
from gru_bench.store.spool import Package

CALLS = 24
"""That two undisturbed runs make."""
URI = "http://store.invalid:5000"


class Killed(BaseException):
    """The process is no more."""


class FakeStore:
    """What MLflow's client does, in memory, with the runs as plain dictionaries."""

    def __init__(self, faults: dict[int, str]) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.models: dict[str, SimpleNamespace] = {}
        self.faults, self.calls = faults, itertools.count()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name in ("runs", "models", "faults", "calls", "__class__") or name.startswith("_"):
            return found

        def called(*args: Any, **named: Any) -> Any:
            fault = self.faults.get(next(self.calls), "")
            if fault == "away":
                raise MlflowException("connection refused")
            if fault == "killed before":
                raise Killed
            result = found(*args, **named)
            if fault == "answer lost":
                raise OSError("connection reset")
            if fault == "killed after":
                raise Killed
            return result

        return called

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(lifecycle_stage="active", experiment_id="1", artifact_location="mlflow-artifacts:/1")

    def create_run(self, experiment_id: str, *, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = {
            "name": run_name,
            "status": "RUNNING",
            "tags": dict(tags),
            "params": {},
            "points": set(),
            "files": {},
            "datasets": set(),
            "outputs": [],
            "time": (start_time, None),
        }
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def search_runs(self, experiment_ids: list[str], condition: str) -> list[Any]:
        delivery = condition.split("'")[1]
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=run_id))
            for run_id, run in self.runs.items()
            if run["tags"][DELIVERY] == delivery
        ]

    def log_batch(self, run_id: str, *, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        run = self.runs[run_id]
        run["points"] |= {(point.key, point.step, point.value) for point in metrics}
        for point in metrics:
            if point.model_id:
                self.models[point.model_id].points.add((point.key, point.step, point.value))
        run["params"] |= {param.key: param.value for param in params}
        run["tags"] |= {tag.key: tag.value for tag in tags}

    def log_inputs(self, run_id: str, datasets: Any) -> None:
        self.runs[run_id]["datasets"] |= {(one.dataset.name, one.dataset.digest) for one in datasets}

    def log_artifacts(self, run_id: str, folder: str) -> None:
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        self.runs[run_id]["files"] |= {str(path.relative_to(folder)): path.read_bytes() for path in files}

    def create_logged_model(self, experiment_id: str, **facts: Any) -> Any:
        model_id = f"m-{len(self.models)}"
        place = f"mlflow-artifacts:/{experiment_id}/models/{model_id}/artifacts"
        self.models[model_id] = SimpleNamespace(
            model_id=model_id, status="PENDING", artifact_location=place, points=set(), is_deleted=False, **facts
        )
        return self.models[model_id]

    def search_logged_models(self, experiment_ids: list[str], condition: str) -> list[Any]:
        delivery = condition.split("'")[1]
        return [one for one in self.models.values() if one.tags[DELIVERY] == delivery and not one.is_deleted]

    def delete_logged_model(self, model_id: str) -> None:
        self.models[model_id].is_deleted = True

    def finalize_logged_model(self, model_id: str, status: str) -> None:
        self.models[model_id].status = status

    def get_run(self, run_id: str) -> Any:
        outputs = [SimpleNamespace(model_id=model_id) for model_id in self.runs[run_id]["outputs"]]
        return SimpleNamespace(outputs=SimpleNamespace(model_outputs=outputs))

    def log_outputs(self, run_id: str, models: Any) -> None:
        self.runs[run_id]["outputs"] += [one.model_id for one in models]

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.runs[run_id]["tags"][key] = value

    def delete_tag(self, run_id: str, key: str) -> None:
        if key not in self.runs[run_id]["tags"]:
            raise MlflowException("no such tag", error_code=5)

    def set_terminated(self, run_id: str, status: str, *, end_time: int) -> None:
        run = self.runs[run_id]
        run["status"], run["time"] = status, (run["time"][0], end_time)

    def delete_run(self, run_id: str) -> None:
        del self.runs[run_id]


class AtOnce:
    """A line that makes each call while it is waited for."""

    is_free = True

    def start(self, function: Callable[[], Any]) -> Call:
        call = Call(function)
        call.run()
        return call

    def ask(self, function: Callable[[], Any], within_s: float) -> Any:
        return self.start(function).result()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(courier_module, "END_WITHIN_S", -1.0)
    monkeypatch.setattr(courier_module, "FLUSH_WITHIN_S", -1.0)
    monkeypatch.setattr(courier_module, "AGAIN_AFTER_S", 0.0)
    monkeypatch.setattr(left, "is_alive", lambda _: False)  # who is killed here goes on as a process
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def courier_of(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> Courier:
    courier = Courier(URI)
    monkeypatch.setattr(courier, "_line", AtOnce())
    monkeypatch.setattr(courier, "_client", store)
    return courier


def one_process(courier: Courier, packages: list[Package]) -> None:
    """Two runs, one after the other, as the store's own block makes them."""
    for name in ("a", "b"):
        package = Package.begin(URI, "quick", name, {}, courier.find_experiment)
        packages.append(package)
        courier.begin(package)
        run = Run(courier, package, RUN_KIND)
        run.params({"group_key": name, "parity": "passed", "task": "adding"})
        run.text("config.yaml", f"name: {name}\n")
        if name == "b":
            run.file(MODEL_FOLDER, kept)
        run.flush()
        run.params({"data_fingerprint": f"rows of {name}"})
        run.curve("train/loss", 1, 0.5)
        run.flush()
        run.curve("train/loss", 2, 0.25)
        run.value("test", "mse", 0.125, unit="", higher_is_better=False)
        run.close(None)


def kept(folder: Path) -> None:
    """A kept model, as far as its delivery looks at it."""
    folder.mkdir()
    facts = {"task": "adding", "cell": "gru", "seed": 0, "kept": "best", "step": 1}
    (folder / FACTS_FILE).write_text(json.dumps(facts))


def models_of(store: FakeStore) -> list[tuple[Any, ...]]:
    """What there is of models: each once, of a run that finished, and linked once."""
    there = [one for one in store.models.values() if not one.is_deleted]
    for one in there:
        run = store.runs[one.source_run_id]
        assert (run["status"], run["outputs"][-1:]) == ("FINISHED", [one.model_id])
        assert len(set(run["outputs"])) == len(run["outputs"])
    return [(one.name, one.status, one.params, one.points) for one in there]


def contents(run: dict[str, Any]) -> tuple[Any, ...]:
    kept = run["status"], run["tags"][STATUS], run["tags"][NOTE], run["params"], run["points"], run["datasets"]
    return *kept, sorted(run["files"])


KINDS = ("away", "answer lost", "killed before", "killed after")
FAULTS = st.dictionaries(st.integers(0, 24), st.sampled_from(KINDS), max_size=8)


def test_one_fault_at_each_call() -> None:
    for kind in KINDS:
        for call in range(CALLS + 4):
            check({call: kind}, {})


def test_a_store_that_is_away_from_some_call_on() -> None:
    for call in range(CALLS + 4):
        check(dict.fromkeys(range(call, 999), "away"), {})


@settings(max_examples=40, deadline=None)
@given(faults=FAULTS, later=FAULTS)
def test_any_faults_at_any_calls(faults: dict[int, str], later: dict[int, str]) -> None:
    check(faults, later)


def check(faults: dict[int, str], later: dict[int, str]) -> None:
    """Write two runs with these faults, deliver what is left with those, and compare with undisturbed runs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        undisturbed = FakeStore({})
        one_process(courier_of(undisturbed, monkeypatch), [])
        assert next(undisturbed.calls) == CALLS
        (model,) = models_of(undisturbed)
        params = {"task": "adding", "data_fingerprint": "rows of b", "kept": "best"}
        assert model == ("gru adding seed 0", "READY", params, {("test/mse", 0, 0.125)})
        expected = {run["name"]: contents(run) for run in undisturbed.runs.values()}
        assert not any("preview.md" in run["files"] for run in undisturbed.runs.values())  # a request more
        assert [run["datasets"] for run in undisturbed.runs.values()] == [
            {("adding", "rows of a")},
            {("adding", "rows of b")},
        ]

        store = FakeStore(faults)
        packages: list[Package] = []
        with suppress(Killed):
            one_process(courier_of(store, monkeypatch), packages)
        for package in packages:
            package.release()  # the system does so
        ended = {package.about.name for package in packages if package.end is not None}

        store.faults, store.calls = later, itertools.count()
        for _ in range(10):  # the faults are over some time
            with suppress(Killed, StoreAway):
                courier_of(store, monkeypatch).deliver()
        assert courier_of(store, monkeypatch).deliver() == 0
        assert not list(spool.spool_folder(URI).glob("*/run.json"))

        assert models_of(store) == ([model] if "b" in ended else [])
        assert sorted(run["name"] for run in store.runs.values()) == [package.about.name for package in packages]
        for run in store.runs.values():
            assert run["time"][1] is not None
            if run["name"] in ended:
                assert contents(run) == expected[run["name"]]
            else:
                assert run["status"] == "KILLED"
