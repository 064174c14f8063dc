"""What ``bench/cells.py`` times: shapes from text, steps of every kind, and which rows make the mean."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from made_cells import CPU, maker

sys.path.insert(0, str(REPOSITORY / "bench"))

import cells
import cells_arms
from cells_arms import Arm, Place, Shape, layer_arm, timed

from gru_bench.backends.bptt import BPTT
from gru_bench.backends.loop import Loop
from gru_bench.errors import UserError
from gru_bench.store.bench import parse

HERE = Place(CPU, torch.float32, "float32")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("35x20x200", (35, 20, 200, 200, 1, False)),
        ("64x32x16x64", (64, 32, 16, 64, 1, False)),
        ("512x10x128x256x6", (512, 10, 128, 256, 6, False)),
        ("512x10x128x256x6b", (512, 10, 128, 256, 6, True)),
    ],
)
def test_a_shape_is_read_from_text(text: str, expected: tuple[object, ...]) -> None:
    found = Shape.parse(text)
    assert (found.T, found.B, found.D, found.H, found.L, found.bidirectional) == expected
    assert found.text == text
    assert found.in_grid == (expected[4:] == (1, False))


@pytest.mark.parametrize("text", ["", "35x20", "35x0x200", "35x20x200b", "1x2x3x4x5x6", "-1x2x3"])
def test_what_is_no_shape_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=rf"^--shapes: '{text}' must be TxBxH"):
        Shape.parse(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "--device=tpu: .*valid: cpu, cuda"),
        (["--dtype", "tf32"], "--dtype=tf32: not supported on cpu; valid: float32, bfloat16, float16"),
        (["--forward", "--store"], "--store: .*without --forward"),
        (["--march", "x86-64-v3", "--store"], "--store: takes code made for this processor; valid: without --march"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells.parsed(arguments)


def test_a_step_counts_its_products_and_leaves_no_gradient() -> None:
    shape = Shape.parse("3x2x5x4x2b")
    arm = layer_arm(maker("gru"), Loop(), shape, HERE)
    # three gates of 4 units in both directions; the second layer reads both
    weights = 2 * 12 * (5 + 4) + 2 * 12 * (8 + 4)
    assert arm.flops == 6 * 3 * 2 * weights
    infer = layer_arm(maker("gru"), BPTT(native="never"), shape, HERE, forward=True)
    assert infer.flops == 2 * 3 * 2 * weights
    assert infer.kernel == "Python loop"  # a training pass would be hand-derived
    arm.step()
    assert arm.kernel == "Python loop"


def test_on_cuda_a_turn_is_many_steps_between_two_looks_at_an_idle_device(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told, waits = [0.0], [0], [0]

    class Clock:
        """A device that does a step in a millisecond, and never at once."""

        def __init__(self, device: torch.device) -> None:
            self.device = device

        def __call__(self) -> "Clock":
            return self

        def __enter__(self) -> None:
            assert waits[0] > 0  # idle
            self.start = now[0]

        def __exit__(self, *_: object) -> None:
            waits[0] = 0
            self.taken = now[0] - self.start

        def seconds(self) -> list[float]:
            return [self.taken]

    def step() -> None:
        now[0] += 0.001
        told[0] += 1

    monkeypatch.setattr(cells_arms, "StepClock", Clock)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: waits.__setitem__(0, 1))
    place = Place(torch.device("cuda"), torch.float32, "float32")
    times = timed({"one": Arm(step, 1.0, "k")}, 3, place)
    assert times["one"] == pytest.approx([1.0] * 3)
    assert told[0] == 3 + 4 * 2 * 5  # three to find out how many; then four rounds of two turns of five


def test_turns_go_out_and_back_from_another_arm_each_round() -> None:
    taken: list[str] = []

    def turn(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    found = cells_arms.turns({name: partial(turn, name) for name in "abc"}, 2)
    assert "".join(taken) == "abccba" + "bcaacb"
    assert found == {"a": [3.5, 9.5], "b": [3.5, 9.5], "c": [3.5, 9.5]}


def test_the_mean_is_over_the_grid_and_the_json_can_be_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "cores_used_by_others", lambda _: 0.0)
    monkeypatch.setattr(cells, "best_product_gflops", lambda *_: 100.0)
    file = tmp_path / "cells.json"
    options = ["--cells", "gru", "--backends", "vendor,loop", "--shapes", "3x2x4,3x2x4x4x2b", "--rounds", "1"]
    assert cells.main([*options, "--no-article", "--threads", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert found == json.loads(capsys.readouterr().out.splitlines()[-1])
    ratios = {row["shape"]: row["ratio_to_vendor"] for row in found["rows"] if row["backend"] == "loop"}
    means = {mean["backend"]: mean["ratio_to_vendor"] for mean in found["geomean"]}
    assert set(ratios) == {"3x2x4", "3x2x4x4x2b"}
    assert means["loop"] == pytest.approx(ratios["3x2x4"], abs=0.002)
    assert len(parse(file.read_text()).rows) == 4
