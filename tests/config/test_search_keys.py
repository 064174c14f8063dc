"""What sweeps that search take from ``hydra.sweeper``, and what they refuse."""

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from gru_bench.config.running import Until
from gru_bench.config.search import Horizon, Trials, check_search
from gru_bench.errors import UserError

TRIALS = {"rates": [0.01, 0.04], "seeds": [100]}
LAGS = {"key": "task.lengths", "lags": [5, 10]}


def sweeper(trials: Any = TRIALS, horizon: Any = LAGS) -> DictConfig:
    return OmegaConf.create({"trials": trials, "horizon": horizon})


def test_what_is_given_is_taken() -> None:
    trials, horizon = check_search(sweeper(), Until(until="horizon"))
    assert trials == Trials(rates=[0.01, 0.04], seeds=[100])
    assert horizon == Horizon(key="task.lengths", lags=[5, 10], share=0.9)
    assert check_search(sweeper(horizon=None), Until(until="tried")) == (trials, None)


@pytest.mark.parametrize(
    ("trials", "horizon", "message"),
    [
        (None, LAGS, "hydra.sweeper.trials: missing; until=horizon needs it, such as 'hydra.sweeper.trials={rates: "),
        (3, LAGS, "hydra.sweeper.trials: must be a mapping; until=horizon needs it, such as"),
        (TRIALS, None, "hydra.sweeper.horizon: missing; until=horizon needs it, such as"),
        (TRIALS | {"rates": []}, LAGS, "hydra.sweeper.trials.rates=[]: "),
        (TRIALS | {"rates": [0.1, -1]}, LAGS, "hydra.sweeper.trials.rates[1]=-1: must be greater than 0"),
        (TRIALS | {"rates": [0.2, 0.1]}, LAGS, "trials.rates=[0.2, 0.1]: must ascend; valid: [0.1, 0.2]"),
        (TRIALS | {"seeds": [7, 7]}, LAGS, "trials.seeds=[7, 7]: one of them twice; valid: different seeds"),
        (TRIALS | {"rate": 1}, LAGS, "hydra.sweeper.trials.rate: no such key; hydra.sweeper.trials takes rates, seeds"),
        (TRIALS, LAGS | {"lags": []}, "hydra.sweeper.horizon.lags=[]: "),
        (TRIALS, LAGS | {"lags": [5, 5]}, "horizon.lags=[5, 5]: must ascend; valid: [5]"),
        (TRIALS, LAGS | {"share": 2}, "hydra.sweeper.horizon.share=2: must be less than or equal to 1"),
        (TRIALS, {"lags": [5]}, "hydra.sweeper.horizon.key: missing; hydra.sweeper.horizon needs it"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(trials: Any, horizon: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_search(sweeper(trials, horizon), Until(until="horizon"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
