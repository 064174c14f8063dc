"""Learning rates: which one a cell gets, what is claimed of it, and whether the yaml files fit their trials."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import CONF, composed, yaml_names
from omegaconf import OmegaConf

from gru_bench.cells.gru import GRU
from gru_bench.config.check import Node, check
from gru_bench.config.keys import run_keys
from gru_bench.config.rates import DEFAULT, Rate, Tuning, rate_facts, rate_of
from gru_bench.errors import UserError

GIVEN: dict[str, Any] = {
    "metric": "accuracy",
    "best": "highest",
    "seeds": [0],
    "at": None,
    "rates": [0.1, 0.2, 0.4],
    "scores": {"rnn": [0.5, 0.6, None], "lstm": [0.7, 0.7, 0.1], "gru": [float("nan"), 0.2, 0.3]},
}
REFERENCES = ("rnn", "lstm", "gru")


# the trials


def test_the_best_rate_is_chosen_and_the_smaller_of_two() -> None:
    assert Tuning(**GIVEN).chosen() == {"rnn": 0.2, "lstm": 0.1, "gru": 0.4}
    assert Tuning(**GIVEN | {"best": "lowest"}).chosen() == {"rnn": 0.1, "lstm": 0.4, "gru": 0.2}


def test_a_cell_that_never_finished_has_no_rate() -> None:
    assert "rnn" not in Tuning(**GIVEN | {"scores": {"rnn": [None] * 3}}).chosen()


def test_nothing_is_chosen_from_extra_rates_and_they_are_listed() -> None:
    tuning = Tuning(**GIVEN | {"extra": {"gru": {0.8: 0.9, 1.6: None}}})
    assert tuning.chosen()["gru"] == 0.4
    assert tuning.extra_in_words("gru") == "gru also at 0.8 (accuracy 0.9), 1.6 (failed)"
    assert tuning.extra_in_words("rnn") == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": {"gru": [0.1]}}, "tuning.scores.gru: 1 scores; valid: 3, one per rate"),
        ({"extra": {"gru": {0.2: 0.1}}}, "tuning.extra.gru: 0.2 is one of tuning.rates"),
    ],
)
def test_trials_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tuning(**GIVEN | changed)


# which rate a cell gets


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (0.3, Rate(0.3, None)),
        ({"gru": 0.1, "gru_article": 0.2, "default": 0.3}, Rate(0.2, "gru_article")),
        ({"gru": 0.1, "lstm": 0.2, "default": 0.3}, Rate(0.1, "gru")),
        ({"lstm": 0.2, "default": 0.3}, Rate(0.3, "default")),
        ({"default": 0.3}, Rate(0.3, "default", alone=True)),
        ({"rnn": 0.1, "lstm": 0.4, "elman": 0.2}, Rate(0.2, "")),
        ({"rnn": 0.1, "lstm": 0.4}, Rate(0.1, "")),  # of two middle ones the smaller: no rate that nobody tried
    ],
)
def test_the_cells_own_rate_then_its_familys_then_the_default_then_the_middle(rates: Any, expected: Rate) -> None:
    assert rate_of(rates, "gru_article", "gru") == expected


@pytest.mark.parametrize("wrong", ["fast", None, True, -1.0, 0, float("inf"), float("nan")])
def test_every_rate_of_a_mapping_is_a_positive_number(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"trainer.learning_rate.lstm=.*: must be a number greater than 0"):
        rate_of({"gru": 0.1, "lstm": wrong}, "gru", "gru")


def test_an_empty_mapping_is_refused() -> None:
    with pytest.raises(UserError, match="an empty mapping"):
        rate_of({}, "gru", "gru")


# what is claimed of it

TRIALS = "metric:accuracy,best:highest,seeds:[0,1],at:null,rates:[0.1,0.25],extra:{rnn:{0.5:0.3}}"
SCORES = "rnn:[0.5,0.6],lstm:[0.7,0.6],gru:[0.5,0.6],gru_article:[0.8,0.6]"
RATES = "+trainer.learning_rate={rnn:0.25,lstm:0.1,gru:0.25,gru_article:0.1}"


def checked(cell: str, *overrides: str, settings: dict[str, str] | None = None) -> Node:
    known = ",".join(f"{name}:'{key}'" for name, key in (settings or {}).items())
    tuning = f"+tuning={{{TRIALS},scores:{{{SCORES}}},settings:{{{known}}}}}"
    return check(composed("task=event_order", RATES, tuning, f"cell={cell}", *overrides), cell)[1]


@pytest.fixture(scope="module")
def settings(hydra_conf: None) -> dict[str, str]:
    """Trials at the yaml's own settings."""
    assert hydra_conf is None
    return {name: rate_facts(checked(name))["tuning_key"] for name in (*REFERENCES, "gru_article")}


@pytest.mark.parametrize(
    ("cell", "overrides", "expected"),
    [
        ("rnn", [], (0.25, "trials", 2, 2)),
        ("gru", [], (0.25, "trials", 2, 2)),
        ("gru_article", [], (0.1, "trials", 2, 2)),
        ("gru_reset_before", [], (0.25, "family", 0, 0)),
        ("lstm_article", [], (0.1, "family", 0, 0)),
        ("gru", ["hidden_size=64"], (0.25, "other settings", 0, 0)),
        ("gru", ["+data.path=here"], (0.25, "other settings", 0, 0)),
        ("gru", ["budget=parameters"], (0.25, "other settings", 0, 0)),
        ("gru", ["trainer.max_epochs=3"], (0.25, "other settings", 0, 0)),
        ("gru", ["task.batch_size=8"], (0.25, "other settings", 0, 0)),
        ("gru", ["cell.init=keras"], (0.25, "other settings", 0, 0)),
        ("gru_reset_before", ["hidden_size=64"], (0.25, "family", 0, 0)),
        ("gru", ["trainer.learning_rate=0.25"], (0.25, "user", 0, 0)),
        ("gru", ["trainer.learning_rate={gru:0.5}"], (0.5, "user", 0, 0)),
        ("lstm", ["trainer.learning_rate={gru:0.5}"], (0.1, "trials", 2, 2)),
        ("gru_reset_before", ["+trainer.learning_rate={gru_reset_before:0.5}"], (0.5, "user", 0, 0)),
        ("gru", ["seed=5", "threads=1", "device=cuda", "backend=bptt", "tracking.uri=x"], (0.25, "trials", 2, 2)),
    ],
)
def test_trials_are_claimed_where_they_are_the_runs_own(
    cell: str, overrides: list[str], expected: Any, settings: dict[str, str]
) -> None:
    node = checked(cell, *overrides, settings=settings)
    found = rate_facts(node)
    counts = found["learning_rate_trials"], found["learning_rate_trial_seeds"]
    assert (node["trainer"]["learning_rate"], found["learning_rate_from"], *counts) == expected


@pytest.mark.usefixtures("hydra_conf")
def test_trials_whose_settings_are_not_known_are_of_other_settings() -> None:
    assert rate_facts(checked("gru"))["learning_rate_from"] == "other settings"


@pytest.mark.usefixtures("hydra_conf")
def test_one_rate_for_all_cells_is_the_tasks() -> None:
    _, node = check(composed("task=ptb", "cell=gru"), "gru")
    assert rate_facts(node)["learning_rate_from"] == "task"
    _, node = check(composed("task=ptb", "cell=gru", "trainer.learning_rate=0.003"), "gru")
    assert rate_facts(node)["learning_rate_from"] == "user"


@pytest.mark.usefixtures("hydra_conf")
def test_an_experiments_rates_are_nobodys_trials() -> None:
    found = {}
    for cell in REFERENCES:
        _, node = check(composed("experiment=zaremba_small", f"cell={cell}"), cell)
        found[cell] = (node["trainer"]["learning_rate"], rate_facts(node)["learning_rate_from"])
    assert found == {"rnn": (5.0, "user"), "lstm": (20.0, "user"), "gru": (5.0, "user")}


@pytest.mark.usefixtures("hydra_conf")
def test_extra_rates_are_listed_for_the_cell_and_its_family_alone() -> None:
    expected = "rnn also at 0.5 (accuracy 0.3)"
    for cell, words in (("rnn", expected), ("rnn_article", expected), ("gru", "")):
        assert rate_facts(checked(cell))["learning_rate_extra"] == words
    assert rate_facts(checked("rnn", "trainer.learning_rate=0.1"))["learning_rate_extra"] == ""


@pytest.mark.usefixtures("hydra_conf")
def test_the_record_of_a_rate_from_elsewhere_holds_no_trials() -> None:
    assert checked("gru")["tuning"]["scores"]["gru"] == [0.5, 0.6]
    assert "scores" not in checked("gru", "trainer.learning_rate=0.5")["tuning"]


@pytest.mark.usefixtures("hydra_conf")
def test_where_a_rate_comes_from_is_not_part_of_the_key() -> None:
    choices = {"cell": "gru", "backend": "loop", "task": "event_order", "budget": "hidden"}
    tuned, own = checked("gru"), checked("gru", "trainer.learning_rate=0.25")
    assert run_keys(tuned, choices, "x") == run_keys(own, choices, "x")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+tuning={metric:a}", "tuning.best: missing"),
        ("+trainer.learning_rate={rnn:0.1,gru:fast}", "trainer.learning_rate.gru='fast': must be a number"),
        ("+tuning={metric:a,best:lowest,seeds:[0],at:null,rates:[1.0,2.0],scores:{rnn:[1.0]}}", "tuning.scores.rnn: 1"),
    ],
)
@pytest.mark.usefixtures("hydra_conf")
def test_bad_rates(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(composed("task=event_order", "cell=gru", override))


# the digest of what trials depend on


@pytest.mark.usefixtures("hydra_conf")
def test_where_the_data_lies_does_not_change_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(*overrides: str) -> Any:
        return rate_facts(check(composed("task=sst2", "cell=gru", *overrides), "gru")[1])["tuning_key"]

    monkeypatch.delenv("GRU_BENCH_DATA", raising=False)
    hub = key()
    monkeypatch.setenv("GRU_BENCH_DATA", str(tmp_path))
    (tmp_path / "sst2").mkdir()
    assert key() == hub
    assert key("data.path=elsewhere") != hub
    assert key("cell=lstm") != hub


# the yaml files


def shipped(task: str, cell: str) -> Node:
    """What ``gru-bench train task=... cell=...`` would run."""
    return check(composed(f"task={task}", f"cell={cell}"), cell)[1]


@pytest.mark.parametrize("task", yaml_names("task"))
@pytest.mark.usefixtures("hydra_conf")
def test_the_yaml_has_the_rates_that_its_trials_chose(task: str) -> None:
    config = composed(f"task={task}")
    rates = OmegaConf.to_container(config.trainer.learning_rate) if config.trainer.learning_rate else None
    assert isinstance(rates, dict), "a task's rate for all cells is {default: ...}; a number is taken for a user's"
    if config.get("tuning") is None:
        assert list(rates) == ["default"]
        return
    tuning = Tuning(**OmegaConf.to_container(config.tuning))  # type: ignore[arg-type]
    assert set(REFERENCES) <= set(tuning.scores) <= set(yaml_names("cell"))
    assert {cell: rate for cell, rate in rates.items() if cell != DEFAULT} == tuning.chosen()


@pytest.mark.parametrize("task", yaml_names("task"))
@pytest.mark.usefixtures("hydra_conf")
def test_settings_of_trials_are_those_of_the_yaml(task: str) -> None:
    """Where trials ran at the yaml's own settings (``at: null``) and it has their digests, these are its own.

    The message of a failure has the line for the yaml; write ``settings: {gru: ''}`` to see it.
    """
    tuning = OmegaConf.load(CONF / "task" / f"{task}.yaml").get("tuning") or {}  # not what it inherits
    if tuning.get("settings") is None:
        return
    keys = {cell: rate_facts(shipped(task, cell))["tuning_key"] for cell in tuning.scores}
    line = ", ".join(f"{cell}: {key!r}" for cell, key in keys.items())
    assert tuning.at is None, "trials with overrides are not at the settings of the yaml"
    assert tuning.settings == keys, (
        f"conf/task/{task}.yaml: its settings are not those of the trials. Run them anew; or, where nothing that "
        f"matters to them has changed, write in its node tuning:\n  settings: {{{line}}}"
    )


# a fourth family: neither rnn, lstm nor gru


class MGU(GRU):
    """A cell of a user's own."""

    family: ClassVar[str] = "mgu"


@pytest.mark.parametrize("task", yaml_names("task"))
@pytest.mark.usefixtures("hydra_conf")
def test_a_cell_of_another_family_runs_on_every_task_and_is_marked(task: str) -> None:
    config = composed(f"task={task}", "cell=gru")
    config.cell = {"_target_": f"{__name__}.MGU", "init": "uniform"}
    rates = [float(rate) for rate in config.trainer.learning_rate.values()]
    _, node = check(config, "mgu")
    found = rate_facts(node)
    assert node["trainer"]["learning_rate"] in rates
    assert min(rates) <= node["trainer"]["learning_rate"] <= max(rates)
    assert found["learning_rate_from"] == ("fallback" if config.get("tuning") else "task")
    assert (found["learning_rate_trials"], found["learning_rate_extra"]) == (0, "")


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
