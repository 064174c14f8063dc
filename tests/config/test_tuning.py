"""Learning rates by family: which one a run gets, and whether the yaml files say what their trials say."""

from pathlib import Path
from typing import Any

import pytest
from conftest import CONF, composed, yaml_names
from omegaconf import OmegaConf

from gru_bench.config.check import check
from gru_bench.config.keys import run_keys
from gru_bench.config.rates import Tuning, rate_of
from gru_bench.errors import UserError
from gru_bench.store.read import FAMILIES

GIVEN: dict[str, Any] = {
    "metric": "accuracy",
    "best": "highest",
    "seeds": [0],
    "at": None,
    "rates": [0.1, 0.2, 0.4],
    "scores": {"rnn": [0.5, 0.6, None], "lstm": [0.7, 0.7, 0.1], "gru": [float("nan"), 0.2, 0.3]},
}


def test_the_best_rate_is_chosen_and_the_smaller_of_two() -> None:
    assert Tuning(**GIVEN).chosen() == {"rnn": 0.2, "lstm": 0.1, "gru": 0.4}
    assert Tuning(**GIVEN | {"best": "lowest"}).chosen() == {"rnn": 0.1, "lstm": 0.4, "gru": 0.2}


def test_a_number_is_the_rate_of_every_family() -> None:
    assert rate_of(0.3, "gru") == 0.3
    assert rate_of({"gru": 0.1, "rnn": 0.2}, "rnn") == 0.2


def test_a_family_without_a_rate_is_named() -> None:
    with pytest.raises(UserError, match=r"a rate for each of rnn, gru, and none for the family lstm"):
        rate_of({"rnn": 0.1, "gru": 0.2}, "lstm")


def by_family(*overrides: str) -> dict[str, Any]:
    tuning = "+tuning={metric:accuracy,best:highest,seeds:[0],at:null,rates:[0.1,0.2],scores:{gru:[0.5,0.6]}}"
    rates = "trainer.learning_rate={rnn:0.1,lstm:0.25,gru:0.5}"
    return check(composed("task=event_order", rates, tuning, *overrides))[1]


@pytest.mark.parametrize(("cell", "rate"), [("rnn", 0.1), ("lstm", 0.25), ("gru", 0.5), ("gru_article", 0.5)])
@pytest.mark.usefixtures("hydra_conf")
def test_a_run_gets_the_rate_of_its_family(cell: str, rate: float) -> None:
    assert by_family(f"cell={cell}")["trainer"]["learning_rate"] == rate


@pytest.mark.usefixtures("hydra_conf")
def test_a_rate_of_ones_own_is_nobodys_choice() -> None:
    assert by_family()["tuning"] is not None
    node = by_family("trainer.learning_rate=0.125")
    assert (node["trainer"]["learning_rate"], node["tuning"]) == (0.125, None)


@pytest.mark.usefixtures("hydra_conf")
def test_how_a_rate_was_chosen_is_not_part_of_the_key() -> None:
    choices = {"cell": "gru", "backend": "loop", "task": "event_order", "budget": "hidden"}
    chosen, own = by_family(), by_family("trainer.learning_rate=0.5")
    assert run_keys(chosen, choices, "x") == run_keys(own, choices, "x")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("+tuning={metric:a}", "tuning.best: missing"),
        ("trainer.learning_rate={rnn:0.1,gru:fast}", "trainer.learning_rate='fast': must be a valid number"),
        ("trainer.learning_rate={rnn:0.1}", "none for the family gru"),
    ],
)
@pytest.mark.usefixtures("hydra_conf")
def test_bad_rates(override: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check(composed("task=event_order", "cell=gru", override))


TUNED = [name for name in yaml_names("task") if "tuning" in OmegaConf.load(CONF / "task" / f"{name}.yaml")]


@pytest.mark.parametrize("name", TUNED)
def test_the_yaml_has_the_rates_that_its_trials_chose(name: str) -> None:
    node = OmegaConf.load(CONF / "task" / f"{name}.yaml")
    tuning = Tuning(**OmegaConf.to_container(node.tuning))  # type: ignore[arg-type]
    assert set(tuning.scores) == set(FAMILIES)
    assert {len(scores) for scores in tuning.scores.values()} == {len(tuning.rates)}
    assert tuning.chosen() == OmegaConf.to_container(node.trainer.learning_rate)


@pytest.mark.usefixtures("hydra_conf")
def test_data_sets_of_ones_own_folder_stand_for_the_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "data.path='${local:some_set,organization/some}'"

    def found() -> Any:
        return check(composed("task=sst2", path))[1]["data"]["path"]

    monkeypatch.delenv("GRU_BENCH_DATA", raising=False)
    assert found() == "organization/some"
    monkeypatch.setenv("GRU_BENCH_DATA", str(tmp_path))
    assert found() == "organization/some"
    (tmp_path / "some_set").mkdir()
    assert found() == str(tmp_path / "some_set")
