"""Which files of a folder are which split: as ``datasets`` resolves the layout."""

import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from gru_bench.data.folders import splits_of

PARTS = st.lists(
    st.sampled_from(["train", "training", "val", "valid", "dev", "test", "eval", "my", "data", "x", "contest", "1"]),
    min_size=1,
    max_size=2,
)
NAMES = st.builds("{}{}".format, PARTS.map("-".join), st.sampled_from(["", "_a", " b", "-00000-of-00001", ".x", "2"]))
PATHS = st.builds(lambda folders, name: "/".join([*folders, f"{name}.csv"]), st.lists(NAMES, max_size=2), NAMES)


@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=15)
@hypothesis.given(paths=st.sets(PATHS, min_size=1, max_size=4))
def test_splits_are_those_of_datasets(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    from datasets.data_files import DataFilesDict, get_data_patterns

    folder = tmp_path_factory.mktemp("set")
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    theirs = DataFilesDict.from_patterns(get_data_patterns(str(folder)), base_path=str(folder))
    ours = splits_of(files, folder)
    assert {split: set(map(str, found)) for split, found in ours.items()} == {
        str(split): {os.fspath(file) for file in found} for split, found in theirs.items()
    }


def test_names_with_a_meaning_in_patterns(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("train[1].csv", "test*.csv", "[dev].csv")]
    assert splits_of([tmp_path / "train-[1].csv", tmp_path / "test-*.csv"], tmp_path) == {
        "train": [tmp_path / "train-[1].csv"],
        "test": [tmp_path / "test-*.csv"],
    }
    assert splits_of(files, tmp_path) == {"train": files}
