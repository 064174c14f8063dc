"""How many CPU cores this process may use, and how many threads a run takes of them."""

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

import torch

from gru_bench.errors import UserError

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


CORES = "GRU_BENCH_CORES"
"""Environment variable: cores that a cluster has given to this process, where it does not confine it to them."""


def usable_cores() -> int:
    """Cores that this process may use: its affinity mask, cut by a container's CPU quota. At least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get(CORES, "")
    cores = min(cores, int(given)) if given.isdecimal() and int(given) else cores
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(mount: Path = MOUNT, own: Path = OWN) -> float | None:
    """The CPU quota of this process in cores, the smallest of its control group and all above; None without one.

    Args:
        mount: Where the control groups are mounted, version 1 or 2.
        own: The file that names the groups of this process.
    """
    folders = control_groups(mount, own)
    quotas = [quota for folder in folders for quota in (_quota_v2(folder), _quota_v1(folder)) if quota is not None]
    return min(quotas, default=None)


def control_groups(mount: Path = MOUNT, own: Path = OWN, controller: str = "cpu") -> list[Path]:
    """The folders of this process's control group and of all above, version 1 or 2; empty elsewhere.

    Args:
        mount: See :func:`cpu_quota`.
        own: Likewise.
        controller: What the groups limit, which version 1 keeps apart: ``cpu`` or ``memory``.
    """
    found: list[Path] = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = mount
        elif controller in controllers.split(","):
            root = mount / controller
        else:
            continue
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            found.append(folder)
            if folder == root:
                break
    return found


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):
        return None


def num_workers(launcher: Any) -> int:
    """How many jobs a Hydra launcher runs at once on this machine.

    Raises:
        UserError: ``n_jobs`` is 0, or no number.

    Args:
        launcher: The launcher's config node. Joblib's ``n_jobs`` counts backwards from the cores when negative;
            launchers without it run one job at a time, or give each job a machine of its own.

    Raises:
        UserError: No number of jobs.
    """
    asked = launcher.get("n_jobs", 1)
    if asked is None:
        return 1
    if not isinstance(asked, int) or isinstance(asked, bool) or asked == 0:
        raise UserError(
            f"hydra.launcher.n_jobs={asked}: must be a number of workers; valid: 1, 2 ..., or -1 for a core each"
        )
    return int(asked) if asked > 0 else max(1, usable_cores() + 1 + int(asked))


def resolve_threads(threads: int | Literal["auto"], num_workers: int) -> int:
    """Threads of one run: the number asked for, or the usable cores divided by the workers.

    Raises:
        UserError: More threads than there are cores for.
    """
    cores = usable_cores()
    most = max(1, cores // num_workers)
    if threads == "auto":
        return most
    if threads > most:
        divided = f" for {num_workers} workers" if num_workers > 1 else ""
        valid = "auto or 1" if most == 1 else f"auto or 1..{most}"
        raise UserError(f"threads={threads}: never more than there are cores: {cores}{divided}; valid: {valid}")
    return threads


def free_threads(most: int, num_workers: int, others: float) -> int:
    """Threads of one run beside other work: no more than there are free cores for, and at least one.

    Two threads on one free core are far slower than one, since each waits for the other at every step: 60 steps of a
    GRU took 80 s so, and 3 s with one thread.

    Args:
        most: As :func:`resolve_threads` gives it on a quiet machine.
        num_workers: Runs at once.
        others: Cores that other processes use.
    """
    return max(1, min(most, int((usable_cores() - others) / num_workers + 0.5)))


def set_threads(threads: int) -> None:
    """Give torch that many threads within an operation, and the same between operations if nothing has run yet.

    Numbers too small for a normal float (below 1.2e-38) become zero: gradients that vanish over hundreds of steps end
    there, and a CPU computes with them tens of times slower. Threads that start later take it over.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != threads:
        with contextlib.suppress(RuntimeError):  # torch takes it once a process; eager models do not use these
            torch.set_num_interop_threads(threads)
