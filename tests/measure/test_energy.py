"""Joules from counters of our own, and the resident set of this process."""

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from made_cells import CPU

from gru_bench.measure.energy import Energy, card_joules, counters
from gru_bench.measure.resident import from_usage, peak_resident_bytes

RANGE = 1_000_000


def zone(powercap: Path, number: str, name: str, microjoules: int) -> Path:
    folder = powercap / number
    folder.mkdir(parents=True)
    for file, text in (("name", name), ("energy_uj", str(microjoules)), ("max_energy_range_uj", str(RANGE))):
        (folder / file).write_text(f"{text}\n")
    return folder / "energy_uj"


def test_packages_and_their_memory_are_added_and_nothing_twice(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 50)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    second = zone(tmp_path, "intel-rapl:1", "package-1", RANGE - 5)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 0)
    again = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100)
    with Energy(CPU, powercap=tmp_path) as meter:
        first.write_text("300100\n")
        cores.write_text("900000\n")
        memory.write_text("200010\n")
        second.write_text("15\n")  # started again: 20 microjoules
        platform.write_text("999999\n")
        again.write_text("300100\n")
    assert meter.joules == pytest.approx((300_000 + 200_000 + 20) / 1e6)


def test_no_counter_no_joules(tmp_path: Path) -> None:
    with Energy(CPU, powercap=tmp_path) as none_there:
        pass
    with Energy(CPU, powercap=tmp_path / "absent") as no_folder:
        pass
    assert none_there.joules is no_folder.joules is None
    assert counters(tmp_path) is None


def test_a_counter_that_may_not_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    read = Path.read_text

    def refuse(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(path)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)  # a test that runs as root may read any file
    with Energy(CPU, powercap=tmp_path) as meter:
        pass
    assert meter.joules is None


def test_a_counter_that_goes_away_and_a_block_that_raises_have_no_joules(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:1", "package-1", 100)
    with Energy(CPU, powercap=tmp_path) as meter:
        (counter.parent / "name").write_text("core\n")
    assert meter.joules is None
    with pytest.raises(ValueError, match="lost"), Energy(CPU, powercap=tmp_path) as meter:
        raise ValueError("lost")
    assert meter.joules is None


def driver(millijoules: list[int], *, knows: str = "GPU-abc", too_old: bool = False) -> SimpleNamespace:
    """What the driver's library would answer."""

    def total(_: object, into: Any) -> int:
        into._obj.value = millijoules.pop(0)
        return 3 if too_old else 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByUUID=lambda name, _: 0 if name == knows.encode() else 6,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


def test_a_card_is_found_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    library = driver([5000, 12500, 1])
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="abc"))
    with Energy(torch.device("cuda")) as meter:
        pass
    assert meter.joules == 7.5
    assert card_joules("another") is None
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver([5000], too_old=True))
    assert card_joules("GPU-abc") is None


def test_without_a_driver_a_card_says_nothing() -> None:
    assert card_joules("abc", "libthere-is-no-such-library.so.1") is None


@pytest.mark.skipif(counters() is None, reason="this machine shows no energy counters")
def test_this_machine_uses_energy() -> None:
    with Energy(CPU) as meter:
        product = torch.ones(600, 600)
        for _ in range(20):
            product = product @ torch.eye(600)
    assert meter.joules is not None
    assert meter.joules > 0


# the resident set


def test_the_resident_peak_outlives_what_made_it() -> None:
    code = (
        "from gru_bench.measure.resident import peak_resident_bytes as peak\n"
        "before = peak(); held = bytearray(b'x') * (64 * 2**20); del held\n"
        "print(before, peak())"
    )
    # of a process of its own: this one had its peak already
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before == pytest.approx(64 * 2**20, rel=0.1)


def test_units_of_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("VmPeak:\t  900 kB\nVmHWM:\t  123 kB\nVmRSS:\t  45 kB\n")
    assert peak_resident_bytes(tmp_path / "status") == 123 * 1024

    with monkeypatch.context() as windows:
        windows.setitem(sys.modules, "resource", None)
        assert peak_resident_bytes(tmp_path / "absent") is None
    peak = peak_resident_bytes(tmp_path / "absent")
    assert peak is not None
    assert peak > 2**20
    assert (from_usage(7, "linux"), from_usage(7, "darwin")) == (7168, 7)
