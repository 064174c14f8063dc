"""``bench/modules.py``: what is measured, and that disagreement is found."""

import sys

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench"))

import modules
import torch
from modules import Case
from peers_processes import Failed

from gru_bench.nn import native_layer

pytestmark = pytest.mark.skipif(native_layer.missing() is not None, reason="no native code on this machine")


@pytest.mark.parametrize("part", modules.SIZES)
def test_a_row(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "TURN_S", 0.0001)
    row = modules.measure(Case("LSTM", part, 1 if part == "stream" else 3, 2, 4), 20)
    assert row["low"] <= row["times_as_fast"] <= row["high"]
    assert row["ours_us"] > 0
    assert modules.line(row).count("|") == 7


def test_a_stream_carries_its_state_and_training_changes_the_weights() -> None:
    torch.manual_seed(0)
    module = torch.nn.GRU(3, 3)
    seen = []
    module.register_forward_hook(lambda _module, given, _result: seen.append(given[1]))
    x = torch.randn(1, 1, 3)
    step = modules.call_of(Case("GRU", "stream", 1, 1, 3), module, x)
    step()
    step()
    assert seen[0] is None
    assert seen[1].shape == (1, 1, 3)
    module = torch.nn.GRU(3, 3)
    before = module.bias_ih_l0.detach().clone()
    modules.call_of(Case("GRU", "training", 1, 1, 3), module, x)()
    assert not torch.equal(module.bias_ih_l0, before)


def test_outputs_that_differ_are_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "WITHIN", -1.0)
    with pytest.raises(Failed, match="outputs differ by"):
        modules.arms_of(Case("GRU", "training", 3, 2, 4))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--modules=GRU,TCN"], "modules: --modules: unknown 'TCN'; valid: GRU, LSTM, RNN"),
        (
            ["--threads=2", "--cpu-time"],
            "modules: --cpu-time with --threads=2: threads wait for each other; --threads=1 has one",
        ),
        (["--rounds=3"], "modules: --rounds=3: a ratio needs at least 20"),
    ],
)
def test_bad_options_are_one_line(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert modules.main(options) == 2
    assert capsys.readouterr().err == f"{says}\n"
