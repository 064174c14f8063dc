"""Single steps timed one by one, on a made-up machine."""

import gc

import pytest
from timing_machine import Machine

from gru_bench.timing import worker
from gru_bench.timing.subjects import CPU
from gru_bench.timing.worker import TRIES, quantiles, timed_one_by_one

US = 1e-6


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(worker.time, "perf_counter", made.now)
    monkeypatch.setattr(worker, "single_calls", lambda call, number, _: [seconds(made, call) for _ in range(number)])
    return made


def seconds(machine: Machine, call: object) -> float:
    before = machine.time
    assert callable(call)
    call()
    assert not gc.isenabled()
    return machine.time - before


def test_quantiles_are_of_steps_that_nothing_disturbed(machine: Machine) -> None:
    machine.slowness = lambda time: 3.0 if 0.1 < time < 0.5 else 1.0
    machine.others = lambda time: 1.0 if 0.1 < time < 0.5 else 0.0
    calls = {"first_": machine.work(10 * US), "second_": machine.work(20 * US)}
    taken = timed_one_by_one(calls, 10_000, CPU.device, machine)
    assert {len(column) for column in taken.values()} == {len(taken["first_us"])}
    assert taken["disturbed"].count("") >= 10_000
    assert set(taken["disturbed"]) == {"", "others"}
    assert max(taken["first_us"]) == pytest.approx(30)
    found = quantiles(taken)
    assert (found["first_p99_us"], found["second_p99_us"]) == (pytest.approx(10), pytest.approx(20))
    assert gc.isenabled()


def test_a_machine_that_stays_busy_is_not_waited_for_for_ever(machine: Machine) -> None:
    machine.others = lambda _: 1.0
    calls = {"first_": machine.work(1000 * US), "second_": machine.work(2000 * US)}
    taken = timed_one_by_one(calls, 1000, CPU.device, machine)
    assert len(taken["first_us"]) == len(taken["second_us"]) == TRIES * 1000
    assert quantiles(taken)["second_p50_us"] == pytest.approx(2000)
