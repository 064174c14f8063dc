"""A sweep with joblib's launcher whose worker is killed, and one from a working folder that cannot be written to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY, Command
from runs import TINY

from gru_bench.store import read as results

JOBLIB = (
    "train", "-m", "seed=0,1,2,3", "task=adding", "task.num_eval=100", "trainer.max_steps=3000", "threads=1",
    "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
)  # fmt: skip
PATIENCE_S = 200


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for joblib's workers by their command lines")
def test_joblib_loses_a_worker(empty_folder: Path) -> None:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "gru_bench", *JOBLIB],
        cwd=empty_folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE_S
        while not list(empty_folder.rglob("config.yaml")):  # of a run's artifacts: it trains
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "popen_loky" in " ".join(child.cmdline())]
        workers[0].send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 1
    (line,) = [line for line in err.splitlines() if "hydra/launcher=workers" in line]
    assert line.startswith("a worker was lost")
    assert "Traceback" not in err
    assert "to go on: the same command" in out
    assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == []
    found = results.read(f"sqlite:///{empty_folder}/mlflow.db", experiment="adhoc").runs
    assert sorted(found["job"]) == [0, 1, 2, 3]
    assert set(found["status"]) <= {"killed", "missing", "finished"}
    assert {"killed", "missing"} <= set(found["status"])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc: where nobody can write, root neither")
def test_a_working_folder_that_cannot_be_written_to(
    gru_bench: Command, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = f"tracking.uri=sqlite:///{empty_folder}/elsewhere.db"
    monkeypatch.chdir("/proc")
    train = ["train", *TINY, "trainer.max_steps=1", elsewhere]
    assert gru_bench(*train) == 0
    capsys.readouterr()
    for command, key in (
        (["train", "-m", "seed=0,1", *train[1:]], "hydra.sweep.dir="),
        (["report", elsewhere], "output="),
    ):
        assert gru_bench(*command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"gru-bench {command[0]}: {key}")
        assert line.endswith("; choose another")
    assert gru_bench("train") == 2
    assert "/proc/mlflow.db: cannot be written" in capsys.readouterr().err
    assert gru_bench("train", "-m", "seed=0,1", *train[1:], f"hydra.sweep.dir={empty_folder}/sweep") == 0
    assert gru_bench("report", elsewhere, f"output={empty_folder}/report") == 0
