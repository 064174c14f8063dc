"""``bench/inference.py`` without ONNX Runtime: what is measured, and that disagreement is found."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY
from made_cells import maker, seeded

sys.path.insert(0, str(REPOSITORY / "bench"))

import inference
from inference import Case

from gru_bench.backends.native.build import CannotBuild
from gru_bench.backends.native.layer import has_kernel
from gru_bench.errors import UserError


def has_native() -> bool:
    try:
        return has_kernel(maker("gru")(1, 1, seeded()), torch.float32)
    except CannotBuild:
        return False


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "TURN_S", 0.0005)


needs_native = pytest.mark.skipif(not has_native(), reason="no native code here")


def test_the_cases_are_streams_and_the_grid() -> None:
    found = inference.cases(["gru"], ["stream", "batch"])
    assert found[0] == Case("gru", "stream", inference.STREAM_LENGTH, 1, 64, 64)
    assert [case.label for case in found if case.part == "batch"][:1] == ["35x20x200"]
    assert Case("gru", "batch", 64, 32, 32, 64).label == "64x32x32x64"
    assert all(case.part == "batch" for case in inference.cases(["rnn", "lstm"], ["batch"]))


@needs_native
@pytest.mark.parametrize("part", ["stream", "batch"])
def test_a_case_has_times_and_a_ratio(part: str) -> None:
    ours, theirs = inference.measure(Case("lstm", part, 4, 2, 3, 5), None, 20)
    assert (ours["arm"], theirs["arm"]) == ("native", "torch.nn")
    assert 0 < ours["p50_us"] <= ours["p90_us"] <= ours["p99_us"]
    assert theirs["low"] <= theirs["ours_faster"] <= theirs["high"]
    assert ours["calls"] >= (1000 if part == "stream" else 80)


@needs_native
def test_arms_that_disagree_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    our_arms = inference.our_arms

    def wrong(*given: object) -> dict[str, tuple[torch.Tensor, inference.Turn]]:
        found = our_arms(*given)  # type: ignore[arg-type]
        outputs, turn = found[inference.OURS]
        return found | {inference.OURS: (outputs + 0.01, turn)}

    monkeypatch.setattr(inference, "our_arms", wrong)
    with pytest.raises(inference.Failed, match=r"gru H=5 B=2: native differs from torch.nn by 1.0e-02"):
        inference.measure(Case("gru", "stream", 4, 2, 5, 5), None, 20)


def test_another_process_that_died_fails_a_case_and_not_the_bench() -> None:
    onnx = inference.OnnxRuntime.__new__(inference.OnnxRuntime)
    pipe = subprocess.PIPE
    onnx.process = subprocess.Popen([sys.executable, "-c", "pass"], stdin=pipe, stdout=pipe, text=True)
    onnx.process.wait()
    for _ in range(2):
        with pytest.raises(inference.Failed, match="ONNX Runtime's process"):
            onnx.ask(case="gru", calls=1)
    onnx.close()


@needs_native
def test_the_last_line_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inference, "HIDDEN", (5,))
    monkeypatch.setattr(inference.os, "sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.setattr(inference, "cores_used_by_others", lambda _: 0.0)
    threads = torch.get_num_threads()
    try:
        assert inference.main(["--cells", "gru", "--parts", "stream", "--without-onnx"]) == 0
    finally:
        torch.set_num_threads(threads)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["shape"] for row in summary["rows"]] == ["H=5 B=1"] * 2 + ["H=5 B=8"] * 2
    assert summary["geomean"][0].keys() == {"cell", "part", "arm", "ours_faster"}
    assert summary["onnxruntime"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cells", "mgu"], "--cells: unknown 'mgu'; valid: rnn, lstm, gru"),
        (["--parts", "train"], "--parts: unknown 'train'; valid: stream, batch"),
        (["--rounds", "3"], "--rounds=3: a ratio needs at least 20"),
    ],
)
def test_options_that_mean_nothing_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        inference.parsed(arguments)
