"""Folders of this machine have short names in a store, and what is short still leads to the file."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from stores import artifact, copy_store, one_run

from gru_bench.store.private import clean, for_people, whole, without_private
from gru_bench.store.write import Run

# MLflow 3.17 uses a loader strategy that SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a working folder in it."""
    (tmp_path / "me" / "work" / "data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path / "me" / "work")
    return tmp_path / "me"


def test_folders_are_named_as_wholes(home: Path) -> None:
    text = f"data.path={home}/work/data/a.csv {home}/b {home}ly/c /mnt{home}/d {home}.txt {home}"
    assert without_private(text) == f"data.path=./data/a.csv ~/b {home}ly/c /mnt{home}/d {home}.txt ~"
    assert for_people(f'File "{sys.prefix}/lib/x.py"') == 'File "PYTHON/lib/x.py"'


def test_a_short_path_leads_to_the_file(home: Path) -> None:
    for path in (home / "work" / "data" / "a.csv", home / "b.csv", Path("/somewhere/else.csv")):
        short = without_private(str(path))
        assert Path(short).expanduser().absolute() == path or Path(short).resolve() == path


def test_no_private_path_is_in_what_a_run_keeps(home: Path, fresh_store: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = copy_store(fresh_store, tmp_path / "store")
    config = {"data": {"path": str(home / "work" / "data"), "other": [str(home / "x")]}}

    def inside(run: Run) -> None:
        run.params({"config.data.path": config["data"]["path"], "notes": f"from {home}/x"})
        run.text("config.yaml", yaml.safe_dump(clean(config)))

    run_id = one_run(store, "a", inside, error=OSError(f"{home}/x is away"))
    run = store.client.get_run(run_id)
    assert run.data.params["config.data.path"] == "./data"
    kept = artifact(store, run_id, "config.yaml").read_text()
    assert yaml.safe_load(kept) == {"data": {"path": "./data", "other": ["~/x"]}}
    texts = [kept, artifact(store, run_id, "traceback.txt").read_text(), str(run.data.tags), str(run.data.params)]
    assert not [text for text in texts if os.fspath(home) in text]


def test_the_root_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert without_private("/a/b") == "/a/b"
    assert whole("/a").sub("x", "/a/b /ab") == "x/b /ab"
