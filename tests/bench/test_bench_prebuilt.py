"""``bench/prebuilt.py``: its differences by hand, a round over copies of this machine's own code, and bad input."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from bptt_cells import needs_native
from conftest import REPOSITORY

from gru_bench.backends.native import build as native_build
from gru_bench.backends.native import compiling, prebuilt


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "bench"), *sys.path])
    monkeypatch.delitem(sys.modules, "prebuilt", raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(prebuilt, "FOLDER", prebuilt.FOLDER)  # what the program sets is undone
    return importlib.import_module("prebuilt")


def test_a_difference_is_relative_to_the_largest_number(bench: ModuleType) -> None:
    one, other = torch.tensor([1.0, 4.0]), torch.tensor([1.5, 4.0])
    assert bench.difference([one, one], [one, other]) == 0.125
    assert bench.difference([one], [one]) == 0


@needs_native
def test_the_same_code_gives_the_same_numbers(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Path(native_build.library()._name).read_bytes()
    libraries = {}
    for level in prebuilt.NEEDS:
        path = tmp_path / f"layer-{level}.so"
        path.write_bytes(code + level.encode())
        libraries[level] = {"file": path.name, "seal": compiling.seal(path), "flags": ""}
    facts = {"sources": compiling.source_digest(), "compiler": "", "libraries": libraries}
    (tmp_path / compiling.MANIFEST).write_text(json.dumps(facts))
    monkeypatch.setattr(prebuilt, "processor_flags", lambda: prebuilt.NEEDS["avx512"])
    monkeypatch.setattr(bench, "SAMPLE_S", 0.0)
    monkeypatch.setenv(prebuilt.VARIABLE, "auto")
    options = ["--cells", "gru", "--shapes", "5x3x4", "--rounds", "2", "--libraries", str(tmp_path)]
    assert bench.main([*options, "--json", str(tmp_path / "rows")]) == 0
    (row,) = map(json.loads, (tmp_path / "rows").read_text().splitlines())
    assert [row[level]["difference"] for level in prebuilt.NEEDS] == [0, 0]
    assert all(row[level]["ratio"] > 0 for level in prebuilt.NEEDS)
    bench.take("auto")  # forget what was loaded


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--cells", "foo"], "unknown 'foo'; valid: gru,"),
        (["--shapes", "3"], "'3' must be TxBxH"),
        (["--rounds", "1"], "must be at least 2"),
    ],
)
def test_what_cannot_be_is_refused(
    bench: ModuleType, capsys: pytest.CaptureFixture[str], option: list[str], said: str
) -> None:
    assert bench.main(option) == 2
    assert said in capsys.readouterr().err


def test_a_processor_that_runs_no_library_is_told_so(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prebuilt, "processor_flags", frozenset)
    assert bench.main([]) == 2
    assert "it needs AVX2" in capsys.readouterr().err
