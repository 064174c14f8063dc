"""A real sweep with ``hydra/launcher=workers``, disturbed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY

from gru_bench.store import read as results

SWEEP = (
    "train", "-m", "cell=gru,lstm", "seed=0,1", "task=adding", "task.num_eval=100", "trainer.max_steps=300",
    "threads=1", "hydra/launcher=workers",
)  # fmt: skip
PATIENCE_S = 200


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_result(empty_folder: Path) -> None:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "gru_bench", *SWEEP],
        cwd=empty_folder, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE_S
        while not list(empty_folder.rglob("config.yaml")):  # of a run's artifacts: it trains
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
    assert process.returncode == 0
    assert "4 finished" in out
    assert "Traceback" not in err
    runs = results.read(f"sqlite:///{empty_folder}/mlflow.db", experiment="adhoc").runs
    assert list(runs["status"]) == ["finished"] * 4
