"""Which files of a folder are which split: as ``datasets`` resolves the layout."""

import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from gru_bench.data.folders import splits_of
from gru_bench.data.rows import Rows, contents
from gru_bench.data.source import load_splits
from gru_bench.errors import UserError

PARTS = st.lists(
    st.sampled_from(["train", "training", "val", "valid", "dev", "test", "eval", "my", "data", "x", "contest", "1"]),
    min_size=1,
    max_size=2,
)
NAMES = st.builds("{}{}".format, PARTS.map("-".join), st.sampled_from(["", "_a", " b", "-00000-of-00001", ".x", "2"]))
PATHS = st.builds(lambda folders, name: "/".join([*folders, f"{name}.csv"]), st.lists(NAMES, max_size=2), NAMES)


@pytest.mark.filterwarnings("ignore")
@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
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


CARD = """---
configs:
- config_name: sea
  data_files: [{split: train, path: a.csv}, {split: test, path: b.csv}]
  sep: "|"
- config_name: lake
  data_files: [{split: train, path: "*[0-9].csv"}]
dataset_info:
- config_name: sea
  features: [{name: fish, dtype: string}, {name: deep, dtype: {class_label: {names: {"0": shallow, "1": abyss}}}}]
---
"""


@pytest.mark.usefixtures("own_caches")
def test_a_folders_card_says_which_files_and_how(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "a.csv").write_text("fish|deep\n" + "".join(f"cod, {i}|{i % 2}\n" for i in range(30)))
    (tmp_path / "b.csv").write_text("fish|deep\nhake|abyss\n")
    (tmp_path / "c1.csv").write_text("fish,deep\neel,7\n")
    sea = Rows(path=str(tmp_path), name="sea", text="fish", label="deep").load()
    assert sea.classes == ["shallow", "abyss"]
    assert contents(sea.tables["test"], "label") == [1]
    assert contents(sea.tables["train"], "text")[0].startswith("cod, ")
    lake = load_splits(str(tmp_path), "lake", None)
    assert {split: rows.to_list() for split, rows in lake.items()} == {"train": [{"fish": "eel", "deep": 7}]}
    (tmp_path / "c1.csv").write_text("fish,deep\neel,7,8\n")
    with pytest.raises(UserError, match=r"c1\.csv, line 2: 3 fields under a header of 2"):
        load_splits(str(tmp_path), "lake", None)
