"""``bench/parts.py``: the ledger with a made clock, the marks on small models, and one whole run of a tiny task."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from runs import TINY
from seq2seq_models import make_model, random_batch, words_before
from stores import copy_store
from torch import nn

sys.path.insert(0, str(REPOSITORY / "bench"))

from parts import STEP_PARTS
from parts_marks import Ledger, inside, part_of, watch_model, watch_runs

from gru_bench.losses import mean_nats
from gru_bench.run import preflight
from gru_bench.run.build import ModelBuilder
from gru_bench.run.record import Recorder


class Ticks:
    """A clock that goes on by what is added to it."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_each_second_is_charged_once_to_the_innermost_part() -> None:
    clock = Ticks()
    ledger = Ledger(clock)
    clock.at += 1  # rest
    with ledger.enter("step", "optimizer"):
        clock.at += 2
        with ledger.part("loss"):
            clock.at += 4
            with ledger.part("cell"):
                clock.at += 8
            clock.at += 16
    with ledger.enter("validation"), ledger.part("cell"):
        clock.at += 32
    ledger.switch("rest")
    expected = {"rest": 1, "optimizer": 2, "loss": 20, "cell": 8, "validation": 32}
    assert {name: seconds for name, seconds in ledger.seconds.items() if seconds} == expected
    assert ledger.inner["validation.cell"] == 32
    assert ledger.whole == 63


def test_a_part_that_fails_is_left_all_the_same() -> None:
    clock = Ticks()
    ledger = Ledger(clock)
    with contextlib.suppress(ValueError), ledger.enter("test"):
        clock.at += 1
        raise ValueError
    clock.at += 2
    ledger.switch("rest")
    assert (ledger.seconds["test"], ledger.seconds["rest"]) == (1, 2)


def test_both_ways_through_a_model_are_charged_to_its_parts() -> None:
    """The clock ticks at each change of part: the order is that of the calls, then that of autograd's nodes."""
    ledger = Ledger()
    model = make_model(attention="luong", dtype=torch.float32)
    seen: list[str] = []
    switch: Callable[[str], str] = ledger.switch

    def noted(part: str) -> str:
        seen.append(part)
        return switch(part)

    ledger.switch = noted  # type: ignore[method-assign]
    watch_model(model, ledger)
    batch = random_batch([5, 3], [4, 2])
    h_SBH = model.features(batch.inputs, batch.lengths, words_before(batch.targets))
    forward = [part for part in seen if part not in ("rest", "glue")]
    assert forward == ["embedding", "cell", "embedding", "cell", "attention"]
    loss = mean_nats(h_SBH, model.output, batch.targets)
    seen.clear()
    with ledger.part("loss"):
        loss.backward()
    backward = [part for part in seen if part not in ("rest", "glue")]
    assert backward[:3] == ["loss", "head", "attention"]
    assert set(backward[3:]) == {"cell", "embedding"}


def test_a_module_that_reads_anothers_output_itself_does_not_hide_it() -> None:
    ledger, clock = Ledger(), Ticks()
    ledger.clock, ledger.since, ledger.phase = clock, 0.0, "step"

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(_: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(_: object, grad: torch.Tensor) -> torch.Tensor:
            clock.at += 7
            return grad

    class Table(nn.Embedding):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return Slow.apply(super().forward(ids))

    model = nn.Sequential(Table(3, 2), nn.Linear(2, 2))
    watch_model(model, ledger)(torch.tensor([1])).sum().backward()
    ledger.switch("rest")
    assert {name: seconds for name, seconds in ledger.seconds.items() if seconds} == {"embedding": 7}


def test_every_module_with_values_of_a_model_has_a_part() -> None:
    for model in (make_model(attention="luong", bidirectional=True), make_model(attention="bahdanau")):
        named = dict(model.named_modules())
        for name, _ in model.named_parameters():
            owners = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
            assert any(part_of(named[owner], owner) for owner in owners), name
    assert part_of(nn.Dropout(), "dropout") is None


def test_inside_gives_what_the_call_gives() -> None:
    ledger = Ledger(Ticks())
    assert inside(ledger, "loss", lambda a, *, b: (a, b, ledger.now))(1, b=2) == (1, 2, "loss")


def test_all_that_is_to_be_watched_is_there() -> None:
    """The list names functions by hand: one that has another name now would fail here, not after a minute of a run."""
    watched = list(watch_runs(Ledger(Ticks())))
    assert all(callable(new) and callable(getattr(owner, name)) for owner, name, new in watched)
    names = [(owner, name) for owner, name, _ in watched]
    assert len(set(names)) == len(names)


def test_a_look_before_training_is_charged_to_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Ticks()
    ledger = Ledger(clock)
    expected = {
        (preflight, "memory_of_a_step"): "memory",
        (ModelBuilder, "flops_a_token"): "loading",
        (Recorder, "arithmetic"): "tracking",
    }
    for owner, name in expected:
        monkeypatch.setattr(owner, name, lambda seconds: setattr(clock, "at", clock.at + seconds))
    for owner, name, new in watch_runs(ledger):
        monkeypatch.setattr(owner, name, new)
    for seconds, (owner, name) in enumerate(expected, 1):
        getattr(owner, name)(seconds)
    ledger.switch("rest")
    charged = {part: seconds for part, seconds in ledger.seconds.items() if seconds}
    assert charged == {"memory": 1, "loading": 2, "tracking": 3}


def test_a_whole_run_is_taken_apart_and_scaled(fresh_store: Path, tmp_path: Path) -> None:
    store = copy_store(fresh_store, tmp_path)  # that, and a backend that compiles nothing: seconds less
    settings = [*TINY[1:], "backend=loop", f"tracking.uri={store.uri}"]
    job = ["--experiment", "quick", "--tasks", "adding", "--cells", "gru", "--steps", "6", *settings]
    command = [sys.executable, str(REPOSITORY / "bench" / "parts.py"), *job]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    *_, lines = done.stdout.rstrip().rpartition("quick, gru\n")
    told = json.loads(lines.splitlines()[-1])
    (row,) = told["rows"]
    seconds, whole = row["seconds"], row["whole"]
    assert sum(seconds.values()) == pytest.approx(row["cpu_s"], abs=0.002)
    assert (row["steps"], row["whole_steps"], row["validations"]) == (6, 1000, 5)
    for part in ("cell", "head", "loss", "optimizer", "data", "validation", "test", "tracking", "loading", "memory"):
        assert seconds[part] > 0, part
    assert seconds["embedding"] == seconds["attention"] == 0
    assert seconds["rest"] < 0.3 * sum(seconds.values())
    for part in (*STEP_PARTS, "data"):
        assert whole[part] == pytest.approx(1000 / 6 * seconds[part], rel=1e-3, abs=0.01)
    assert whole["validation"] == pytest.approx(5 * seconds["validation"], abs=0.001)  # once in six steps, at the end
    assert whole["test"] == seconds["test"]
    assert row["evaluation_cell_s"] > 0
    table = lines.splitlines()[: -2 - 3]
    assert table[0].split()[-1] == "adding"
    assert sum(float(line.split()[-1]) for line in table[1:]) == pytest.approx(100, abs=1)
