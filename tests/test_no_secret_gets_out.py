"""A password in a URI and a token in the environment: in no byte of store, artifacts, outputs, report or terminal."""

import os
from pathlib import Path

import pytest
from conftest import Command
from runs import STEPS, TINY
from servers import mlflow_server
from stores import artifact, copy_store, one_run, plan

from gru_bench.store.write import Run, Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PASSWORD, TOKEN = "sEcrEt/p@ss", "tOkEn-0123456789"
URI = f"postgresql+psycopg2://me:{PASSWORD}@host:5432/db"
FOUND = (b"sEcrEt", b"p@ss", b"tOkEn")


def leaks(folder: Path) -> list[str]:
    """Files below a folder that hold a part of a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in FOUND)]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)


@pytest.mark.usefixtures("token")
def test_what_is_given_to_the_store_loses_its_secrets(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)
    planned = [job | {"tracking.uri": URI, "x": TOKEN} for job in plan("gru", seeds=2)]
    sweep_id = store.open_sweep("quick", planned, {"overrides": f"tracking.uri={URI} x={TOKEN} seed=0,1"})

    def inside(run: Run) -> None:
        run.params(
            {"notes": f"from {URI} with {TOKEN}", "config.x.password": "sEcrEt", "task": "adding", "cell": "gru"}
        )
        run.text("config.yaml", f"uri: {URI}\ntoken: '{TOKEN}'\n")
        run.value("test", "mse", 0.5, unit="", higher_is_better=False)

    failed = one_run(store, "a", inside, sweep_id=sweep_id, error=ValueError(f"cannot reach {URI} ({TOKEN})"), job="0")
    store.close_sweep(sweep_id)
    assert "postgresql+psycopg2://***@host:5432/db" in artifact(store, failed, "traceback.txt").read_text()
    assert not leaks(tmp_path)


@pytest.mark.usefixtures("token")
def test_a_report_of_an_older_store_loses_them(
    gru_bench: Command, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(uri=f"sqlite:///{empty_folder / 'mlflow.db'}")

    def inside(run: Run) -> None:
        run.params({"task": "adding", "cell": "gru", "family": "gru", "seed": 0, "primary_metric": "mse"})
        run.value("test", "mse", 0.5, unit="", higher_is_better=False)

    first = one_run(store, "a", inside)
    second = one_run(store, "b", inside, error=ValueError("x"))
    for run in (first, second):
        store.client.log_param(run, "notes", f"from {URI} with {TOKEN}")
        store.client.set_tag(run, "gru.error", f"cannot reach {URI} ({TOKEN})")
    assert gru_bench("report", "experiment=quick", "publish=false") == 0
    assert not leaks(empty_folder / "reports")
    assert "***@host" in (empty_folder / "reports" / "quick" / "results.csv").read_text()
    printed = "".join(capsys.readouterr())
    assert not any(secret.decode() in printed for secret in FOUND)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    "uri",
    [f"ftp://me:{PASSWORD}@host", f"http://me:{PASSWORD}@127.0.0.1:9", f"http://127.0.0.1:9/?token={TOKEN}"],
)
def test_messages_lose_them(gru_bench: Command, capsys: pytest.CaptureFixture[str], uri: str) -> None:
    assert gru_bench("train", f"tracking.uri='{uri}'", *TINY) == 2
    assert gru_bench("report", f"tracking.uri='{uri}'") == 2
    assert gru_bench("ui", f"tracking.uri={uri}") == 2
    printed = "".join(capsys.readouterr())
    assert "***" in printed
    assert not any(secret.decode() in printed for secret in FOUND)


@pytest.mark.usefixtures("token")
def test_hydras_own_sweeper_is_refused(
    gru_bench: Command, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", "hydra/sweeper=basic", "seed=0,1", f"tracking.uri='{URI}'"]
    assert gru_bench("train", *sweep, *TINY, *STEPS) == 2
    assert "hydra/sweeper=basic: would write a secret" in capsys.readouterr().err
    assert not leaks(empty_folder)


@pytest.mark.slow
@pytest.mark.usefixtures("token")
def test_a_sweep_on_a_server_with_a_password(
    empty_folder: Path, gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    served = empty_folder / "served"
    served.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_TOKEN"}
    with mlflow_server(served, environment) as address:
        # a password that a URL can hold as it is: the client must be able to read it
        uri = f"tracking.uri={address.replace('//', '//me:sEcrEt-tOkEn@')}"
        assert gru_bench("train", "-m", "cell=gru,rnn", uri, *TINY, *STEPS) == 0
        assert gru_bench("report", "experiment=adhoc", uri) == 0
    printed = "".join(capsys.readouterr())
    assert not any(secret.decode() in printed for secret in FOUND)
    assert not leaks(empty_folder)
