"""The processes of ``bench/peers.py``: the peers' environment, and the driver's end of one worker."""

import contextlib
import functools
import hashlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import psutil

BENCH = Path(__file__).resolve().parent
PINS = BENCH / "peers.txt"
ENVIRONMENT = BENCH.parent / ".venv-peers"
STAMP = ".installed"
READY_WITHIN_S = 600
"""Importing, compiling and the first steps."""
STEP_WITHIN_S = 60
CLOSED_WITHIN_S = 10


class Failed(Exception):
    """A worker that cannot take part, with the reason in a line."""


def peers_python() -> Path | Failed:
    """The interpreter of the peers' environment; see :func:`interpreter`."""
    return interpreter(PINS, ENVIRONMENT, "about 2 GB")


@functools.cache
def interpreter(pins: Path, folder: Path, size: str) -> Path | Failed:
    """The interpreter of an environment, which is made, or brought to the pinned versions, where it is not.

    Args:
        pins: Requirements, every version pinned.
        folder: Where the environment is.
        size: How much will be installed, in words.

    Returns:
        Or why it cannot be made: found once and then remembered, since pip may take minutes to give up.
    """
    python = folder / "bin" / "python"
    stamp = folder / STAMP
    wanted = hashlib.sha256(sys.version.encode() + pins.read_bytes()).hexdigest()
    if stamp.is_file() and python.is_file() and stamp.read_text() == wanted:
        return python
    print(f"installing {pins.name} into {folder.name}: {size}, once", file=sys.stderr)
    stamp.unlink(missing_ok=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(pins)],
    ):
        done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            message = (errors or done.stderr.strip().splitlines() or ["no message"])[-1]
            return Failed(f"the environment of {pins.name} cannot be made: {message}")
    stamp.write_text(wanted)
    return python


def plain_environment() -> dict[str, str]:
    """Without what would lead another interpreter to this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def worker_environment(threads: int) -> dict[str, str]:
    """That many threads in every library, no GPU, no chatter."""
    names = ("OMP", "MKL", "OPENBLAS", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
    return {
        **{f"{name}_THREADS" if name.startswith("TF") else f"{name}_NUM_THREADS": str(threads) for name in names},
        "NPROC": str(threads),  # XLA's thread pool in JAX
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


class Worker:
    """One model in a process of its own, which sleeps except in its turns.

    Args:
        arm: The model's name.
        script: The program beside this one that trains it.
        folder: Where the job is and where the worker's messages go.
        threads: CPU threads.
        in_peers: Whether it runs in the peers' environment.

    Attributes:
        ready: What it sent about itself.
        idle_s: Seconds in which others worked, and of those the CPU seconds that it used itself.

    Raises:
        Failed: It did not become ready.
    """

    def __init__(self, arm: str, script: str, folder: Path, threads: int, *, in_peers: bool) -> None:
        python = peers_python() if in_peers else Path(sys.executable)
        if isinstance(python, Failed):
            raise python
        environment = (plain_environment() if in_peers else dict(os.environ)) | worker_environment(threads)
        self.arm = arm
        self.messages = folder / f"{arm}.txt"
        with self.messages.open("wb") as messages:
            self.process = subprocess.Popen(
                [str(python), str(BENCH / script), str(folder), arm],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                env=environment,
                bufsize=0,
            )
        self.idle_s = [0.0, 0.0]
        try:
            self.ready = self._hear(READY_WITHIN_S)
        except BaseException:
            self.close()
            raise

    def turn(self, steps: int) -> float:
        """Train so many steps; milliseconds of one.

        Raises:
            Failed: It died, was too slow, or lost its loss.
        """
        with contextlib.suppress(BrokenPipeError):  # the missing answer explains it
            cast(IO[bytes], self.process.stdin).write(f"go {steps}\n".encode())
        sent = self._hear((steps + 1) * STEP_WITHIN_S)
        if not abs(sent["loss"]) < float("inf"):
            raise Failed(f"the loss became {sent['loss']}")
        return float(sent["ms"])

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def _hear(self, within_s: float) -> dict[str, Any]:
        stdout = cast(IO[bytes], self.process.stdout)
        if not select.select([stdout], [], [], within_s)[0]:
            raise Failed(f"no answer within {within_s:.0f} s")
        line = stdout.readline()
        if not line:
            code = self.process.wait()
            last = self.messages.read_text(errors="replace").strip().splitlines()[-1:]
            raise Failed(": ".join([f"died with exit code {code}", *last]))
        sent: dict[str, Any] = json.loads(line)
        if "failed" in sent:
            raise Failed(sent["failed"])
        return sent

    def close(self) -> None:
        """End the process: politely, then not."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                cast(IO[bytes], stream).close()
        try:
            self.process.wait(CLOSED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
