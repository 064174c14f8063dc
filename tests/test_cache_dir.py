"""Where things are kept, and that a file is replaced whole."""

import os
import sys
from pathlib import Path

import pytest

from gru_bench.cache_dir import cache_dir, replace_text, waiting_dir
from gru_bench.store.connect import spool_folder


def test_the_projects_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.setenv("GRU_BENCH_CACHE", "beside")
    assert cache_dir() == tmp_path / "beside"
    monkeypatch.setenv("GRU_BENCH_CACHE", "")
    assert cache_dir() == tmp_path / "xdg" / "gru_bench"


@pytest.mark.parametrize("base", ["", "relative/path", None])
@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_the_platforms_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: str | None, platform: str, expected: str
) -> None:
    for name in ("GRU_BENCH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if base is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_dir() == tmp_path / expected / "gru_bench"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".local/share"), ("darwin", "Library/Application Support"), ("win32", "AppData/Local")],
)
def test_results_do_not_wait_among_the_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, expected: str
) -> None:
    for name in ("GRU_BENCH_CACHE", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", platform)
    assert waiting_dir() == tmp_path / expected / "gru_bench"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert spool_folder("sqlite:///x.db").parent == tmp_path / "data" / "gru_bench" / "spool"
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "own"))
    assert waiting_dir() == cache_dir() == tmp_path / "own"


def test_a_file_is_replaced_whole_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    replace_text(path, "one")
    replace_text(path, "two")
    assert path.read_text(encoding="utf-8") == "two"

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        replace_text(path, "three")
    assert path.read_text(encoding="utf-8") == "two"
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]
