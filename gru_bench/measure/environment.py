"""What a run ran on. Never a host name, a user name, a path or a secret."""

import hashlib
import importlib.metadata
import math
import os
import platform
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

import gru_bench
from gru_bench.backends.native.build import CannotBuild, native_code
from gru_bench.measure.threads import usable_cores

LIBRARIES = ("numpy", "hydra-core", "mlflow", "datasets", "pandas", "scipy", "sacrebleu")
OTHERS_ABOVE = 0.5
"""Cores in use by other processes above which the machine counts as shared."""
TICK_S = 0.01
"""What the system counts the work of cores in: where it looks a hundred times a second what each of them does."""
LOOK_S = 0.2
"""How long a look at what others do takes."""
ENOUGH_S, LATELY_S = 0.1, 2.0
"""Counters that were noted less long ago are too coarse to say what others do, and those of longer ago say nothing of
now."""
GIT_WITHIN_S = 5


def environment() -> dict[str, str]:
    """Versions and hardware, as text; what is not there is left out."""
    facts = {
        "gru_bench": gru_bench.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name.replace("-", "_"): version for name in LIBRARIES if (version := _version(name))},
        "cpu": cpu_model(),
        "cores": str(usable_cores()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "os": f"{platform.system()} {platform.machine()}",
    }
    gpus = gpu_models()
    if gpus:
        facts["gpu"] = ", ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus))
    with suppress(CannotBuild):
        facts["native_code"] = native_code()
    if torch.version.cuda:
        facts["cuda"] = torch.version.cuda
    cudnn = torch.backends.cudnn.version()
    if cudnn is not None:
        facts["cudnn"] = str(cudnn)
    return facts


def machine_id() -> str:
    """The same for the same models of CPU and GPU: 12 hexadecimal digits of a hash, which name nobody's machine."""
    return hashlib.sha256("|".join([cpu_model(), *gpu_models()]).encode()).hexdigest()[:12]


def cpu_model() -> str:
    """The processor's name, or its architecture where the system does not name it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        name = _output(["sysctl", "-n", "machdep.cpu.brand_string"])
        if name:
            return name
    return platform.machine()


def gpu_models() -> list[str]:
    """The names of the CUDA devices that torch sees, in order."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def shared_machine(num_workers: int = 1) -> bool:
    """Whether other work runs beside this process now: workers of the same sweep, or anything else.

    A warm process has the counters of the end of its last training (:func:`noted_core_time`), and need not wait where
    the cores have been its own since. Where they have not, that may have been the store at work for that last run.

    Args:
        num_workers: Jobs that the launcher runs at once.
    """
    if num_workers > 1:
        return True
    if _noted is not None:
        now = core_time()
        if ENOUGH_S <= now.wall_s - _noted.wall_s <= LATELY_S and others_cores(_noted, now) <= OTHERS_ABOVE:
            return False
    return cores_used_by_others() > OTHERS_ABOVE


def cores_used_by_others(seconds: float = LOOK_S) -> float:
    """Busy cores of the whole machine, less what this process used itself, over a short look.

    The load average would not do: it still counts this process's own last minute.
    """
    before = core_time()
    time.sleep(seconds)
    return others_cores(before, core_time())


@dataclass(frozen=True)
class CoreTime:
    """Seconds since some moment: of the clock, of this process on all cores, and of all cores at work."""

    wall_s: float
    own_s: float
    busy_s: float


def core_time() -> CoreTime:
    """The counters now."""
    return CoreTime(time.perf_counter(), time.process_time(), busy_seconds(psutil.cpu_times()))


_noted: CoreTime | None = None


def noted_core_time() -> CoreTime:
    """The counters now, which :func:`shared_machine` may soon compare with."""
    global _noted
    _noted = core_time()
    return _noted


def busy_seconds(times: Any) -> float:
    """Seconds of all cores at work for this system. What the host took away (steal) is no work of anybody here.

    Args:
        times: What ``psutil.cpu_times`` gives.
    """
    # Linux counts a guest's time in user and nice too
    not_busy = ("idle", "iowait", "steal", "guest", "guest_nice")
    return sum(times) - sum(getattr(times, name, 0.0) for name in not_busy)


def others_cores(before: CoreTime, after: CoreTime) -> float:
    """Cores that other processes used between two moments, on average."""
    passed = max(after.wall_s - before.wall_s, 1e-9)
    return max(0.0, (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / passed)


def others_blur(before: CoreTime, after: CoreTime) -> float:
    """By how many cores :func:`others_cores` may be off, since the system counts in ticks of :data:`TICK_S`.

    Each core at work is off by up to a tick, and they add up as independent errors do: the root of their number. That
    is 2.4 standard deviations. A core that idles is counted exactly. One core in 80 ms: 0.13 cores; 64 of them: 1.0.
    """
    passed = max(after.wall_s - before.wall_s, 1e-9)
    return TICK_S * math.sqrt(max(1.0, (after.busy_s - before.busy_s) / passed)) / passed


def had_company(before: CoreTime, after: CoreTime) -> bool:
    """Whether others used the machine between two moments, on average, by more than the counters' own coarseness."""
    return others_cores(before, after) > OTHERS_ABOVE + others_blur(before, after)


def git_state(package_dir: Path) -> tuple[str | None, bool | None]:
    """Commit and whether code or conf differ from it, of the checkout whose package this is.

    A regenerated report is not a change of what was run.

    Args:
        package_dir: The folder of the package.

    Returns:
        ``(None, None)`` for an installed package, or a package inside some other repository.
    """
    top = _output(["git", "-C", str(package_dir), "rev-parse", "--show-toplevel"])
    # a wheel in a virtual environment may lie inside an unrelated repository
    if not top or Path(top).resolve() != package_dir.resolve().parent:
        return None, None
    commit = _output(["git", "-C", str(package_dir), "rev-parse", "--verify", "HEAD"])
    if not commit:
        return None, None
    changes = _output(["git", "-C", str(package_dir), "status", "--porcelain", "--", ".", ":/conf"])
    return commit, None if changes is None else bool(changes)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str | None:
    """What a command printed, or None where it failed or is not there."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=GIT_WITHIN_S,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
