"""``gru-bench train -m seeds_in_batch=K`` for real: the same runs as without it, also after an end from outside."""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import psutil
import pytest
from conftest import REPOSITORY, Command
from runs import TINY, URI, stored

from gru_bench.backends.native.build import CannotBuild, library
from gru_bench.run import batch
from gru_bench.run.record import Recorder
from gru_bench.store.read import read
from gru_bench.store.signals import time_limit
from gru_bench.training.fit import Event

SWEEP = ["-m", "cell=gru", "seed=0,1", "backend=bptt", *TINY, "trainer.max_steps=8", "trainer.eval_every=2"]
PATIENCE_S = 200


def native() -> bool:
    try:
        library()
    except CannotBuild:
        return False
    return True


needs_native = pytest.mark.skipif(not native(), reason="no native code on this machine")


def scores(sweep: str | None = None) -> pd.DataFrame:
    found = read(URI, sweep=sweep).joined().query("split in ('train', 'valid', 'test') and status == 'finished'")
    columns = ["seed", "split", "metric", "slice", "slice_value"]
    return found[[*columns, "value", "config_key"]].sort_values(columns).reset_index(drop=True)


def curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Points of these runs by seed."""
    columns = ["seed", "metric", "step", "value"]
    return stored().curves.merge(runs[["run_id", "seed"]])[columns].sort_values(columns[:3], ignore_index=True)


@needs_native
def test_runs_of_a_batch_are_those_that_each_would_be_alone(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gru_bench("train", *SWEEP, "seeds_in_batch=2") == 0
    out = capsys.readouterr().out
    assert "2 finished" in out
    assert "[1/2] gru adding seed 0: test mse" in out
    runs, together = stored().runs, scores()
    assert list(runs["seeds_in_batch"]) == [2, 2]
    assert list(runs["job"]) == [0, 1]
    drawn = curves(runs)
    assert gru_bench("train", *SWEEP, "seeds_in_batch=2") == 0
    assert "2 of 2 runs are done" in capsys.readouterr().out

    assert gru_bench("train", *SWEEP, "only=all") == 0
    later = stored().runs
    (sweep,) = set(later["sweep"]) - set(runs["sweep"])
    later = later[later["sweep"] == sweep]
    assert set(later["seeds_in_batch"]) == {1}
    pd.testing.assert_frame_equal(scores(sweep), together)
    pd.testing.assert_frame_equal(curves(later), drawn)


@needs_native
def test_after_sigterm_each_run_of_a_batch_goes_on_from_its_own_checkpoint(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Recorder.curves

    def ends(recorder: Recorder, event: Event) -> None:
        real(recorder, event)
        if event.kind == "evaluation" and event.step == 4:
            monkeypatch.setattr(Recorder, "curves", real)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Recorder, "curves", ends)
    assert gru_bench("train", *SWEEP, "seeds_in_batch=2") == 143
    said = capsys.readouterr()
    assert "2 killed" in said.out
    assert said.err.count("checkpoint at step ") == 2
    runs = stored().runs
    assert list(runs["status"]) == ["killed"] * 2
    assert all(error.startswith("preempted, checkpoint at step ") for error in runs["error"])

    assert gru_bench("train", *SWEEP, "seeds_in_batch=1") == 0
    assert capsys.readouterr().err.count("goes on from step ") == 2
    resumed = scores()
    last = stored().runs.query("status == 'finished'")
    assert list(last["seeds_in_batch"]) == [2, 2]  # a part of their steps was
    assert gru_bench("train", *SWEEP, "only=all") == 0
    (sweep,) = set(stored().runs["sweep"]) - set(runs["sweep"])
    pd.testing.assert_frame_equal(scores(sweep), resumed)


def test_a_kind_of_model_that_cannot_goes_one_by_one_and_says_why(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", "seed=0,1", "cell=rnn", "backend=loop", *TINY, "trainer.max_steps=2", "trainer.eval_every=2"]
    assert gru_bench("train", *sweep, "seeds_in_batch=2") == 0
    assert "trained one after the other: the recurrent layer does not run by native code" in capsys.readouterr().err
    assert list(stored().runs["seeds_in_batch"]) == [1, 1]


@needs_native
def test_a_run_that_fails_in_a_batch_fails_alone(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Recorder.model

    def fails(recorder: Recorder, *sizes: int) -> None:
        if "seed 1" in recorder.run._package.about.name:
            raise MemoryError("no room")
        real(recorder, *sizes)

    monkeypatch.setattr(Recorder, "model", fails)
    assert gru_bench("train", *SWEEP, "seed=0,1,2", "seeds_in_batch=3") == 1
    runs = stored().runs.set_index("seed")
    assert list(runs["status"]) == ["finished", "failed", "finished"]
    assert "no room" in runs.loc[1, "error"]
    assert list(runs.loc[[0, 2], "seeds_in_batch"]) == [2, 2]
    assert "2 finished, 1 failed" in capsys.readouterr().out


@needs_native
def test_a_time_limit_is_for_all_runs_of_a_batch(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float | None] = []
    real = Recorder.curves

    def long(_: float | None, reason: str) -> AbstractContextManager[None]:
        limits.append(_)
        return time_limit(3600, reason)

    def over(recorder: Recorder, event: Event) -> None:
        real(recorder, event)
        if event.kind == "evaluation" and event.step == 4:
            monkeypatch.setattr(Recorder, "curves", real)
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(batch, "time_limit", long)
    monkeypatch.setattr(Recorder, "curves", over)
    assert gru_bench("train", *SWEEP, "seeds_in_batch=2", "run_timeout=7") == 1
    assert limits == [14]
    assert "2 killed" in capsys.readouterr().out
    runs = stored().runs
    assert list(runs["status"]) == ["killed"] * 2
    assert set(runs["error"]) == {"run_timeout=7: 2 runs together took longer than 2 times that"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("seeds_in_batch=0", "seeds_in_batch=0: must be greater than or equal to 1"),
        ("seeds_in_batch=2 hydra/launcher=joblib", "not with hydra/launcher=joblib; valid: basic, workers"),
        ("seeds_in_batch=2 hydra.job.chdir=true", "hydra.job.chdir=false"),
    ],
)
def test_what_cannot_go_in_batches_is_said_before_anything_runs(
    gru_bench: Command, capsys: pytest.CaptureFixture[str], given: str, said: str
) -> None:
    assert gru_bench("train", *SWEEP, *given.split()) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.slow
@needs_native
def test_a_killed_worker_costs_none_of_its_runs(empty_folder: Path) -> None:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    sweep = ["train", *SWEEP, "seed=0,1,2", "trainer.max_steps=8000", "trainer.eval_every=1000", "checkpoint_every=0.1"]
    batches = ["hydra/launcher=workers", "hydra.launcher.n_jobs=1", "seeds_in_batch=3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gru_bench", *sweep, *batches],
        cwd=empty_folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    checkpoints = Path(os.environ["GRU_BENCH_CACHE"]) / "checkpoints"
    before = set(checkpoints.rglob("checkpoint.pt"))
    try:
        until = time.monotonic() + PATIENCE_S
        while len(set(checkpoints.rglob("checkpoint.pt")) - before) < 3:  # of each run of the batch
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        workers = [
            child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]
        workers[0].send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "3 finished" in out
    runs = read(f"sqlite:///{empty_folder}/mlflow.db", experiment="adhoc").runs
    assert list(runs["status"]) == ["finished"] * 3
    assert err.count("it is tried again") == 3
    assert err.count("goes on from step ") == 3
