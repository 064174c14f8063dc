"""The most memory of a process that lay in the machine's own at one time: all of it, not only tensors."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_resident_bytes(status: Path = STATUS) -> int | None:
    """Peak of the resident set of this process since it began; None where the system does not say (Windows).

    Linux says it as ``VmHWM``. The call that other systems have, ``getrusage``, also exists on Linux, but there a
    process that was started by a larger one begins with the size of that one.

    Args:
        status: Linux's own account of this process; a test's own.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])  # "kB" are KiB there
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    return from_usage(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform)


def from_usage(maxrss: int, platform: str) -> int:
    """Bytes of ``ru_maxrss``, which macOS gives in bytes and others in KiB."""
    return maxrss if platform == "darwin" else 1024 * maxrss
