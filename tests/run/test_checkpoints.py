"""A run that is ended from outside goes on where it was, with the same command, and is recorded as one run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, Command
from runs import TINY

from gru_bench.probes.base import Finding, Findings
from gru_bench.run import checkpoints
from gru_bench.run.checkpoints import Checkpoints
from gru_bench.run.job import Job
from gru_bench.run.record import Recorder
from gru_bench.store import read as results
from gru_bench.store.signals import LEAVING, Preempted, TimedOut, raise_on_signals
from gru_bench.store.write import Run
from gru_bench.training.checkpoint import State, write
from gru_bench.training.fit import Event

RUN = ["train", "cell=gru", *TINY, "trainer.max_steps=8", "trainer.eval_every=2"]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Beside it nothing is found: the checkpoints are a test's own."""
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "own_cache"))
    return tmp_path / "own_cache" / "checkpoints"


def numbers(uri: str, run_id: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values without seconds and memory, and curves, of one run."""
    found = results.read(uri, experiment="adhoc")
    values = found.values[found.values["run_id"] == run_id]
    values = values[~values["split"].isin(["speed", "memory"]) & (values["metric"] != "probe_s")]
    curves = found.curves[found.curves["run_id"] == run_id]
    return (
        values.drop(columns="run_id").sort_values(["split", "metric", "slice", "slice_value"], ignore_index=True),
        curves.drop(columns="run_id").sort_values(["metric", "step"], ignore_index=True),
    )


def test_a_run_that_is_ended_by_signals_goes_on_and_ends_as_if_nothing_had_happened(
    gru_bench: Command, own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signals = {2: signal.SIGINT, 6: signal.SIGTERM}
    probes = ["probe=[gates]", "save=last"]
    curves = Recorder.curves

    def stopping(recorder: Recorder, event: Event) -> None:
        curves(recorder, event)
        if event.kind == "evaluation" and event.step in signals:
            signal.raise_signal(signals.pop(event.step))

    uri = "sqlite:///mlflow.db"
    seen, ids = [], []
    for code in (130, 143, 0):
        monkeypatch.setattr(Recorder, "curves", stopping)
        assert gru_bench(*RUN, *probes) == code
        runs = results.read(uri, experiment="adhoc").runs.fillna({"resumed_at": 0})  # a finished one hides the others
        latest = runs.sort_values("resumed_at").iloc[-1]
        seen.append((latest["status"], latest["error"], latest["resumed_at"], latest["resumed_from"]))
        ids.append(latest["run_id"])
        assert len(list(own_cache.glob("*/checkpoint.pt"))) == (code > 0)
    assert seen == [
        ("killed", "interrupted, checkpoint at step 2", 0, ""),
        ("killed", "preempted, checkpoint at step 6", 2, ids[0]),
        ("finished", "", 6, ids[0]),
    ]
    assert not list(own_cache.iterdir())
    said = capsys.readouterr().err
    for line in ("checkpoint at step 2: the same command", "goes on from step 2", "goes on from step 6"):
        assert f"gru adding seed 0: {line}" in said

    assert gru_bench(*RUN, *probes, "tracking.uri=sqlite:///whole.db") == 0
    (whole,) = results.read("sqlite:///whole.db", experiment="adhoc").runs.to_dict("records")
    assert pd.isna(whole["resumed_at"])
    values, drawn = numbers("sqlite:///whole.db", whole["run_id"])
    assert set(drawn["step"]) == {2, 4, 6, 8}
    assert "probe" in set(values["split"])
    pd.testing.assert_frame_equal(numbers(uri, ids[-1])[0], values)
    pd.testing.assert_frame_equal(numbers(uri, ids[-1])[1], drawn)
    weights = [next(Path().glob(f"*/{run}/artifacts/model/model.safetensors")) for run in (ids[-1], whole["run_id"])]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_a_run_whose_process_is_killed_goes_on_after_its_last_checkpoint(empty_folder: Path, own_cache: Path) -> None:
    run = [*RUN, "task.num_eval=64", "trainer.max_steps=3000", "trainer.eval_every=500", "checkpoint_every=0.05"]
    command = [sys.executable, "-m", "gru_bench", *run]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, cwd=empty_folder, env=environment, stderr=subprocess.PIPE)
    try:
        while process.poll() is None and not list(own_cache.glob("*/checkpoint.pt")):
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, cwd=empty_folder, env=environment, capture_output=True, text=True, check=True)
    assert "goes on from step " in done.stderr
    whole = [*command, "tracking.uri=sqlite:///whole.db"]
    subprocess.run(whole, cwd=empty_folder, env=environment, capture_output=True, check=True)
    both = []
    for name in ("mlflow", "whole"):
        uri = f"sqlite:///{empty_folder}/{name}.db"
        runs = results.read(uri, experiment="adhoc").runs
        (run_id,) = runs.loc[runs["status"] == "finished", "run_id"]
        both.append(numbers(uri, run_id))
    for one, other in zip(*both, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert not list(own_cache.iterdir())


def test_short_runs_touch_no_checkpoint(gru_bench: Command, own_cache: Path) -> None:
    assert gru_bench(*RUN) == 0
    assert not own_cache.exists()


# without training


class Written:
    """Stands in for a run."""

    run_id = "first"

    def __init__(self) -> None:
        self.params_: dict[str, object] = {}
        self.points: list[tuple[str, int, float]] = []
        self.values: dict[str, float] = {}

    def params(self, facts: dict[str, object]) -> None:
        self.params_ |= facts

    def curve(self, *point: Any) -> None:
        self.points.append(cast(tuple[str, int, float], point))

    def value(self, _: str, name: str, number: float, **__: object) -> None:
        self.values[name] = number

    def table(self, *_: object) -> None: ...
    def flush(self, least_s: float = 0.0) -> None: ...


def session(step: int) -> Callable[[], State]:
    """A state that has not more than what the run's side looks at."""
    return lambda: {"fit": {"steps": step}, "weights": torch.ones(3)}


def leave(one: Checkpoints) -> None:
    """As a process that is ended."""
    one.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


Make = Callable[..., tuple[Checkpoints, list[str], Written]]


@pytest.fixture
def make(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Make:  # noqa: ARG001  # where they lie
    """Makes the checkpoints of one and the same run, ready for training."""

    def made(every_s: float = 0.0, **other: str) -> tuple[Checkpoints, list[str], Written]:
        monkeypatch.setattr(checkpoints, "identity", lambda *_: {"torch": "2", "machine": "a"} | other)
        said: list[str] = []
        written = Written()
        one = Checkpoints("sqlite:///a.db", cast(Job, SimpleNamespace(keys=("k", "g"))), every_s, said.append)
        one.begin(Recorder(cast(Run, written), cast(Any, SimpleNamespace(metrics=())), 0.0), "kernel")
        return one, said, written

    return made


def test_no_checkpoint_before_its_time_and_none_that_costs_more_than_a_twentieth(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    kept: list[int] = []

    def slow(step: int) -> Callable[[], State]:
        def state() -> State:
            kept.append(step)
            now[0] += 5.0
            return session(step)()

        return state

    one, _, _ = make(10.0)
    for step in range(1, 200):
        now[0] += 1.0
        one.after_step(step, slow(step))
    assert kept == [10, 110]  # 10 s after the start; 5 s of work, so 100 s later
    with one:
        pass
    assert not one.folder.exists()


@pytest.mark.parametrize("error", [None, ValueError("its own fault"), KeyboardInterrupt(), SystemExit(143)])
def test_what_ends_by_itself_leaves_nothing(make: Make, error: BaseException | None) -> None:
    one, _, _ = make()
    one.after_step(4, session(4))
    assert one.path.exists()
    one.__exit__(type(error) if error else None, error, None)
    assert one.folder.exists() == (isinstance(error, KeyboardInterrupt | SystemExit))


def test_what_was_written_goes_along(make: Make) -> None:
    one, _, _ = make()
    assert one.record is not None
    one.record.drawn = [("train/loss", 2, 0.5), ("train/loss", 4, 0.25)]
    one.record.found = [("gates", Findings([Finding("open_start", 0.5, "1")], {"start": {"x": [1.0]}}))]
    one.record.probe_s = 3.0
    one.after_step(4, session(4))
    leave(one)
    other, said, written = make()
    assert other.record is not None
    started = other.record.started
    assert other.load() is not None
    other.goes_on()
    assert said == ["goes on from step 4 of run first"]
    assert written.params_ == {"resumed_at": 4, "resumed_from": "first"}
    assert written.points == [("train/loss", 2, 0.5), ("train/loss", 4, 0.25)]
    assert written.values == {"open_start": 0.5, "probe_s": 3.0}
    assert other.record.started < started  # seconds add up
    with other:
        pass


def left_behind(make: Make) -> Path:
    one, _, _ = make()
    one.after_step(4, session(4))
    leave(one)
    return one.path


@pytest.mark.parametrize(
    ("other", "why"),
    [({"torch": "3"}, "another torch"), ({"torch": "3", "machine": "b"}, "another torch, another machine")],
)
def test_a_foreign_checkpoint_is_named_and_not_used(make: Make, other: dict[str, str], why: str) -> None:
    left_behind(make)
    one, said, _ = make(**other)
    assert one.load() is None
    assert said == [f"a checkpoint of this run is not used ({why}); training begins anew"]


@pytest.mark.parametrize("damage", [b"", b"what?", None])
def test_a_damaged_checkpoint_is_named_and_not_used(make: Make, damage: bytes | None) -> None:
    path = left_behind(make)
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    one, said, _ = make()
    assert one.load() is None
    assert len(said) == 1
    assert said[0].startswith("a checkpoint of this run is not used (it is ")
    one.after_step(1, session(1))  # and is written over
    assert one.load() is not None
    with one:
        pass


def test_two_processes_with_one_key_do_not_share(make: Make) -> None:
    one, _, _ = make()
    with one:
        one.after_step(4, session(4))
        other, said, _ = make()
        with other:
            assert other.load() is None
            other.after_step(9, session(9))
            other.after_step(10, session(10))
        assert said == ["no checkpoints are kept of this run: another process trains the same run at this time"]
        kept = one.load()
        assert kept is not None
        assert kept["fit"]["steps"] == 4


def test_a_full_disk_is_said_once_and_training_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    one, said, _ = make()
    with one:
        for step in range(3):
            one.after_step(step, session(step))
    assert said == ["no checkpoints are kept of this run: No space left on device"]


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Preempted), (signal.SIGUSR1, Preempted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_waits_for_the_step_but_not_for_an_evaluation(
    make: Make, number: int, kind: type[BaseException]
) -> None:
    def train(one: Checkpoints, during: str) -> None:
        with one, one.whole_steps():
            if during == "step":
                signal.raise_signal(number)
                done.append(during)
                one.after_step(7, session(7))
            with one.interruptible(session(7)):
                signal.raise_signal(number)
                done.append("after the signal")

    done: list[str] = []
    before = {each: signal.getsignal(each) for each in LEAVING}
    try:
        for during in ("step", "evaluation"):
            raise_on_signals()
            one, said, _ = make(3600.0)
            with pytest.raises(kind):
                train(one, during)
            assert one.path.exists()
            assert said == ["checkpoint at step 7: the same command goes on from there"]
    finally:
        raise_on_signals()  # forgets the last one
        for each, handler in before.items():
            signal.signal(each, handler)
    assert done == ["step"]


def test_a_time_limit_stays_a_time_limit(make: Make) -> None:
    one, _, _ = make(3600.0)
    with pytest.raises(TimedOut), one, one.interruptible(session(7)):
        raise TimedOut(1, "run_timeout=1: the run took longer")
    assert not one.path.exists()  # it would not end sooner the next time


def test_old_checkpoints_are_removed(make: Make, own_cache: Path) -> None:
    old, new = own_cache / "old" / "checkpoint.pt", own_cache / "new" / "checkpoint.pt"
    for path in (old, new):
        write(path, {"x": 1})
    past = time.time() - (checkpoints.KEPT_DAYS + 1) * 24 * 3600
    for path in (old, old.parent):
        os.utime(path, (past, past))
    one, _, _ = make()
    with one:
        one.after_step(1, session(1))
    assert not old.exists()
    assert new.exists()


def test_the_code_of_a_users_own_class_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_cells.py").write_text("class Cell: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"cell": {"_target_": "my_own_cells.Cell"}, "trainer": {"_target_": "gru_bench.training.trainer.Trainer"}}
    before = checkpoints.own_code(node)
    assert list(before) == ["my_own_cells.Cell"]
    (tmp_path / "my_own_cells.py").write_text("class Cell: ...  # another\n")
    assert checkpoints.own_code(node) != before
