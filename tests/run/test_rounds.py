"""Which seeds a sweep adds next: known answers of the pure planner."""

from hypothesis import given
from hypothesis import strategies as st

from gru_bench.run.rounds import Limits, Looked, Pair, Standing, first_seeds, minutes, next_round, next_seeds

SCHEDULE = [5, 8, 12, 18]
ADDING, WORDS, COPY = Pair("gru adding", "lstm adding"), Pair("gru words", "lstm words"), Pair("gru copy", "lstm copy")


def undecided(needed: int | None = 10, least: int = 6, reason: str = "") -> Standing:
    return Standing("a task", "undecided", False, needed=None if needed is None else (needed, least), reason=reason)


DECIDED = Standing("a task", "LSTM", True)


def looked(seconds: float = 10.0, **pairs: tuple[Pair, int, Standing | None]) -> Looked:
    """Each pair with so many seeds; a run takes so many seconds."""
    return Looked(
        {key: frozenset(range(n)) for pair, n, _ in pairs.values() for key in (pair.first, pair.second)},
        {key: seconds for pair, _, _ in pairs.values() for key in (pair.first, pair.second)},
        {pair: standing for pair, _, standing in pairs.values() if standing is not None},
    )


def test_only_the_undecided_get_seeds_and_the_most_promising_come_first() -> None:
    now = looked(a=(ADDING, 5, undecided(17)), b=(WORDS, 5, DECIDED), c=(COPY, 8, undecided(10)))
    found = next_round([ADDING, WORDS, COPY], now, {}, Limits(SCHEDULE))
    assert list(found.added.items()) == [(COPY, [8, 9, 10, 11]), (ADDING, [5, 6, 7])]
    assert not found.why


def test_what_fits_the_time_is_run_and_what_does_not_waits() -> None:
    now = looked(a=(ADDING, 5, undecided(17)), c=(COPY, 8, undecided(10)))  # 3 seeds are 60 s, 4 are 80 s
    assert list(next_round([ADDING, COPY], now, {}, Limits(SCHEDULE, 140.0)).added) == [COPY, ADDING]
    assert list(next_round([ADDING, COPY], now, {}, Limits(SCHEDULE, 139.0)).added) == [COPY]
    assert list(next_round([ADDING, COPY], now, {}, Limits(SCHEDULE, 70.0)).added) == [ADDING]
    assert list(next_round([ADDING, COPY], now, {}, Limits(SCHEDULE, 70.0, workers=2)).added) == [COPY, ADDING]
    assert list(next_round([ADDING, COPY], now, {}, Limits(SCHEDULE, 70.0, workers=2, pace=1.5)).added) == [COPY]
    over = next_round([ADDING, COPY], now, {}, Limits(SCHEDULE, 59.0, max_hours=0.5))
    assert not over.added
    assert over.why == "2 undecided: max_hours=0.5 leaves 59 s, and the next seeds would take 60 s"


def test_why_a_sweep_ends() -> None:
    def why(standing: Standing | None, n: int) -> str:
        found = next_round([ADDING], looked(a=(ADDING, n, standing)), {}, Limits(SCHEDULE))
        assert not found.added
        return found.why

    assert why(DECIDED, 5) == "every pair is decided"
    assert why(undecided(40, 19), 12) == "1 undecided: it would take at least 19 seeds, and max_seeds=18"
    assert why(undecided(20), 18) == "1 undecided: max_seeds=18 is reached"
    assert why(undecided(None, reason="noise"), 8) == "1 undecided: no number of seeds would do (noise)"
    assert why(None, 8) == "1 undecided: the report compares other rows of the task"


def test_a_need_beyond_the_most_is_tried_where_its_range_reaches_below() -> None:
    assert next_round([ADDING], looked(a=(ADDING, 12, undecided(40, 18))), {}, Limits(SCHEDULE)).added


def test_a_failed_seed_is_replaced_by_the_next_one() -> None:
    now = Looked(
        {"gru adding": frozenset({0, 1, 2, 3, 4}), "lstm adding": frozenset({0, 2, 3, 4})},
        standings={ADDING: undecided(None, reason="4 of at least 5 seeds")},
    )
    assert next_round([ADDING], now, {ADDING: {0, 1, 2, 3, 4}}, Limits(SCHEDULE)).added == {ADDING: [5]}
    nothing = next_round([ADDING], Looked(), {ADDING: {0, 1, 2, 3, 4}}, Limits(SCHEDULE))
    assert nothing.why == "1 undecided: too many of its runs failed"


def test_the_first_seeds_are_the_experiments_own_and_at_least_five() -> None:
    assert first_seeds(ADDING, [0, 1, 2], Looked(), SCHEDULE) == [0, 1, 2, 3, 4]
    assert first_seeds(ADDING, [100, 101], Looked(), SCHEDULE) == [100, 101, 102, 103, 104]
    assert first_seeds(ADDING, list(range(8)), Looked(), [8, 12, 18]) == list(range(8))


def test_a_round_that_was_interrupted_is_completed_before_anything_is_judged() -> None:
    left = Looked({"gru adding": frozenset(range(7)), "lstm adding": frozenset(range(6))})
    assert first_seeds(ADDING, list(range(5)), left, SCHEDULE) == list(range(8))
    complete = looked(a=(ADDING, 8, undecided()))
    assert first_seeds(ADDING, list(range(5)), complete, SCHEDULE) == list(range(8))
    beyond = looked(a=(ADDING, 20, undecided()))
    assert first_seeds(ADDING, list(range(5)), beyond, SCHEDULE) == list(range(20))


@given(used=st.sets(st.integers(0, 30)), count=st.integers(0, 10))
def test_next_seeds_are_new_and_ascend(used: set[int], count: int) -> None:
    found = next_seeds(used, count)
    assert len(found) == count
    assert not used & set(found)
    assert found == sorted(set(found))


@given(
    n=st.integers(0, 25),
    needed=st.none() | st.tuples(st.integers(5, 60), st.integers(5, 60)),
    failed=st.sets(st.integers(0, 25), max_size=6),
)
def test_a_pair_always_ends_and_only_looks_where_it_was_planned(
    n: int, needed: tuple[int, int] | None, failed: set[int]
) -> None:
    """Whatever is seen, rounds with failures among them end, and a complete one ends on the schedule."""
    standing = Standing("a task", "undecided", False, needed=needed)
    have, tried = set(range(n)) - failed, set(range(n))
    for _ in range(40):
        seeds = {key: frozenset(have) for key in ("gru adding", "lstm adding")}
        found = next_round([ADDING], Looked(seeds, standings={ADDING: standing}), {ADDING: tried}, Limits(SCHEDULE))
        if not found.added:
            assert found.why
            return
        new = found.added[ADDING]
        assert not tried & set(new)
        assert len(have) + len(new) in SCHEDULE
        tried |= set(new)
        have |= set(new) - failed
    raise AssertionError("it never ended")


def test_times_are_short() -> None:
    assert [minutes(s) for s in (-1, 3, 90, 720, 7200)] == ["0 s", "3 s", "90 s", "12 min", "2.0 h"]
