"""``bench/sweeps.py`` at its smallest: every part runs, and what it counts is right."""

import importlib
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "bench"), *sys.path])
    return importlib.import_module("sweeps")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["fixed", "workers", "writers", "resume"])
def test_each_part_for_real(bench: ModuleType, capsys: pytest.CaptureFixture[str], part: str) -> None:
    assert bench.main(["--quick", "--only", part]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = document["rows"]
    assert {row["part"] for row in rows} == {part}
    size = bench.QUICK
    runs = {
        "fixed": [size.runs, size.runs],
        "workers": [size.equal],
        "writers": [size.writers * size.written],
        "resume": [size.done, size.planned],
    }
    assert [row["runs"] for row in rows] == runs[part]


def test_runs_are_copied_under_the_keys_of_their_seeds(
    bench: ModuleType, tmp_path: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gru_bench.config.canonical import digest
    from gru_bench.store.schema import CONFIG_KEY
    from gru_bench.store.write import Store

    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    kept = {"seed": 0, "hidden_size": 6}
    (tmp_path / "cache" / "plans" / "now").mkdir(parents=True)
    (tmp_path / "cache" / "plans" / "now" / "one.json").write_text(json.dumps({"kept": kept, "files": {}}))
    shutil.copy(fresh_store, tmp_path / "mlflow.db")
    store = Store(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    store.open()
    with store.run("quick", "one", sweep_id=None, tags={CONFIG_KEY: digest(kept)}) as run:
        run.params({"seed": 0})
    bench.copy_runs(tmp_path, range(1, 4))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        keys = connection.execute("SELECT value FROM tags WHERE key = ?", (CONFIG_KEY,)).fetchall()
        seeds = connection.execute("SELECT value FROM params WHERE key = 'seed'").fetchall()
    assert sorted(keys) == sorted((digest(kept | {"seed": seed}),) for seed in range(4))
    assert sorted(seeds) == [("0",), ("1",), ("2",), ("3",)]


def test_ranks(bench: ModuleType) -> None:
    assert bench.quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert bench.quantile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
    assert bench.quantile([], 0.5) != bench.quantile([], 0.5)


def test_what_is_not_there_is_refused(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--only", "speed"]) == 2
    assert "valid: fixed, workers, writers, resume" in capsys.readouterr().err
