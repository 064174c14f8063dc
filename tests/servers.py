"""A process of a test's own that answers over HTTP, until the block ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from conftest import REPOSITORY

PATIENCE_S = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    arguments: Sequence[str], port: int, health: str, folder: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """``python -m ARGUMENTS`` as a server; gives its address once it answers at the path ``health``."""
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    own = {**environment, "PYTHONPATH": str(REPOSITORY), **quiet}
    own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])  # where mlflow finds uvicorn
    with (folder / "server.log").open("wb") as log:
        command = [sys.executable, "-m", *arguments]
        server = subprocess.Popen(command, env=own, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"{address}{health}", timeout=5).close()
                break
            except OSError:
                said = (folder / "server.log").read_text(errors="replace")
                assert server.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=PATIENCE_S)


def mlflow_server(folder: Path, environment: Mapping[str, str] = os.environ) -> AbstractContextManager[str]:
    """``mlflow server`` whose store and artifacts lie in a folder."""
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{folder / 'a.db'}", "--artifacts-destination", str(folder / "files")]
    return serving(
        ["mlflow", "server", "--workers", "1", "--port", str(port), *store], port, "/health", folder, environment
    )
