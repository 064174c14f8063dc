"""What all tests share. Only this file knows where the real data sets lie."""

import warnings
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def yaml_names(group: str) -> list[str]:
    """The choices of a config group: tests are parametrized over the files on disk."""
    return sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets, in the hub's layout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small models are quickest on one thread, and a run sets its own number."""
    torch.set_num_threads(1)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own: the default store lies in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without runs, to be copied: making one takes MLflow seconds."""
    from stores import make_template

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_template(tmp_path_factory.mktemp("template") / "store")
