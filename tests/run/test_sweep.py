"""A sweep: its parent run, what each job leaves behind, and what is checked before any job."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import Command
from omegaconf import DictConfig, OmegaConf
from runs import STEPS, TINY, stored
from stores import ENVIRONMENT

from gru_bench.errors import UserError
from gru_bench.run.engines import is_hydras_own
from gru_bench.run.job import Request
from gru_bench.run.launch import Sweep, current_launch, launching
from gru_bench.run.sweep import SweepCallback
from gru_bench.run.train import train
from gru_bench.store.schema import GROUP_LABEL


def test_a_sweep_has_a_parent_and_a_row_for_each_job(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert gru_bench("train", "-m", "cell=rnn,gru_article", "seed=0,1", *TINY, *STEPS) == 0
    assert "4 finished" in capsys.readouterr().out
    runs = stored().runs
    assert len(runs) == 4
    assert runs["sweep"].nunique() == 1
    assert set(zip(runs["cell"], runs["seed"], strict=True)) == {
        ("rnn", 0), ("rnn", 1), ("gru_article", 0), ("gru_article", 1),
    }  # fmt: skip
    assert runs["group_key"].nunique() == 2
    assert runs["data_fingerprint"].nunique() == 1


def test_what_a_backend_does_not_run_is_a_row_in_a_sweep(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gru_bench("train", "-m", "backend=vendor", "cell=gru,gru_article", *TINY, *STEPS) == 1
    runs = stored().runs.set_index("cell")
    assert runs.loc["gru", "status"] == "finished"
    assert runs.loc["gru_article", "status"] == "unsupported"
    assert "backend=loop runs every cell" in runs.loc["gru_article", "error"]
    assert "1 finished, 1 unsupported" in capsys.readouterr().out


def test_data_that_cannot_be_used_is_a_row_in_a_sweep_and_no_run_alone(
    gru_bench: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts").mkdir()
    Path("texts/train.csv").write_text("review\nsome words\n")
    data = ["task=language_modeling", "data.path=texts", "data.text=nope", "threads=1"]
    assert gru_bench("train", *data) == 2
    assert "nope" in capsys.readouterr().err
    with pytest.raises(UserError):
        stored()
    assert gru_bench("train", "-m", "seed=0,1", *data) == 1
    runs = stored().runs
    assert list(runs["status"]) == ["failed", "failed"]
    assert all("nope" in error and "review" in error for error in runs["error"])


def test_a_sweep_whose_parent_cannot_be_opened_fails(gru_bench: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mlartifacts").write_text("a file where the folder should be")
    assert gru_bench("train", "-m", "cell=rnn,gru", *TINY, *STEPS) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_job_that_failed_early_is_superseded_when_the_same_choices_finish(gru_bench: Command) -> None:
    Path("texts").mkdir()
    data = ["task=language_modeling", "data.path=texts", "data.text=words", "task.seq_len=4", "threads=1"]
    small = ["hidden_size=4", "trainer.max_steps=1", "model.embedding_size=4"]
    Path("texts/train.csv").write_text("review\nsome words\n")
    assert gru_bench("train", "-m", "seed=0,1", *data, *small) == 1
    lines = "".join(f"the quick brown fox number {n} jumps over the lazy dog again and again\n" for n in range(200))
    Path("texts/train.csv").write_text("words\n" + lines)
    assert gru_bench("train", "-m", "seed=0,1", *data, *small) == 0
    assert list(stored().runs["status"]) == ["finished", "finished"]


def test_the_planned_matrix_is_kept(gru_bench: Command) -> None:
    assert gru_bench("train", "-m", "cell=rnn,gru", *TINY, "trainer.max_steps=1") == 0
    planned = json.loads(next(Path("mlartifacts").rglob("planned.json")).read_text())
    assert [(job["job"], job["cell"], job["task"], job["seed"]) for job in planned] == [
        ("0", "rnn", "adding", "0"),
        ("1", "gru", "adding", "0"),
    ]


class Called:
    """What Hydra would call for each job."""

    sweep: Sweep | None = None


def test_a_callback_gives_its_sweep_to_the_job_that_is_about_to_run() -> None:
    callback, called = SweepCallback(), Called()
    called.sweep = Sweep("of the job before", 1, frozenset())
    callback.on_job_start(OmegaConf.create({"hydra": {"runtime": {"choices": {}}}}), task_function=called)
    assert called.sweep is None  # a single run, or a sweep that could not be opened
    callback.sweep = Sweep("this one", 2, frozenset({"threads"}))
    travelled = pickle.loads(pickle.dumps(callback))
    travelled.on_job_start(OmegaConf.create({"hydra": {"runtime": {"choices": {}}}}), task_function=called)
    assert called.sweep == Sweep("this one", 2, frozenset({"threads"}))


def test_a_refused_sweep_leaves_its_error_with_the_launch() -> None:
    with launching() as launch:
        with pytest.raises(SystemExit):
            SweepCallback().on_multirun_start(OmegaConf.create({"hydra": {"sweeper": {"_target_": "some.Other"}}}))
        assert isinstance(launch.error, UserError)
        assert str(launch.error).startswith("~cell: gru-bench train needs it")
        assert launch.opened is None
    with pytest.raises(LookupError):
        current_launch()


def test_a_launch_within_another_is_its_own() -> None:
    with launching() as outer:
        with launching() as inner:
            assert current_launch() is inner
        assert current_launch() is outer


def test_a_job_of_a_sweep_without_a_parent_is_no_single_run() -> None:
    choices = {"cell": "gru", "task": "adding", "backend": "loop", "budget": "hidden"}
    asked = Request(OmegaConf.create({"seed": 0}), choices, number=3)
    assert not asked.alone
    with pytest.raises(RuntimeError, match="parent run could not be opened"):
        train(asked, print)


def test_what_a_job_is_called() -> None:
    choices = {"cell": "gru", "task": "adding", "backend": "loop", "budget": "hidden", "experiment": "quick"}
    config = OmegaConf.create({"seed": 5})
    alone = Request(config, choices)
    assert (alone.name, alone.label, alone.experiment) == ("gru adding seed 5", "gru adding seed 5", "quick")
    job = Request(config, choices, ["threads=2"], 1, Sweep("id", 3, frozenset({"threads"})))
    assert (job.name, job.label) == ("gru adding seed 5", "[2/3] gru adding seed 5 threads=2")
    label = {GROUP_LABEL: "gru, adding, threads=2"}
    assert job.tags == {**alone.tags, **label, "gru_bench.job": "1"}
    assert alone.tags[GROUP_LABEL] == "gru, adding"


JOBLIB = """
import joblib
from omegaconf import OmegaConf
from test_sweep import begin
config = OmegaConf.create({"hydra": {"runtime": {"choices": {"hydra/launcher": "joblib"}}, "job": {"num": 0}}})
joblib.Parallel(n_jobs=2)(joblib.delayed(begin)(config) for _ in range(2))
"""


def begin(config: DictConfig) -> None:
    """In a worker of joblib: begin a job, say where, and go on for longer than anybody waits."""
    SweepCallback().on_job_start(config, task_function=SimpleNamespace())
    print(os.getpid(), flush=True)
    time.sleep(600)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system ends a child with its parent on Linux alone")
def test_a_worker_of_joblib_ends_with_its_driver(tmp_path: Path) -> None:
    path = os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(Path(__file__).parent)])
    with subprocess.Popen(
        [sys.executable, "-c", JOBLIB], env=ENVIRONMENT | {"PYTHONPATH": path}, cwd=tmp_path, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as driver:  # fmt: skip
        assert driver.stdout is not None
        worker = psutil.Process(int(driver.stdout.readline()))
        others = psutil.Process(driver.pid).children(recursive=True)
        try:
            assert worker in others
            driver.kill()
            driver.wait()
            assert psutil.wait_procs([worker], timeout=60)[1] == []
        finally:
            for process in others:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def test_hydras_own_launcher_is_known_by_name() -> None:
    """Hydra loads the modules of its plugins anew whenever it looks for them: there are several classes of one name."""
    name = "hydra._internal.core_plugins.basic_launcher"
    first = importlib.import_module(name).BasicLauncher
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.BasicLauncher is not first
    assert is_hydras_own(first())
    assert is_hydras_own(again.BasicLauncher())
    assert not is_hydras_own(SimpleNamespace())
