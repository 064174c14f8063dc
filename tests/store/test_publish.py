"""A report in MLflow."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from stores import artifact, copy_store, one_run, plan, score

from gru_bench.store.publish import NOTE, publish
from gru_bench.store.read import Results, read
from gru_bench.store.write import Store

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Store:
    return copy_store(fresh_store, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report's folder, in which a user keeps something too."""
    folder = tmp_path / "written"
    (folder / "figures").mkdir(parents=True)
    for name in ("report.md", "results.csv", "figures/old.svg", "private.txt"):
        (folder / name).write_text(name)
    return folder


def sweep_of(store: Store, experiment: str = "quick", key: str = "a") -> str:
    sweep_id = store.open_sweep(experiment, plan("gru"), {})
    one_run(store, key, score(0.5, task="adding", cell="gru"), experiment=experiment, sweep_id=sweep_id, job="0")
    store.close_sweep(sweep_id)
    return sweep_id


def note(store: Store, experiment: str = "quick") -> str:
    text: str = store.client.get_experiment(store.experiment_id(experiment)).tags.get(NOTE, "")
    return text


def test_the_report_lies_with_the_latest_sweep(store: Store, folder: Path) -> None:
    sweep_of(store)
    sweep_id = sweep_of(store, key="b")
    assert publish(store.uri, read(store.uri, experiment="quick"), folder, "GRU on 2 of 3 tasks.") is None
    published = artifact(store, sweep_id, "report")
    found = sorted(str(path.relative_to(published)) for path in published.rglob("*") if path.is_file())
    assert found == ["figures/old.svg", "report.md", "results.csv"]
    experiment_id = store.experiment_id("quick")
    link = f"#/experiments/{experiment_id}/runs/{sweep_id}/artifacts/report/report.md"
    verdict, what = note(store).split("\n\n")
    assert verdict == f"**Verdict.** GRU on 2 of 3 tasks. [The whole report]({link})"
    assert what.startswith("**Experiment.** Compares cell gru; task adding; 1 seed (its latest sweep).")


def test_again_replaces(store: Store, folder: Path) -> None:
    sweep_id = sweep_of(store)
    results = read(store.uri)
    assert publish(store.uri, results, folder, "first") is None
    store.client.set_experiment_tag(store.experiment_id("quick"), NOTE, note(store) + "\n\nAlice's remark")
    (folder / "figures" / "old.svg").rename(folder / "figures" / "new.svg")
    (folder / "report.md").write_text("second")
    assert publish(store.uri, results, folder, "second") is None
    assert [path.name for path in artifact(store, sweep_id, "report/figures").iterdir()] == ["new.svg"]
    assert artifact(store, sweep_id, "report/report.md").read_text() == "second"
    assert "first" not in note(store)
    assert note(store).startswith("**Verdict.** second")
    assert note(store).endswith("\n\nAlice's remark")


def test_the_results_are_read_as_before(store: Store, folder: Path) -> None:
    sweep_of(store)
    before = read(store.uri)
    publish(store.uri, before, folder, "x")
    assert read(store.uri).joined().equals(before.joined())


def test_where_it_cannot_be(store: Store, folder: Path, tmp_path: Path) -> None:
    one_run(store, "single", score(0.5), experiment="adhoc")
    assert publish(store.uri, read(store.uri), folder, "x") == (
        "not published in MLflow: experiment=adhoc has no sweep there"
    )
    sweep_of(store)
    results = read(store.uri)
    runs = results.runs
    two = Results(runs=runs.loc[[0, 0]].assign(experiment=["a", "b"]), values=results.values, curves=results.curves)
    assert publish(store.uri, two, folder, "x") == "not published in MLflow: the report covers 2 experiments"
    other = replace(results, runs=runs.assign(sweep="of another store"))
    assert publish(store.uri, other, folder, "x") == "not published in MLflow: the report covers several stores"
    assert "no such file" in str(publish(f"sqlite:///{tmp_path}/gone.db", results, folder, "x"))
    assert "Verdict" not in note(store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to everything")
def test_a_store_that_cannot_be_written(store: Store, folder: Path, tmp_path: Path) -> None:
    sweep_of(store)
    results = read(store.uri)
    for path in (tmp_path / "mlartifacts").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    line = publish(store.uri, results, folder, "x")
    assert line is not None
    assert line.startswith("not published in MLflow: ")
    assert "\n" not in line


def test_whatever_a_server_answers(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("403:\nnot yours")

    sweep_of(store)
    results = read(store.uri)
    monkeypatch.setattr("gru_bench.store.publish.upload", refuse)
    assert publish(store.uri, results, folder, "x") == "not published in MLflow: 403: not yours"
