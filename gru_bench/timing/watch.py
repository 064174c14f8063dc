"""What else went on while a round was timed: other processes, the host, throttling, the clock's frequency.

Wall time is what a user waits for, so wall time is compared. These are read beside it and never from it: a round is
repeated for what happened to it, not for how long it took.
"""

import ctypes
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
import torch

from gru_bench.measure.environment import OTHERS_ABOVE, CoreTime, busy_seconds, others_blur, others_cores
from gru_bench.measure.nvml import NVML, open_card
from gru_bench.measure.threads import control_groups

LOST_ABOVE = 0.02
"""Share of a block for which a thread was ready to run and had no core, above which its round is disturbed.

Nearly as large as the gaps that are looked for (3 %). A quiet machine's own housekeeping takes some tens of
microseconds at a time, a tenth of this; another process takes milliseconds.
"""
STEAL_ABOVE = 0.02
"""Share of the machine's core time that the host may take. Linux counts it in hundredths of a second: on two cores the
first one seen in a round of 0.1 s is above, on many cores it takes several."""
MHZ_FALL = 0.10
"""How far the clock may fall within a round, as a share. A B B A cancels slower drifts."""

SYSTEM = Path("/sys/devices/system/cpu")
TASKS = Path("/proc/self/task")
SM_CLOCK = 1
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
"""NVML's reasons for a lower clock that are no choice of the user's: hardware, heat (two kinds), power brake."""


@dataclass(frozen=True)
class Look(CoreTime):
    """Counters at one moment, in seconds since some moment; ``mhz`` is empty where the system does not tell it.

    ``hot``: whether the card's clock is held down just now.
    """

    steal_s: float
    throttled: int
    mhz: tuple[float, ...] = ()
    hot: bool = False


@dataclass(frozen=True)
class Span:
    """What lay between two looks.

    Attributes:
        seconds: Its length.
        others_cores: Cores that other processes used.
        steal: Share of all cores' time that the host took.
        throttled: How often a core or the card was too hot, or this process's quota was used up.
        mhz: All clocks that the two looks saw.
        fall: By what share the slowest core's clock fell meanwhile.
        blur: By how many cores ``others_cores`` may be off: see
            :func:`~gru_bench.measure.environment.others_blur`. As much more must others use for a round to be repeated.
    """

    seconds: float
    others_cores: float
    steal: float
    throttled: int
    mhz: tuple[float, ...] = ()
    fall: float = 0.0
    blur: float = 0.0

    def disturbed_by(self, lost: float = 0.0) -> str:
        """Why a round that lay here does not count, in a few words; empty if nothing disturbed it.

        Args:
            lost: Largest share of a block for which a thread waited for a core.
        """
        reasons = {
            "lost": lost > LOST_ABOVE,
            "others": self.others_cores > OTHERS_ABOVE + self.blur,
            "steal": self.steal > STEAL_ABOVE,
            "throttled": self.throttled > 0,
            "clock": self.fall > MHZ_FALL,
        }
        return "+".join(name for name, holds in reasons.items() if holds)


class Watch(Protocol):
    """What :mod:`gru_bench.timing.rounds` asks of a watch."""

    def look(self) -> Look:
        """The counters now. Called between blocks only."""

    def waited(self) -> Mapping[str, float]:
        """For how many seconds each thread of this process has waited for a core so far; empty where nobody knows."""


class MachineWatch:
    """The watch of this machine, through psutil and, on Linux, the files of ``/proc`` and ``/sys``.

    Args:
        device: Where the work runs: of a CUDA device, its clock is read, not the processor's.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._hot = sorted(SYSTEM.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        # /proc/cpuinfo and psutil may give the nominal clock for the actual one, as in a virtual machine
        self._clocks = [path for core in cores if (path := SYSTEM / f"cpu{core}/cpufreq/scaling_cur_freq").exists()]
        on_cuda = device is not None and device.type == "cuda"
        self._quotas = [path for folder in control_groups() if (path := folder / "cpu.stat").exists()]
        self._card = str(torch.cuda.get_device_properties(device).uuid) if on_cuda else None

    def look(self) -> Look:
        times = psutil.cpu_times()
        steal_s = getattr(times, "steal", 0.0)
        mhz = tuple(number / 1000 for number in _numbers(self._clocks))
        hot = False
        if self._card is not None:
            mhz, hot = card(self._card)
        throttled = sum(_numbers(self._hot)) + _used_up(self._quotas)
        return Look(time.perf_counter(), time.process_time(), busy_seconds(times), steal_s, throttled, mhz, hot)

    def waited(self) -> Mapping[str, float]:
        # "run, waited, turns": the middle one in nanoseconds (Linux, Documentation/scheduler/sched-stats.rst)
        found: dict[str, float] = {}
        for path in TASKS.glob("*/schedstat"):
            try:
                found[path.parent.name] = int(path.read_text().split()[1]) / 1e9
            except (OSError, ValueError, IndexError):  # the thread has ended
                continue
        return found


def longest_wait(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Seconds between two moments for which the thread that waited longest had no core: the others wait for it."""
    return max((seconds - before.get(thread, 0.0) for thread, seconds in after.items()), default=0.0)


def card(uuid: str, library: str = NVML) -> tuple[tuple[float, ...], bool]:
    """MHz of an NVIDIA card's multiprocessors, none where it does not say; and whether heat or power holds it down."""
    found = open_card(uuid, library)
    if found is None:
        return (), False
    nvml, handle = found
    mhz, reasons = ctypes.c_uint(), ctypes.c_ulonglong()
    clocks = () if nvml.nvmlDeviceGetClockInfo(handle, SM_CLOCK, ctypes.byref(mhz)) else (float(mhz.value),)
    failed = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle, ctypes.byref(reasons))
    return clocks, not failed and bool(reasons.value & SLOWED)


def between(before: Look, after: Look) -> Span:
    """What two looks say of the time between them."""
    seconds = max(after.wall_s - before.wall_s, 1e-9)
    return Span(
        seconds=seconds,
        others_cores=others_cores(before, after),
        steal=max(0.0, after.steal_s - before.steal_s) / seconds / (os.cpu_count() or 1),
        throttled=after.throttled - before.throttled + after.hot,
        mhz=before.mhz + after.mhz,
        fall=1 - min(after.mhz) / min(before.mhz) if before.mhz and after.mhz and min(before.mhz) > 0 else 0.0,
        blur=others_blur(before, after),
    )


def _numbers(paths: Iterable[Path]) -> list[int]:
    found = []
    for path in paths:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def _used_up(paths: Iterable[Path]) -> int:
    """How often the CPU quotas of this process's control groups were used up."""
    found = 0
    for path in paths:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
    return found
