"""Puts the process into a known state before anything is timed, and says in words which."""

import contextlib
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from gru_bench.backends.native import build
from gru_bench.backends.native.prebuilt import Prebuilt
from gru_bench.errors import UserError
from gru_bench.measure.threads import set_threads

SYSTEM = Path("/sys/devices/system/cpu")
TASKS = Path("/proc/self/task")
CAPS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""Environment variables that change which kernel runs or how its threads wait; named where they are set."""
WITHIN_S = 10


def settle(threads: int, deterministic: bool = False, tf32: bool = False, cores: Sequence[int] | None = None) -> str:
    """Set threads, cores, TF32, deterministic algorithms and what becomes of subnormal numbers, for this process.

    Call it before torch computes anything: threads that it starts later inherit the cores.

    Args:
        threads: Threads of torch; one core is given to each, where the platform can.
        deterministic: Whether torch refuses algorithms whose result may differ from run to run.
        tf32: Whether a CUDA device may round float32 to 10 bits in products.
        cores: Which cores; by default those allowed, on as many physical ones as there are, the last ones first:
            the system's own work tends to be on the first.

    Returns:
        The fact ``instrument``: what was set, and what compiled the native code with which flags. No paths.

    Raises:
        UserError: Fewer cores than threads, or ``cores`` that cannot be had. Where none are given and the system does
            not let a process choose, it is said and no error.
    """
    if deterministic:  # cuBLAS has only then a workspace of its own for each stream, and torch insists on it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    pinned = _pin(threads, cores)
    set_threads(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False
    parts = [
        f"{threads} thread{'s' if threads > 1 else ''} {pinned}",
        f"TF32 {'on' if tf32 else 'off'}",
        f"deterministic algorithms {'on' if deterministic else 'off'}",
        "subnormal numbers are zero",
        f"torch for {torch.backends.cpu.get_cpu_capability()}",
        f"native code: {compiled_by()}",
        *(f"{name}={os.environ[name]}" for name in CAPS if name in os.environ),
    ]
    return "; ".join(parts)


def compiled_by() -> str:
    """Name and version of the compiler of the native code, and its flags that change the code made; or why none."""
    ready = build.from_wheel()
    if isinstance(ready, Prebuilt):
        return " ".join(["prebuilt by", ready.compiler, *telling(ready.flags.split())])
    try:
        path = build.compiler()
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=WITHIN_S, check=True)
    except (build.CannotBuild, OSError, subprocess.SubprocessError):
        return "none, no compiler"
    return " ".join([told.stdout.splitlines()[0] if told.stdout else Path(path).name, *telling(build.FLAGS)])


def telling(flags: Iterable[str]) -> list[str]:
    """The flags of a compiler that change the code made."""
    return [flag for flag in flags if flag.startswith(("-O", "-m", "-ffast"))]


def _pin(threads: int, cores: Sequence[int] | None) -> str:
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned (this system cannot)"
    allowed = sorted(os.sched_getaffinity(0)) if cores is None else sorted(set(cores))
    if len(allowed) < threads:
        raise UserError(f"threads={threads}: only {len(allowed)} cores to run on; valid: 1..{len(allowed)}")
    chosen = _apart(allowed)[:threads]
    try:
        os.sched_setaffinity(0, chosen)
        for task in TASKS.iterdir() if TASKS.exists() else ():  # it is a thread's, and torch may have started some
            with contextlib.suppress(ProcessLookupError):  # one that has just ended
                os.sched_setaffinity(int(task.name), chosen)
    except OSError as error:
        if cores is None:
            return f"not pinned ({error.strerror})"
        raise UserError(f"cores={','.join(map(str, chosen))}: {error.strerror}; leave cores out") from None
    return f"on core{'s' if threads > 1 else ''} {','.join(map(str, sorted(chosen)))}"


def _apart(allowed: Sequence[int]) -> list[int]:
    """The cores, last first, one of each physical core before any second one."""
    seen: dict[str, int] = {}
    turns = []
    for core in reversed(allowed):
        try:
            siblings = (SYSTEM / f"cpu{core}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(core)
        turns.append((seen.setdefault(siblings, 0), -core))
        seen[siblings] += 1
    return [-core for _, core in sorted(turns)]
