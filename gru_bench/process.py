"""Which process this is, whether another one still lives, and how a child ends with its parent."""

import ctypes
import os
import platform
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

SYSCTL_WITHIN_S = 5
PR_SET_PDEATHSIG = 1
"""Linux: the signal that this process gets when its parent ends, however that ends."""


def this_start() -> str:
    """What no other machine has, and this one only until it is started again: an id that the system drew for it.

    A container has the id of its machine, but a host name of its own, and a laptop's host name changes with the
    network: so the name counts only where there is no such id.
    """
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if platform.system() == "Darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "kern.bootsessionuuid"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SYSCTL_WITHIN_S, check=True)
            return done.stdout.strip()
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def owner() -> str:
    """The calling process, so that no other is taken for it: ``PID STARTED NAMESPACE START``.

    A number is given again to another process some day; when it began tells them apart. Containers of one machine count
    their processes each for itself: so the space that the number belongs to is a part. Last :func:`this_start`.
    """
    return " ".join([str(os.getpid()), started(os.getpid()) or "?", namespace(), this_start()])


def is_alive(owned_by: str) -> bool | None:
    """Whether the process that :func:`owner` described still runs; None where that cannot be known from here."""
    pid, began, space, start = [*owned_by.split(" ", 3), "", "", "", ""][:4]
    if not pid.isdecimal() or (space, start) != (namespace(), this_start()):
        return None
    return started(int(pid)) == began


def started(pid: int) -> str | None:
    """When a process of this machine began, in the system's own ticks where it has them; None if there is none.

    One that has ended and was not fetched by its parent (a zombie) is none.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        with suppress(OSError, IndexError):  # ticks since the machine's start: exact, whatever the clock is set to
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def namespace() -> str:
    """The space that the numbers of processes belong to; nothing where there is one for all."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "-"


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the system end this process when the thread ends that started it; to be called in the child, first.

    Linux alone; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
