"""``bench/subnormal.py``: its rows, all by the session's own code, and bad input."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from bptt_cells import needs_native
from conftest import REPOSITORY


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "bench"), *sys.path])
    for name in ("prebuilt", "subnormal"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    found = importlib.import_module("subnormal")
    monkeypatch.setattr(sys.modules["prebuilt"], "SAMPLE_S", 0.0)
    monkeypatch.setattr(found, "take_native", lambda **_: None)  # no second library is compiled
    return found


@needs_native
def test_every_arm_is_timed_and_the_same_code_gives_the_same_numbers(bench: ModuleType, tmp_path: Path) -> None:
    told = tmp_path / "rows"
    shapes = ["--cells", "gru", "--shapes", "5x3x4"]
    assert bench.main(["--steps", "1", "--rounds", "2", *shapes, "--json", str(told)]) == 0
    *saturated, ordinary = map(json.loads, told.read_text().splitlines())
    assert [(row["arm"], row["flush_denormal"]) for row in saturated] == [
        (arm, zero) for zero in (False, True) for arm in ("native, keeps", "native", "vendor", "loop")
    ]
    assert all(row["forward_ms"] > 0 and row["backward_ms"] > 0 for row in saturated)
    assert ordinary["difference"] == 0
    assert ordinary["low"] <= ordinary["ratio"] <= ordinary["high"]


@needs_native
def test_all_arms_have_the_same_weights(bench: ModuleType) -> None:
    problem, alone = bench.saturated(1)
    batch = alone.feed.next()
    losses = []
    task, original = problem.task, problem.task.loss

    def watched(model: torch.nn.Module, *rest: object) -> object:
        found = original(model, *rest)
        losses.append(float(found[0].detach()))
        return found

    task.loss = watched
    for backend in ("bptt", "vendor", "loop"):
        bench.both_ways(problem, alone, batch, backend)()
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    assert float(original(problem.model(1), batch, None)[0].detach()) != pytest.approx(losses[0], rel=1e-5)


def test_what_cannot_be_is_refused(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for option, said in ((["--rounds", "1"], "must be at least 2"), (["--shapes", "3"], "'3' must be TxBxH")):
        assert bench.main(option) == 2
        assert said in capsys.readouterr().err
