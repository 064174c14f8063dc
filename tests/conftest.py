"""What all tests share. Only this file knows where the real data sets lie."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from omegaconf import DictConfig

# inductor would start a pool of processes; it reads this when it is first imported
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent
CONF = REPOSITORY / "conf"
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def yaml_names(group: str) -> list[str]:
    """The choices of a config group: tests are parametrized over the files on disk."""
    return sorted(path.stem for path in (REPOSITORY / "conf" / group).glob("*.yaml"))


def pytest_configure(config: pytest.Config) -> None:
    """A cache of the session's own: compiled code and parity answers are neither found nor left with the user."""
    if "GRU_BENCH_CACHE" not in os.environ:
        os.environ["GRU_BENCH_CACHE"] = folder = tempfile.mkdtemp(prefix="gru_bench_cache_")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop("GRU_BENCH_CACHE", None))


@pytest.hookimpl(tryfirst=True)  # before the cases are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every case that is parametrized with ``runner`` as the compiled backend: each variant compiles for long."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if parameters.get("runner") == "compiled":
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _no_log_of_another_test() -> Iterator[None]:
    """A verb that was asked for its log (hydra.verbose) leaves the log's handler to its process, which would end."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in [one for one in root.handlers if type(one) is logging.StreamHandler]:
        root.removeHandler(handler)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets, in the hub's layout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's caches of data, or finds the user's data sets."""
    import datasets

    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("GRU_BENCH_CACHE", str(folder / "own"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.delenv("GRU_BENCH_DATA", raising=False)


@pytest.fixture
def unknown_words_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """For small sets whose test words training lacks on purpose; that this is refused has tests of its own."""
    for room in ("data.encode", "tasks.text.language_modeling"):
        monkeypatch.setattr(f"gru_bench.{room}.check_unknown", lambda *_: [])


@pytest.fixture(scope="module")
def hydra_conf() -> Iterator[None]:
    """What :func:`composed` needs."""
    from hydra import initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str) -> "DictConfig":
    """A training config as the command composes it."""
    from hydra import compose

    return compose("train", overrides=list(overrides))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small models are quickest on one thread, and a run sets its own number.

    A run also lets denormal numbers be zero in its process, in which hypothesis draws no floats.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own: the default store lies in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


Command = Callable[..., int]
"""``command("train", "cell=gru")`` gives the exit code."""


@pytest.fixture
def gru_bench(empty_folder: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Run the command in this process, in an empty folder."""
    from gru_bench.commands import cli

    shutil.copy(fresh_store, empty_folder / "mlflow.db")
    monkeypatch.setattr(sys, "argv", ["gru-bench"])
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: cli.run(list(arguments))
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without runs, to be copied: making one takes MLflow seconds."""
    from stores import make_template

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_template(tmp_path_factory.mktemp("template") / "store")
