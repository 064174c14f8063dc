"""Rounds on a made-up machine whose work is known: drift, noise, spikes, other processes, exactly 3 per cent."""

import gc
from collections import Counter
from itertools import groupby

import pytest
from timing_machine import Machine, autocorrelated

from gru_bench.errors import UserError
from gru_bench.statistics.ratios import FEWEST
from gru_bench.timing.clock import CpuClock
from gru_bench.timing.rounds import BUSY_FLOOR, Plan, Taken, measure
from gru_bench.timing.warm_up import LEAST_S, warm_up

MS = 1e-3
PLAN = Plan(seconds=0.0)


def timed(machine: Machine, first_s: float, second_s: float, plan: Plan = PLAN, seed: int = 0) -> Taken:
    arms = machine.work(first_s), machine.work(second_s), machine.work(first_s)
    return measure(*arms, plan, clock=machine.clock, watch=machine, seed=seed)


def test_three_per_cent_are_found_in_either_direction() -> None:
    taken = timed(Machine(), MS, 1.03 * MS)
    assert taken.ratio().value == pytest.approx(1.03)
    assert taken.twins().value == pytest.approx(1)
    assert (taken.finding(), taken.rounds, taken.repeated, taken.busy) == ("first", 30, 0, False)
    assert timed(Machine(), 1.03 * MS, MS).finding() == "second"
    assert timed(Machine(), MS, MS).finding() == "noise"


def test_the_numbers_are_seconds_a_call() -> None:
    taken = timed(Machine(), MS, 2 * MS)
    for values, seconds in ((taken.first_s, 1), (taken.second_s, 2), (taken.again_s, 1), (taken.twin_s, 1)):
        assert values == pytest.approx([seconds * MS] * 30)


def test_a_drift_changes_no_ratio() -> None:
    # three times as slow at the end as at the start: A A A B B B would say 2, and A B A B is off in every round
    machine = Machine(slowness=lambda time: 1 + 0.4 * time)
    taken = timed(machine, MS, 1.03 * MS)
    assert machine.slowness(machine.time) > 3
    assert taken.ratio().value == pytest.approx(1.03, rel=1e-3)
    assert taken.finding() == "first"
    assert timed(Machine(slowness=lambda time: 1 + 0.4 * time), MS, MS).finding() == "noise"


def test_noise_that_wanders_is_no_finding() -> None:
    def said(second_s: float, spread: float) -> list[str]:
        machines = [Machine(slowness=autocorrelated(0.9, spread, 0.05, seed)) for seed in range(20)]
        return [timed(machine, 0.01, second_s, seed=seed).finding() for seed, machine in enumerate(machines)]

    assert said(0.01, 0.05).count("noise") >= 19
    found = said(0.0103, 0.02)
    assert found.count("first") >= 18
    assert "second" not in found


def test_a_spike_that_nothing_explains_changes_no_ratio() -> None:
    machine = Machine(slowness=lambda time: 10.0 if time % 0.7 < 0.1 else 1.0)
    taken = timed(machine, MS, 1.03 * MS)
    assert max(taken.first_s + taken.second_s) > 3 * MS
    assert taken.ratio().value == pytest.approx(1.03, rel=2e-3)
    assert taken.repeated == 0


@pytest.mark.parametrize("how", ["others", "stolen"])
def test_disturbed_rounds_are_flagged_repeated_and_kept(how: str) -> None:
    # a stretch of 2 s in which the work takes longer because something else runs
    def during(value: float, otherwise: float):
        return lambda time: value if 2 < time < 4 else otherwise

    if how == "others":
        machine = Machine(slowness=during(1.5, 1.0), others=during(1.0, 0.0))
    else:
        machine = Machine(stolen=during(0.4, 0.0))
    taken = timed(machine, MS, 1.03 * MS)
    reason = {"others": "others", "stolen": "lost"}[how]
    assert (taken.rounds, taken.busy) == (30, False)
    assert 5 < taken.repeated < 20
    # a round of which less than half lies in the stretch may pass
    assert sum(abs(seconds / MS - 1) < 1e-6 for seconds in taken.first_s) >= 28
    columns = taken.columns()
    assert {len(column) for column in columns.values()} == {8 * (30 + taken.repeated)}
    flagged = {number for number, why in zip(columns["round"], columns["disturbed"], strict=True) if reason in str(why)}
    assert len(flagged) == taken.repeated
    assert max(map(float, columns["seconds"])) > 1.4 * MS  # type: ignore[arg-type]


def test_a_machine_that_stays_busy_says_so_and_finds_nothing() -> None:
    assert timed(Machine(stolen=lambda _: 0.05), MS, MS).busy
    machine = Machine(others=lambda _: 2.0)
    taken = timed(machine, MS, 1.03 * MS)
    assert taken.busy
    assert taken.repeated == taken.rounds == 30
    assert taken.others_cores == pytest.approx(2)
    assert taken.floor() == BUSY_FLOOR
    assert taken.finding() == "noise"
    assert timed(Machine(others=lambda _: 2.0), MS, 2 * MS).finding() == "noise"  # nor a large one


def test_rounds_go_on_until_the_seconds_have_passed() -> None:
    machine = Machine()
    taken = timed(machine, MS, MS, Plan(seconds=10.0))
    assert machine.time - taken.warm.seconds == pytest.approx(10, abs=0.3)
    assert taken.rounds > 50


def test_a_limit_that_is_too_short_is_refused_in_a_line() -> None:
    with pytest.raises(UserError, match=r"^only 2 rounds fit into 10 s, a ratio needs 20: [^\n]+ smaller sizes$"):
        timed(Machine(), 1.0, 1.0, Plan(limit_s=10.0))
    # between what a ratio needs and what was asked for: a ratio, and nobody was busy
    taken = timed(Machine(), 1.0, 1.0, Plan(limit_s=180.0))
    assert (taken.busy, taken.repeated) == (False, 0)
    assert FEWEST <= taken.rounds < 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 5}, f"rounds=5: a ratio needs at least {FEWEST}"),
        ({"block_s": 0.0}, "block_s=0.0: must be above 0 seconds"),
    ],
)
def test_a_plan_without_sense_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Plan(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_blocks_are_long_enough_and_calls_longer_than_one_are_not_doubled() -> None:
    taken = timed(Machine(), 20e-6, 3.0)
    calls = {block.arm: block.calls for block in taken.blocks}
    assert calls == {"first": 500, "twin": 500, "second": 1}
    counted = Counter[str]()

    def call(name: str, seconds: float):
        work = machine.work(seconds)
        return lambda: (counted.update([name]), work())

    machine = Machine()
    plan = Plan(rounds=20, seconds=0.0, warm_up_s=0.0)
    measure(call("a", 1.0), call("b", 1.0), call("t", 1.0), plan, clock=machine.clock, watch=machine)
    assert counted == {"a": 2 + 20 * 4, "b": 2 + 20 * 2, "t": 2 + 20 * 2}


def test_all_arms_are_primed_alike() -> None:
    # an arm is cold after another, and slower then: in all blocks or in none
    machine, last = Machine(), [""]

    def call(name: str, seconds: float):
        cold, warm = machine.work(seconds + 0.05), machine.work(seconds)

        def either() -> None:
            (warm if last[0] == name else cold)()
            last[0] = name

        return either

    plan = Plan(rounds=20, seconds=0.0, block_s=0.5)
    arms = call("a", 0.02), call("b", 3.0), call("t", 0.02)
    taken = measure(*arms, plan, clock=machine.clock, watch=machine)
    assert {block.arm: block.calls > 1 for block in taken.blocks} == {"first": True, "twin": True, "second": False}
    assert taken.ratio().value == pytest.approx(150)


def test_the_order_is_mirrored_shuffled_and_seeded() -> None:
    def order(seed: int) -> list[list[tuple[str, str]]]:
        blocks = timed(Machine(), MS, MS, seed=seed).blocks
        return [[(block.quad, block.arm) for block in some] for _, some in groupby(blocks, lambda block: block.round)]

    rounds = order(0)
    for blocks in rounds:
        for quad in (blocks[:4], blocks[4:]):
            assert quad == quad[::-1]
            assert quad[0][0] == quad[1][0]
            assert quad[0][1] != quad[1][1]
    starts = {blocks[0] for blocks in rounds}
    assert starts == {("pair", "first"), ("pair", "second"), ("twins", "first"), ("twins", "twin")}
    assert order(0) == rounds
    assert order(1) != rounds


def test_no_garbage_is_collected_in_a_block_and_the_collector_comes_back() -> None:
    machine = Machine()
    work, seen = machine.work(MS), set()

    def call() -> None:
        seen.add(gc.isenabled())
        work()

    measure(call, call, call, PLAN, clock=machine.clock, watch=machine)
    assert seen == {False}
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0

    def broken() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        measure(broken, call, call, PLAN, clock=machine.clock, watch=machine)
    assert gc.isenabled()


def test_the_loop_is_taken_off_each_call() -> None:
    class Slow(CpuClock):
        """Whose loop takes a microsecond a turn."""

        def block(self, call, number):
            seconds = super().block(call, number)
            machine.time += number * 1e-6
            return seconds + number * 1e-6

    machine = Machine()
    arms = machine.work(2e-6), machine.work(4e-6), machine.work(2e-6)
    plan = Plan(rounds=20, seconds=0.0, block_s=0.001, warm_up_s=0.1)
    taken = measure(*arms, plan, clock=Slow(machine.now), watch=machine)
    assert taken.ratio().value == pytest.approx(2)


def test_a_real_clock_measures_the_order_of_real_work() -> None:
    # that one thing takes 20 times as long as another is seen on any machine
    taken = measure(
        lambda: sum(range(50)),
        lambda: sum(range(1000)),
        lambda: sum(range(50)),
        Plan(rounds=FEWEST, seconds=0.0, block_s=0.0005, warm_up_s=0.05),
    )
    assert taken.ratio().value > 3


def test_the_warm_up_ends_when_times_have_settled() -> None:
    machine = Machine()
    falling = tuple(0.5 * 0.97**number for number in range(300))
    arms = machine.work(MS), machine.work(MS, falling)
    warm = warm_up(arms, 0.02, 60.0, machine.clock)
    assert warm.stable
    before = machine.time
    arms[1]()
    assert machine.time - before < 1.1 * MS  # it was 500 times as much at first
    assert warm.calls == (20, 20)


def test_a_quick_one_warms_up_for_a_while_and_an_unsteady_one_not_for_ever() -> None:
    machine = Machine()
    warm = warm_up([machine.work(MS)], 0.02, 60.0, machine.clock)
    assert warm.stable
    assert LEAST_S <= warm.seconds < 2 * LEAST_S
    machine = Machine(slowness=lambda time: 1 + time)
    warm = warm_up([machine.work(MS)], 0.02, 3.0, machine.clock)
    assert not warm.stable
    assert 3 <= warm.seconds < 3.5
