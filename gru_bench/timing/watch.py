"""What else went on while a round was timed: other processes, the host, throttling, the clock's frequency.

Wall time is what a user waits for, so wall time is compared. These are read beside it and never from it: a round is
repeated for what happened to it, not for how long it took.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from gru_bench.measure.environment import OTHERS_ABOVE

LOST_ABOVE = 0.02
"""Share of a block for which the timing thread did not run, above which its round is disturbed.

As large as the gaps that are looked for (3 %), and ten times what a quiet machine's own housekeeping takes (measured:
see ``bench/instrument.py``).
"""
STEAL_ABOVE = 0.02
"""Share of the machine's core time that the host may take. Linux counts it in hundredths of a second: on two cores the
first one seen in a round of 0.2 s is above, on many cores it takes several."""
MHZ_FALL = 0.10
"""How far the clock may fall within a round, as a share. A B B A cancels slower drifts."""

SYSTEM = Path("/sys/devices/system/cpu")
GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Look:
    """Counters at one moment, in seconds since some moment; ``mhz`` is empty where the system does not tell it."""

    wall_s: float
    own_s: float
    busy_s: float
    steal_s: float
    throttled: int
    mhz: tuple[float, ...] = ()


@dataclass(frozen=True)
class Span:
    """What lay between two looks.

    Attributes:
        seconds: Its length.
        others_cores: Cores that other processes used.
        steal: Share of all cores' time that the host took.
        throttled: How often a core was too hot, or this process's quota was used up.
        mhz: All clocks that the two looks saw.
        fall: By what share the slowest core's clock fell meanwhile.
    """

    seconds: float
    others_cores: float
    steal: float
    throttled: int
    mhz: tuple[float, ...] = ()
    fall: float = 0.0

    def disturbed_by(self, lost: float = 0.0) -> str:
        """Why a round that lay here does not count, in a few words; empty if nothing disturbed it.

        Args:
            lost: Largest share of a block for which the timing thread did not run.
        """
        reasons = {
            "lost": lost > LOST_ABOVE,
            "others": self.others_cores > OTHERS_ABOVE,
            "steal": self.steal > STEAL_ABOVE,
            "throttled": self.throttled > 0,
            "clock": self.fall > MHZ_FALL,
        }
        return "+".join(name for name, holds in reasons.items() if holds)


class Watch(Protocol):
    """What :mod:`gru_bench.timing.rounds` asks of a watch."""

    def look(self) -> Look:
        """The counters now. Called between blocks only."""

    def ran(self) -> float | None:
        """Seconds for which the calling thread ran on a core so far; None where that says nothing, as on CUDA."""


class MachineWatch:
    """The watch of this machine, through psutil and, on Linux, the files of ``/sys``.

    Args:
        on_cuda: Whether the work runs on a CUDA device: the timing thread then waits, which loses nothing.
    """

    def __init__(self, on_cuda: bool = False) -> None:
        self.on_cuda = on_cuda
        self._hot = sorted(SYSTEM.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # /proc/cpuinfo and psutil may give the nominal clock for the actual one, as in a virtual machine
        self._clocks = [path for core in cores if (path := SYSTEM / f"cpu{core}/cpufreq/scaling_cur_freq").exists()]

    def look(self) -> Look:
        times = psutil.cpu_times()
        steal_s = getattr(times, "steal", 0.0)
        # Linux counts a guest's time in user and nice too
        not_busy = ("idle", "iowait", "steal", "guest", "guest_nice")
        busy_s = sum(times) - sum(getattr(times, name, 0.0) for name in not_busy)
        mhz = tuple(number / 1000 for number in _numbers(self._clocks))
        return Look(time.perf_counter(), time.process_time(), busy_s, steal_s, sum(_numbers(self._hot)) + _quota(), mhz)

    def ran(self) -> float | None:
        return None if self.on_cuda else time.thread_time()


def between(before: Look, after: Look) -> Span:
    """What two looks say of the time between them."""
    seconds = max(after.wall_s - before.wall_s, 1e-9)
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return Span(
        seconds=seconds,
        others_cores=max(0.0, others_s / seconds),
        steal=max(0.0, after.steal_s - before.steal_s) / seconds / (os.cpu_count() or 1),
        throttled=after.throttled - before.throttled,
        mhz=before.mhz + after.mhz,
        fall=1 - min(after.mhz) / min(before.mhz) if before.mhz and after.mhz and min(before.mhz) > 0 else 0.0,
    )


def _numbers(paths: Iterable[Path]) -> list[int]:
    found = []
    for path in paths:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def _quota() -> int:
    """How often this container used up its CPU quota; 0 without one."""
    try:
        lines = (GROUP / "cpu.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
