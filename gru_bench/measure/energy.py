"""Joules over a span, from the counters that a machine has: RAPL for its processors, NVML for a GPU.

Both count everything that runs there, other processes too. Where there is no counter, or it may not be read, the
answer is None; nothing is estimated.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from gru_bench.measure.nvml import NVML, open_card

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows RAPL, of Intel and AMD alike, in microjoules. Since 2020 mostly to root alone (CVE-2020-8694)."""
DOMAINS = ("package", "dram")
"""Those that are added up: a package has its cores in it, but not its memory, and the whole platform has both."""


class Energy:
    """Measures the joules of a block: of all processors for a CPU, of one card for a CUDA device.

    A counter starts again at its range, which is seen once a block: at 200 W a common range of 65 kJ lasts five
    minutes, 262 kJ 22 minutes. Longer blocks give too little without a sign of it. Counters step about once a
    millisecond (RAPL), or up to every 100 ms (NVML): blocks are to last for seconds.

    Args:
        device: Where the block runs. On CUDA the device is waited for at both ends.
        powercap: The folder of the processors' counters; a test's own.

    Attributes:
        joules: None before the block has ended, where it raised, and where the machine does not say.
    """

    def __init__(self, device: torch.device, *, powercap: Path = POWERCAP) -> None:
        self.device = device
        self.powercap = powercap
        self.joules: float | None = None
        self._before: float | dict[Path, int] | None = None

    def __enter__(self) -> Self:
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before, after = self._before, self._read()
        if kind is not None or before is None or after is None:
            return
        if isinstance(before, dict):
            self.joules = passed(before, after) if isinstance(after, dict) else None
        elif not isinstance(after, dict):
            self.joules = after - before

    def _read(self) -> float | dict[Path, int] | None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return card_joules(str(torch.cuda.get_device_properties(self.device).uuid))
        return counters(self.powercap)


def counters(powercap: Path = POWERCAP) -> dict[Path, int] | None:
    """Microjoules so far by zone: each package, and its memory where that is counted. None where one cannot be read."""
    found: dict[Path, int] = {}
    try:
        # intel-rapl-mmio:0 is the same package seen by another way
        for zone in sorted(powercap.glob("intel-rapl:*")):
            if (zone / "name").read_text().strip().startswith(DOMAINS):
                found[zone] = int((zone / "energy_uj").read_text())
    except (OSError, ValueError):
        return None
    return found or None


def passed(before: Mapping[Path, int], after: Mapping[Path, int]) -> float | None:
    """Joules between two readings, of which the later may be the smaller one, once a counter has started again."""
    total = 0
    for zone, microjoules in before.items():
        if zone not in after:
            return None
        used = after[zone] - microjoules
        if used < 0:
            try:
                used += int((zone / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                return None
        total += used
    return total / 1e6


def card_joules(uuid: str, library: str = NVML) -> float | None:
    """What an NVIDIA card has used since its driver was loaded; None where it does not say (older than Volta).

    Args:
        uuid: As torch gives it.
        library: Name of the driver's library.
    """
    found = open_card(uuid, library)
    if found is None:
        return None
    nvml, handle = found
    millijoules = ctypes.c_ulonglong()
    failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
    return None if failed else millijoules.value / 1e3
