"""What is seen beside the clock, and what of it makes a round not count."""

import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from gru_bench.timing import watch
from gru_bench.timing.watch import Look, MachineWatch, Span, between, card, longest_wait

Times = namedtuple("Times", "user nice system idle iowait steal guest")


@pytest.mark.parametrize(
    ("span", "lost", "reason"),
    [
        (Span(0.2, 0.1, 0.0, 0), 0.01, ""),
        (Span(0.2, 0.1, 0.0, 0), 0.03, "lost"),
        (Span(0.2, 1.0, 0.0, 0), 0.0, "others"),
        (Span(0.2, 1.0, 0.0, 0, blur=0.6), 0.0, ""),
        (Span(0.2, 0.0, 0.05, 0), 0.0, "steal"),
        (Span(0.2, 0.0, 0.0, 1), 0.0, "throttled"),
        (Span(0.2, 0.0, 0.0, 0, (3000.0, 2500.0), 1 / 6), 0.0, "clock"),
        (Span(0.2, 1.0, 0.0, 2), 0.5, "lost+others+throttled"),
    ],
)
def test_why_a_round_does_not_count(span: Span, lost: float, reason: str) -> None:
    assert span.disturbed_by(lost) == reason


def test_what_lies_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    before = Look(10.0, 5.0, 100.0, 1.0, 3, (3000.0, 2900.0))
    after = Look(12.0, 6.5, 104.5, 1.4, 3, (2900.0, 2320.0))
    span = between(before, after)
    # 4.5 s of work in 2 s, of which 1.5 s were ours
    assert (span.seconds, span.others_cores, span.throttled) == (2.0, 1.5, 0)
    assert span.steal == pytest.approx(0.4 / 8)
    assert span.mhz == (3000.0, 2900.0, 2900.0, 2320.0)
    assert span.fall == pytest.approx(0.2)
    assert span.blur == pytest.approx(0.01 * 2.25**0.5 / 2)


def test_counters_that_lag_behind_ours_are_no_negative_load() -> None:
    assert between(Look(0.0, 0.0, 0.0, 0.0, 0), Look(1.0, 1.0, 0.9, 0.0, 0)).others_cores == 0


def test_where_the_counters_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_times", lambda: Times(8.0, 1.0, 2.0, 50.0, 3.0, 0.5, 4.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1}, raising=False)
    monkeypatch.setattr(watch, "SYSTEM", tmp_path / "cpu")
    monkeypatch.setattr(watch, "control_groups", lambda: [tmp_path / "own", tmp_path])
    for core, mhz, hot in ((0, 1_000_000, 2), (1, 3_100_000, 5)):
        for name, value in (("cpufreq/scaling_cur_freq", mhz), ("thermal_throttle/core_throttle_count", hot)):
            path = tmp_path / "cpu" / f"cpu{core}" / name
            path.parent.mkdir(parents=True)
            path.write_text(f"{value}\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 9\nnr_periods 4\nnr_throttled 40\n")
    look = MachineWatch().look()
    assert (look.busy_s, look.steal_s) == (
        11.0,
        0.5,
    )  # a guest's time is in user already; waiting and theft are not work
    assert look.throttled == 2 + 5 + 40
    assert look.mhz == (3100.0,)  # of the core that this process may use


def test_the_thread_that_waits_longest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TASKS", tmp_path)

    def told(**nanoseconds: int) -> dict[str, float]:
        for thread, waited in nanoseconds.items():
            (tmp_path / thread).mkdir(exist_ok=True)
            (tmp_path / thread / "schedstat").write_text(f"99000000 {waited} 7\n")
        return dict(MachineWatch().waited())

    before = told(a=1_000_000_000, b=5_000_000)
    assert before == {"a": 1.0, "b": 0.005}
    after = told(a=1_001_000_000, b=9_000_000, late=2_000_000)
    assert longest_wait(before, after) == pytest.approx(0.004)
    assert longest_wait(after, after) == 0
    assert longest_wait({}, {}) == 0  # a system that does not tell


def test_a_card_that_is_not_there_says_nothing() -> None:
    assert card("0" * 8, library="libnvidia-ml-of-nowhere.so") == ((), False)


def test_a_card_that_is_held_down_disturbs() -> None:
    cool, hot = (Look(moment, 0.0, 0.0, 0.0, 0, hot=moment == 1.0) for moment in (0.0, 1.0))
    assert between(cool, hot).disturbed_by() == "throttled"


def test_this_machine_is_read() -> None:
    seen = MachineWatch()
    first = seen.look()
    assert sum(range(200_000)) > 0
    second = seen.look()
    assert second.wall_s > first.wall_s
    assert second.own_s > first.own_s
    assert second.busy_s >= first.busy_s
    assert longest_wait(seen.waited(), seen.waited()) >= 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not say how long threads wait")
def test_waiting_for_a_core_is_seen() -> None:
    """Two processes on one core: one of them waits."""
    core, allowed = max(os.sched_getaffinity(0)), os.sched_getaffinity(0)
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-S", "-c", code])
    try:
        os.sched_setaffinity(0, {core})
        seen = MachineWatch()
        before = seen.waited()
        patience = time.monotonic() + 60  # it ends as soon as a wait is seen
        while longest_wait(before, seen.waited()) <= 0.02 and time.monotonic() < patience:
            pass
        assert longest_wait(before, seen.waited()) > 0.02
        assert other.poll() is None
    finally:
        os.sched_setaffinity(0, allowed)
        other.kill()
        other.wait()
