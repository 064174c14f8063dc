"""What a search runs next, against simulated cells whose chance to solve a lag is known."""

import math
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.run.search import FAILED, Attempt, Design, Found, Wanted, best_rate, search
from gru_bench.store.schema import HORIZON, TRIAL

RATES, SEEDS = (0.002, 0.008, 0.032), tuple(range(10))
LAGS = (10, 20, 40, 80, 160, 320)
HORIZONS = Design(RATES, (100,), SEEDS, LAGS)
TRIED = Design(RATES, (100,), SEEDS)
UNSOLVED = Attempt(None, -0.1)


def solved(step: int) -> Attempt:
    return Attempt(step, 0.0)


class Cell:
    """Solves a lag in each run with a given chance, with the middle rate soonest."""

    def __init__(self, chance: Mapping[int, float], seed: int = 0) -> None:
        self.chance, self.seed = chance, seed
        self.ran: dict[tuple[int | None, float, int], Attempt] = {}
        self.roles: dict[str, int] = {}

    def known(self, wanted: Wanted) -> Attempt | None:
        return self.ran.get((wanted.lag, wanted.rate, wanted.seed))

    def run(self, wanted: Wanted) -> None:
        key = (wanted.lag, wanted.rate, wanted.seed)
        assert key not in self.ran, "run twice"
        lucky = random.Random(f"{self.seed} {key}").random() < self.chance[wanted.lag or 0]
        self.ran[key] = solved(100 if wanted.rate == RATES[1] else 300) if lucky else UNSOLVED
        self.roles[wanted.role] = self.roles.get(wanted.role, 0) + 1

    def search(self, design: Design) -> tuple[Found, int]:
        """To its end, and in how many rounds."""
        for rounds in range(100):
            found = search(design, self.known)
            if not found.wanted:
                return found, rounds
            for wanted in found.wanted:
                self.run(wanted)
        raise AssertionError("it never ends")


@pytest.mark.parametrize("horizon", [0, *LAGS])
def test_a_cell_that_always_solves_up_to_a_lag_has_that_horizon(horizon: int) -> None:
    cell = Cell({lag: float(lag <= horizon) for lag in LAGS})
    found, rounds = cell.search(HORIZONS)
    assert found.solved == (horizon or None)
    assert found.unsolved == next((lag for lag in LAGS if lag > horizon), None)
    assert len(found.visits) <= 3
    assert rounds <= 9
    assert {(visit.solved, visit.tried) for visit in found.visits} <= {(10, 10), (0, 2)}
    assert all(visit.rate == 0.008 for visit in found.visits if visit.passed)


@given(chances=st.lists(st.floats(0, 1), min_size=6, max_size=6), seed=st.integers(0, 1000))
def test_whatever_the_chances_it_ends_with_equal_tries_and_no_run_too_many(chances: list[float], seed: int) -> None:
    cell = Cell(dict(zip(LAGS, chances, strict=True)), seed)
    found, _ = cell.search(HORIZONS)
    lags = [visit.lag for visit in found.visits]
    assert len(set(lags)) == len(lags) <= 3
    assert cell.roles[TRIAL] == len(RATES) * len(lags)
    assert cell.roles.get(HORIZON, 0) == sum(visit.tried for visit in found.visits)
    assert set(cell.roles) <= {TRIAL, HORIZON}
    for visit in found.visits:
        failures = visit.tried - visit.solved
        assert visit.passed == (visit.tried == 10 and failures <= 1)
        assert visit.rate is not None
        went = [cell.ran[visit.lag, visit.rate, seed].solved_at for seed in range(visit.tried)]
        for looked in (2, 4, 8) if None in went[:2] else (2,):
            assert looked >= visit.tried or went[:looked].count(None) <= 1  # else it was out of reach there
        if visit.lag == found.solved:
            assert visit.passed
        if visit.lag == found.unsolved:
            assert not visit.passed


@given(cut=st.integers(0, 60), horizon=st.sampled_from(LAGS))
def test_it_goes_on_after_an_interruption_as_if_there_had_been_none(cut: int, horizon: int) -> None:
    chance = {lag: 0.95 if lag <= horizon else 0.1 for lag in LAGS}
    whole, broken = Cell(chance), Cell(chance)
    expected, _ = whole.search(HORIZONS)
    while cut and (wanted := search(HORIZONS, broken.known).wanted):
        broken.run(wanted[cut % len(wanted)])  # the runs of a round end in any order
        cut -= 1
    assert broken.search(HORIZONS)[0] == expected
    assert broken.ran.keys() == whole.ran.keys()


def test_a_lag_that_is_not_solved_costs_little() -> None:
    ran = {(lag, rate, 100): solved(100) for lag in LAGS for rate in RATES}

    def after(*attempts: Attempt) -> tuple[int, bool | None]:
        """How many seeds are next at the first lag, after these went so."""
        known = ran | {(40, RATES[0], seed): attempt for seed, attempt in enumerate(attempts)}
        first = search(HORIZONS, lambda w: known.get((w.lag, w.rate, w.seed))).visits[0]
        return len(first.wanted), first.passed

    yes, no = solved(100), UNSOLVED
    assert after() == (2, None)
    assert after(yes, yes) == (8, None)
    assert after(no, no) == (0, False)
    assert after(yes, no) == (2, None)
    assert after(yes, no, yes, yes) == (4, None)
    assert after(yes, no, yes, no) == (0, False)
    assert after(*[yes] * 9, no) == (0, True)


def test_trials_without_lags_then_the_seeds_with_the_best_rate() -> None:
    cell = Cell({0: 0.5}, seed=3)
    first = search(TRIED, cell.known).wanted
    assert [(w.rate, w.seed, w.role) for w in first] == [(rate, 100, TRIAL) for rate in RATES]
    found, rounds = cell.search(TRIED)
    assert rounds == 2
    assert cell.roles == {TRIAL: 3, "": 10}
    assert found.visits[0].tried == 10  # however many of them solve it: they are compared


def test_a_row_whose_trials_all_failed_goes_no_further() -> None:
    found = search(TRIED, lambda _: FAILED)
    assert not found.wanted
    assert found.visits[0].rate is None
    assert search(HORIZONS, lambda _: FAILED).solved is None


@pytest.mark.parametrize(
    ("went", "best"),
    [
        ({0.1: [solved(300)], 0.2: [solved(200)], 0.4: [Attempt(None, -0.01)]}, 0.2),
        ({0.1: [solved(200)], 0.2: [solved(200)]}, 0.1),
        ({0.1: [Attempt(None, -0.3)], 0.2: [Attempt(None, -0.2)], 0.4: [FAILED]}, 0.2),
        ({0.1: [solved(100), UNSOLVED], 0.2: [solved(900), solved(900)]}, 0.2),
        ({0.1: [FAILED, UNSOLVED], 0.2: [UNSOLVED, UNSOLVED]}, 0.2),
        ({0.1: [FAILED], 0.2: [FAILED]}, None),
    ],
)
def test_the_best_rate(went: dict[float, list[Attempt]], best: float | None) -> None:
    assert best_rate(went) == best


@pytest.mark.parametrize(("share", "seeds", "allowed"), [(0.9, 10, 1), (1.0, 10, 0), (0.5, 3, 1), (0.9, 5, 0)])
def test_failures_allowed(share: float, seeds: int, allowed: int) -> None:
    assert Design(RATES, (100,), tuple(range(seeds)), LAGS, share).failures_allowed == allowed
    assert math.ceil(share * seeds) == seeds - allowed


def test_a_look_asks_for_each_run_once() -> None:
    cell = Cell({lag: float(lag <= 40) for lag in LAGS})
    cell.search(HORIZONS)
    asked: list[tuple[int | None, float, int]] = []

    def known(wanted: Wanted) -> Attempt | None:
        asked.append((wanted.lag, wanted.rate, wanted.seed))
        return cell.known(wanted)

    search(HORIZONS, known)
    assert len(asked) == len(set(asked)) >= len(cell.ran)
