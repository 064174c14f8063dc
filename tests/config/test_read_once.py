"""Each yaml is read once for all jobs of a sweep, and no job sees what another one made of it."""

import copy
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench.config.read_once import ReadOnce, read_once

YAMLS = {
    "main.yaml": "defaults: [size: small, _self_]\nseed: 0\ntwice: ${seed}\n",
    "size/small.yaml": "width: 1\n",
    "size/large.yaml": "width: 9\n",
}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each yaml was read from the disk."""
    counted: Counter[str] = Counter()
    source = SourcesRegistry.instance().resolve("file")
    load = source.load_config

    def counting(self: ConfigSource, config_path: str) -> object:
        counted[config_path] += 1
        return load(self, config_path)

    monkeypatch.setattr(source, "load_config", counting)
    return counted


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[ConfigLoader]:
    for name, text in YAMLS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with initialize_config_dir(str(tmp_path), version_base=None):
        made = GlobalHydra.instance().config_loader()
        read_once(made)
        yield made


def composed(loader: ConfigLoader, *overrides: str) -> DictConfig:
    return loader.load_configuration("main", list(overrides), RunMode.RUN)


def test_each_yaml_is_read_once(loader: ConfigLoader, read: Counter[str], tmp_path: Path) -> None:
    first = composed(loader, "seed=3", "size=large")
    first.size.width = 100
    (tmp_path / "size" / "small.yaml").write_text("width: 2\n")
    widths = [
        composed(loader, f"seed={seed}", f"size={size}").size.width for seed in (0, 1) for size in ("small", "large")
    ]
    assert widths == [2, 9, 2, 9]
    (tmp_path / "size" / "small.yaml").write_text("width: 3\n")
    assert composed(loader).size.width == 2
    assert composed(loader, "seed=4").twice == 4
    assert read == {"main": 1, "size/small": 1, "size/large": 1}


def test_a_copy_that_looks_elsewhere_leaves_the_others_alone(loader: ConfigLoader, tmp_path: Path) -> None:
    assert composed(loader).size.width == 1
    (tmp_path / "other" / "size").mkdir(parents=True)
    (tmp_path / "other" / "size" / "wide.yaml").write_text("width: 50\n")
    elsewhere = f"hydra.searchpath=[file://{tmp_path / 'other'}]"
    assert composed(loader, elsewhere, "size=wide").size.width == 50
    assert composed(loader).size.width == 1


def test_another_process_reads_for_itself(loader: ConfigLoader, read: Counter[str]) -> None:
    composed(loader)
    repository = loader.repository  # type: ignore[attr-defined]  # Hydra's loader has one, its abstract class does not
    assert isinstance(repository, ReadOnce)
    copy.deepcopy(repository).load_config("main")
    assert read["main"] == 1
    pickle.loads(pickle.dumps(repository)).load_config("main")
    assert read["main"] == 2
