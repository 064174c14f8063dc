"""How much memory a process can still get: of this machine, of its control group, or of a GPU."""

from pathlib import Path

import psutil
import torch

from gru_bench.measure.threads import MOUNT, OWN, control_groups

UNLIMITED = 2**60
"""Version 1 of control groups writes a number near 2^63 for no limit."""


def room(device: torch.device) -> int:
    """Bytes that can still be had for tensors there: on a CPU free memory, what caches give back, and swap."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    swap = psutil.swap_memory().free
    free = psutil.virtual_memory().available + swap
    limit = group_room()
    return free if limit is None else min(free, limit + swap)


def group_room(mount: Path = MOUNT, own: Path = OWN) -> int | None:
    """Bytes that this process's control group, or one above, still grants; None without a limit.

    Args: see :func:`~gru_bench.measure.threads.cpu_quota`.
    """
    found = [
        left
        for folder in control_groups(mount, own, "memory")
        for names in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        )
        if (left := _left(folder, *names)) is not None
    ]
    return min(found, default=None)


def _left(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return None
    return None if most >= UNLIMITED else max(0, most - used + int(stat.get(cache, 0)))
