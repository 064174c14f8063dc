"""A kept model's files at the place of MLflow's model: links where the artifacts are folders."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gru_bench.store.connect import artifact_root
from gru_bench.store.models import bring_files
from gru_bench.store.schema import MODEL_FOLDER


@pytest.mark.parametrize("is_away", [False, True])
def test_a_store_that_is_away_is_not_made_anew(tmp_path: Path, is_away: bool) -> None:
    """As a disk that is not mounted for a moment: what was written into such a folder would be hidden by it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    uri = f"sqlite:///{disk / 'mlflow.db'}"
    root = cast(Path, artifact_root(uri))
    (root / "run" / "artifacts" / MODEL_FOLDER).mkdir(parents=True)
    (root / "run" / "artifacts" / MODEL_FOLDER / "MLmodel").write_text("a model")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "MLmodel").write_text("a model")
    place = root / "models" / "m-1" / "artifacts"
    if is_away:
        disk.rename(tmp_path / "away")
    bring_files(uri, "run", kept, cast(Any, SimpleNamespace(artifact_location=place.as_uri())))
    assert disk.exists() != is_away
    assert place.exists() != is_away
    if not is_away:
        assert (place / "MLmodel").read_text() == "a model"
