"""Values drawn for a trial."""

import math

import pytest
from conftest import composed

from gru_bench.config.check import check
from gru_bench.config.drawn import drawn
from gru_bench.errors import UserError


def test_draws_are_log_uniform_and_repeat() -> None:
    found = [drawn(trial, "rate", 0.0001, 1.0) for trial in range(2000)]
    assert found == [drawn(trial, "rate", 0.0001, 1.0) for trial in range(2000)]
    assert 0.0001 <= min(found) < max(found) <= 1.0
    assert sum(map(math.log10, found)) / 2000 == pytest.approx(-2.0, abs=0.1)
    assert found != [drawn(trial, "dropout", 0.0001, 1.0) for trial in range(2000)]


@pytest.mark.parametrize(("low", "high", "scale"), [(1.0, 0.5, "linear"), (0.0, 1.0, "log"), (0.1, 1.0, "cubic")])
def test_a_range_that_is_none_is_refused(low: float, high: float, scale: str) -> None:
    with pytest.raises(UserError, match=r"^drawn: rate: .*valid: "):
        drawn(0, "rate", low, high, scale)


@pytest.mark.usefixtures("hydra_conf")
def test_each_trial_of_the_experiment_has_its_rate_and_each_cell_the_same() -> None:
    def rate(cell: str, seed: int) -> float:
        _, node = check(composed("experiment=tuned", "task=adding", f"cell={cell}", f"seed={seed}"))
        return float(node["trainer"]["learning_rate"])

    assert rate("gru", 200) == rate("lstm", 200) == drawn(200, "learning_rate", 0.0003, 0.03)
    assert rate("gru", 200) != rate("gru", 201)
