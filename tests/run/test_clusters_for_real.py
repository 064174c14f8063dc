"""Sweeps on real engines: submitit's processes, two nodes of a Ray cluster, a tracking server on PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from gru_bench.store.read import read

pytestmark = pytest.mark.slow

PATIENCE_S = 240
"""Far longer than anything takes; only a hang reaches it."""
SWEEP = ("-m", "task=adding", "cell=gru,lstm", "task.num_eval=32", "trainer.max_steps=4", "threads=1")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of every process of a test."""
    own = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "SUBMITIT_", "MLFLOW_"))}
    return own | {
        "GRU_BENCH_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def start(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gru_bench", "train", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def train(folder: Path, environment: Mapping[str, str], *arguments: str, code: int = 0) -> str:
    process = start(folder, environment, *arguments)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, output
    return output


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def jobs_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes in which submitit runs the jobs of a sweep: children of its controllers."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "submitit.core._submit" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_a_sweep_through_submitit(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("submitit")
    output = train(tmp_path, environment, *SWEEP, "seed=0,1", "hydra/launcher=local_cluster", "hydra.launcher.n_jobs=2")
    assert "4 finished" in output
    runs = read(f"sqlite:///{tmp_path}/mlflow.db").runs
    assert sorted(zip(runs.cell, runs.seed, strict=True)) == [("gru", 0), ("gru", 1), ("lstm", 0), ("lstm", 1)]
    assert set(runs.status) == {"finished"}


def test_a_job_that_is_killed_costs_its_own_run_and_is_run_again(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("submitit")
    arguments = (*SWEEP, "seed=0", "trainer.max_steps=200", "hydra/launcher=local_cluster")
    process = start(tmp_path, environment, *arguments)
    store = f"sqlite:///{tmp_path}/mlflow.db"

    def trains() -> bool:
        try:
            return (read(store).runs.status == "running").any()
        except Exception:  # there is no store yet, or it is being made
            return False

    until(trains)
    jobs_of(process)[0].send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, output
    runs = read(store).runs
    assert sorted(runs.status) == ["finished", "killed"]
    assert train(tmp_path, environment, *arguments).count("2 finished") == 1
    assert set(read(store).runs.status) == {"finished"}


@pytest.fixture
def ray_address(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """A Ray cluster of two nodes on this machine, each with one core."""
    pytest.importorskip("ray")
    ray = str(Path(sys.executable).parent / "ray")
    port = free_port()
    memory = "--object-store-memory=80000000"
    head = [ray, "start", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", memory]
    # the session's sockets have long names, and a path to a socket is short
    folder = f"/tmp/ray_{os.getpid()}"
    try:
        subprocess.run([*head, f"--temp-dir={folder}"], env=environment, cwd=tmp_path, check=True, timeout=PATIENCE_S)
        subprocess.run(
            [ray, "start", f"--address=127.0.0.1:{port}", "--num-cpus=1", memory],
            env=environment, cwd=tmp_path, check=True, timeout=PATIENCE_S,
        )  # fmt: skip
        yield f"127.0.0.1:{port}"
    finally:
        for process in psutil.process_iter():
            try:
                theirs = folder in " ".join(process.cmdline()) or environment["GRU_BENCH_CACHE"] in str(
                    process.environ()
                )
                if theirs and process.pid != os.getpid():
                    process.kill()
            except psutil.Error:
                continue
        shutil.rmtree(folder, ignore_errors=True)


def test_a_sweep_on_a_ray_cluster_of_two_nodes(tmp_path: Path, environment: dict[str, str], ray_address: str) -> None:
    output = train(
        tmp_path, environment, *SWEEP, "seed=0,1", "hydra/launcher=ray_cluster", f"hydra.launcher.address={ray_address}"
    )
    assert "4 finished" in output
    runs = read(f"sqlite:///{tmp_path}/mlflow.db").runs
    assert sorted(zip(runs.cell, runs.seed, strict=True)) == [("gru", 0), ("gru", 1), ("lstm", 0), ("lstm", 1)]


@pytest.fixture
def database() -> Iterator[str]:
    """The URI of an empty database of a PostgreSQL that this test has started."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")) or [Path(shutil.which("pg_ctl") or "/none")]
    tools = found[-1].parent
    if not (tools / "initdb").is_file():
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    prefix: list[str] = []
    folder = Path(f"/tmp/pg_{os.getpid()}")
    folder.mkdir()
    if os.getuid() == 0:  # PostgreSQL does not run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres, and PostgreSQL does not run as root")
        os.chown(folder, user.pw_uid, user.pw_gid)
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port = free_port()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*prefix, str(tools / "pg_ctl"), "-D", str(folder / "data"), "-l", str(folder / "log"), "-w"]

    def run(*command: str) -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=PATIENCE_S, cwd="/")

    try:
        run(*prefix, str(tools / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "gru")
        run(*control, "-o", options, "start")
        yield f"postgresql://gru@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, cwd="/", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def test_clients_that_start_at_once_on_an_empty_database(
    tmp_path: Path, environment: dict[str, str], database: str
) -> None:
    code = (
        "import sys; from gru_bench.store.write import Store; s = Store(uri=sys.argv[1]); s.open();"
        "print(s.experiment_id('one'))"
    )
    command = [sys.executable, "-c", code, database]
    clients = [
        subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE) for _ in range(3)
    ]
    answers = {client.communicate(timeout=PATIENCE_S)[0].strip().splitlines()[-1] for client in clients}
    assert {client.returncode for client in clients} == {0}
    assert len(answers) == 1


def test_eight_workers_on_a_server_with_postgresql(tmp_path: Path, environment: dict[str, str], database: str) -> None:
    pytest.importorskip("submitit")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "2"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(
        command, env=environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, cwd=tmp_path,
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:

        def answers() -> bool:
            assert server.poll() is None
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(answers)
        uri = f"http://127.0.0.1:{port}"
        launcher = ("hydra/launcher=local_cluster", "hydra.launcher.n_jobs=8", f"tracking.uri={uri}")
        output = train(tmp_path, environment, *SWEEP, "seed=0,1,2,3", *launcher)
        assert "8 finished" in output
        results = read(uri)
        keys = list(zip(results.runs.cell, results.runs.seed, strict=True))
        assert sorted(keys) == sorted((cell, seed) for cell in ("gru", "lstm") for seed in range(4))
        assert set(results.runs.status) == {"finished"}
        assert results.values.groupby("run_id").size().min() > 5  # each with its artifacts
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()
