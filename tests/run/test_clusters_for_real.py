"""Sweeps on real engines: submitit's processes, two nodes of a Ray cluster, a tracking server on PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from gru_bench.store.read import read

pytestmark = pytest.mark.slow

PATIENCE_S = 240
"""Far longer than anything takes; only a hang reaches it."""
SWEEP = ("-m", "task=adding", "cell=gru,lstm", "task.num_eval=32", "trainer.max_steps=4", "threads=1")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of every process of a test; by its cache folder they are found and ended, whatever has become of the test."""
    own = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "SUBMITIT_", "MLFLOW_"))}
    yield own | {
        "GRU_BENCH_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    end(tmp_path / "cache")


def processes_with(cache: Path | str) -> Iterator[psutil.Process]:
    """All processes of a test."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("GRU_BENCH_CACHE") == str(cache) and process.pid != os.getpid():
                yield process


def end(cache: Path | str) -> None:
    for process in processes_with(cache):
        with suppress(psutil.Error):
            process.kill()


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


def until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for it, as long as the process lives that is to bring it about."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SLURM = {
    # starts the script at once, under the number of a process
    "sbatch": """script=$1
export SLURM_JOB_ID=$$
cp "$script" "$FAKE_SLURM/$SLURM_JOB_ID.sh"
setsid sh "$FAKE_SLURM/$SLURM_JOB_ID.sh" >/dev/null 2>&1 &
echo "Submitted batch job $SLURM_JOB_ID"
""",
    "srun": """while [ "${1#-}" != "$1" ]; do case $1 in --output|--error) shift 2;; *) shift;; esac; done
export SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
exec "$@"
""",
    # "requeue NUMBER": the same script again, once the job that asks for it has ended
    "scontrol": """(sleep 2; SLURM_JOB_ID=$2 setsid sh "$FAKE_SLURM/$2.sh" >/dev/null 2>&1) >/dev/null 2>&1 &
""",
    "sacct": "echo 'JobID|State|NodeList'\n",
}
"""As much of Slurm as submitit asks for, as shell scripts."""


@pytest.fixture(params=["local_cluster", "slurm"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path, environment: dict[str, str]) -> str:
    """A launcher on submitit; for Slurm, commands that behave as Slurm's do are put before all others."""
    pytest.importorskip("submitit")
    if request.param == "slurm":
        folder = tmp_path / "slurm"
        folder.mkdir()
        for name, script in SLURM.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}")
            (folder / name).chmod(0o755)
        environment |= {"PATH": f"{folder}{os.pathsep}{environment['PATH']}", "FAKE_SLURM": str(folder)}
    return f"hydra/launcher={request.param}"


def jobs_in(cache: str) -> list[psutil.Process]:
    """The processes in which submitit runs the jobs of this test."""
    return [process for process in processes_with(cache) if "submitit.core._submit" in process.cmdline()]


def statuses(store: str) -> list[str]:
    try:
        return sorted(read(store).runs.status)
    except Exception:  # there is no store yet, or it is being made
        return []


def test_a_sweep_through_submitit(tmp_path: Path, environment: dict[str, str], launcher: str) -> None:
    output = train(tmp_path, environment, *SWEEP, "seed=0", launcher)
    assert "2 finished" in output
    runs = read(f"sqlite:///{tmp_path}/mlflow.db").runs
    assert sorted(zip(runs.cell, runs.seed, runs.status, strict=True)) == [
        ("gru", 0, "finished"),
        ("lstm", 0, "finished"),
    ]


def test_a_job_that_is_killed_costs_its_own_run_and_is_run_again(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("submitit")
    arguments = (*SWEEP, "seed=0", "trainer.max_steps=200", "hydra/launcher=local_cluster")
    process = start(tmp_path, environment, *arguments)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    until(lambda: "running" in statuses(store), process)
    for job in jobs_in(environment["GRU_BENCH_CACHE"]):
        job.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, output
    assert statuses(store) == ["finished", "killed"]
    assert "2 finished" in train(tmp_path, environment, *arguments)
    assert statuses(store) == ["finished", "finished"]


def test_after_ctrl_c_in_a_terminal_the_running_job_finishes(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("submitit")
    arguments = (*SWEEP, "seed=0", "trainer.max_steps=100", "hydra/launcher=local_cluster")
    command = [sys.executable, "-m", "gru_bench", "train", *arguments]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    store = f"sqlite:///{tmp_path}/mlflow.db"
    until(lambda: "running" in statuses(store), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert statuses(store) == ["finished", "missing"]


def test_a_job_that_is_told_to_end_is_queued_again_and_goes_on(
    tmp_path: Path, environment: dict[str, str], launcher: str
) -> None:
    arguments = ("-m", "task=adding", "cell=gru", "seed=0", "task.num_eval=32", "threads=1", "trainer.max_steps=500")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    process = start(tmp_path, environment, *arguments, "trainer.eval_every=25", launcher)

    def trains() -> bool:
        if "running" not in statuses(store):
            return False
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as rows:
            return bool(rows.execute("SELECT count(*) FROM metrics WHERE key LIKE 'valid/%'").fetchone()[0])

    until(trains, process)
    (job,) = jobs_in(environment["GRU_BENCH_CACHE"])
    job.send_signal(signal.SIGUSR2)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as rows:
        reasons = [text for (text,) in rows.execute("SELECT value FROM tags WHERE key = 'gru_bench.error'")]
    assert len(reasons) == 1
    assert reasons[0].startswith("preempted, checkpoint at step ")
    (run,) = read(store).runs.itertuples()
    assert run.status == "finished"
    assert run.resumed_at == int(reasons[0].split()[-1])


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
        end(environment["GRU_BENCH_CACHE"])
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
