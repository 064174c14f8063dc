"""``bench/memory.py`` against bytes that can be counted by hand."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import REPOSITORY


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "bench"), *sys.path])
    return importlib.import_module("memory")


def test_a_loop_keeps_its_gates_and_its_states(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    T, B, H = 5, 3, 16
    options = ["--cells", "rnn,janet", "--backends", "loop,vendor", "--shapes", f"{T}x{B}x{H}"]
    assert bench.main([*options, "--json", str(tmp_path / "rows")]) == 0
    rnn, vendor, janet, refused = map(json.loads, (tmp_path / "rows").read_text().splitlines())
    # each step's state, all stacked to the output; the zeros before the first step, and the last one stacked once more
    assert rnn["values_a_unit"] == pytest.approx(2 + 2 / T)
    assert rnn["bytes_a_token"] == pytest.approx(rnn["values_a_unit"] * 4 * H)
    assert rnn["training"]["parameters"] == 4 * H * (H + H + 1)
    assert vendor["training"]["parameters"] == 4 * H * (H + H + 2)
    assert janet["values_a_unit"] > rnn["values_a_unit"]
    assert refused["reason"].startswith("backend=vendor")
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert torch.is_grad_enabled()


def test_numbers_of_double_width_take_twice_the_bytes(bench: ModuleType, tmp_path: Path) -> None:
    options = ["--cells", "rnn", "--backends", "loop", "--shapes", "5x3x16", "--json", str(tmp_path / "rows")]
    bytes_a_token = []
    for dtype in ("float32", "float64"):
        assert bench.main([*options, "--dtype", dtype]) == 0
        bytes_a_token.append(json.loads((tmp_path / "rows").read_text())["bytes_a_token"])
    assert bytes_a_token[1] == 2 * bytes_a_token[0]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--cells", "foo", "unknown 'foo'; valid: gru,"), ("--dtype", "int", "valid: float32")],
)
def test_what_is_not_there_is_refused(
    bench: ModuleType, capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    assert bench.main([option, value]) == 2
    assert said in capsys.readouterr().err
