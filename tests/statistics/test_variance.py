import numpy as np
import pytest

from gru_bench.errors import UserError
from gru_bench.statistics.variance import split


def test_balanced_by_hand() -> None:
    # cells 1 and 3 apart by 2, residuals ± 1 and nothing by seed: SS cell 8, seed 0, rest 8 on 8 - 1 - 1 - 3 = 3
    values = [0, 2, 0, 2, 2, 4, 2, 4]
    cells, seeds = list("aaaabbbb"), [0, 1, 2, 3, 1, 0, 3, 2]
    shares = split(values, {"cell": cells, "seed": seeds})
    residual = 8 / 3
    assert shares["cell"] == pytest.approx((8 - residual) / 16)
    assert shares["seed"] == 0
    assert sum(shares.values()) == pytest.approx(1)


def test_it_finds_the_shares_of_a_simulation_also_where_runs_are_missing() -> None:
    rng = np.random.default_rng(0)
    cell, size, seed = rng.integers(0, 4, 3000), rng.integers(0, 3, 3000), rng.integers(0, 40, 3000)
    effects = [np.array([-3.0, -1.0, 1.0, 3.0]), np.array([-1.0, 0.0, 1.0]), rng.permutation(np.linspace(-2, 2, 40))]
    values = effects[0][cell] + effects[1][size] + effects[2][seed] + rng.normal(0, 1.5, 3000)
    parts = {"cell": 5.0, "size": 2 / 3, "seed": effects[2].var(), "rest": 2.25}
    shares = split(values, {"cell": [f"c{code}" for code in cell], "size": size, "seed": seed})
    for name, part in parts.items():
        assert shares[name] == pytest.approx(part / sum(parts.values()), abs=0.03)


def test_a_factor_of_many_levels_gets_nothing_by_chance() -> None:
    rng = np.random.default_rng(1)
    shares = [split(rng.normal(size=60), {"seed": np.repeat(np.arange(30), 2)})["seed"] for _ in range(200)]
    assert np.mean(shares) < 0.1  # without the correction it would be 29 of 59


def test_the_first_factor_takes_what_is_shared() -> None:
    size = np.repeat([32, 64], 10)
    rate = np.repeat([0.01, 0.003], 10)  # each size has its own
    values = size / 32 + np.tile([0.0, 0.1], 10)
    assert split(values, {"size": size, "learning rate": rate})["learning rate"] == 0
    assert split(values, {"learning rate": rate, "size": size})["size"] == 0


def test_test_examples_are_added() -> None:
    values, cells = [1.0, 1.0, 3.0, 3.0], list("aabb")
    assert split(values, {"cell": cells}) == pytest.approx({"cell": 1.0, "rest": 0.0})
    shares = split(values, {"cell": cells}, [0.5, 1.5, 0.5, 1.5])
    assert shares == pytest.approx({"cell": 0.5, "test examples": 0.5, "rest": 0.0})
    assert list(shares) == ["cell", "test examples", "rest"]


def test_scores_that_do_not_vary_have_no_shares() -> None:
    assert split([2.0, 2.0, 2.0], {"cell": list("aab")}) == {"cell": 0.0, "rest": 0.0}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: split([1.0, 2.0], {"cell": ["a"]}), "variance of cell: 1 levels and 2 scores"),
        (lambda: split([1.0], {"cell": ["a"]}), "at least two runs"),
        (lambda: split([1.0, 2.0], {"rest": ["a", "b"]}), "no factor of a run"),
    ],
)
def test_bad_input_is_one_line(call, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
