"""An unwritable cache of Hugging Face is named, and not the data."""

from pathlib import Path

import datasets
import pytest

from gru_bench.data.hub_cache import refuse_unwritable_cache
from gru_bench.errors import UserError


def test_a_cache_that_is_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "datasets")
    with pytest.raises(UserError, match=r"HF_DATASETS_CACHE=.*cannot be written \(Not a directory\); set HF_HOME"):
        refuse_unwritable_cache(local=True)


def test_a_cache_that_can_be_written_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "new" / "datasets")
    refuse_unwritable_cache(local=True)
