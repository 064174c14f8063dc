"""The type check, the keys of a run, and every yaml on disk."""

import copy
from pathlib import Path
from typing import Any

import pytest
from conftest import CONF, REPOSITORY, composed, yaml_names
from hydra.utils import get_object
from omegaconf import OmegaConf

from gru_bench.commands.help import first_comment
from gru_bench.config.check import check, check_node, conf_dir, construct
from gru_bench.config.keys import flatten, run_keys
from gru_bench.errors import UserError


def test_conf_is_found() -> None:
    assert conf_dir() == CONF


@pytest.mark.parametrize("group", ["cell", "backend", "task", "budget"])
@pytest.mark.usefixtures("hydra_conf")
def test_every_choice_composes_and_fits_its_constructor(group: str) -> None:
    names = yaml_names(group)
    assert names
    for name in names:
        _, node = check(composed(f"{group}={name}"))
        assert node[group]["_target_"]


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_yaml_says_in_words_what_it_is(path: Path) -> None:
    assert len(first_comment(path)) > 10


@pytest.mark.parametrize("room", ["tasks", "cells", "backends", "sections"])
def test_every_module_of_a_registry_is_named_by_a_yaml(room: str) -> None:
    group = room.rstrip("s")
    named = {OmegaConf.load(path) for path in ()}
    for name in yaml_names(group):
        node = OmegaConf.load(CONF / group / f"{name}.yaml")
        if "defaults" in node:  # another yaml, cut down
            continue
        target = (node.get("task") or node)["_target_"] if group == "task" else node["_target_"]
        named.add(target.rsplit(".", 1)[0])
        get_object(target)
    folder = REPOSITORY / "gru_bench" / room
    modules = {
        f"gru_bench.{room}.{path.stem}"
        for path in folder.glob("*.py")
        if path.stem
        not in (
            "__init__",
            "base",
            "pairs",
            "parity",
            "parity_store",
            "benchmarks",
            "figures",
            "groups",
            "header",
            "parts",
        )
    }
    assert modules <= named


BAD = [
    ("seed=abc", "seed='abc': must be a valid integer"),
    ("seed=-1", "seed=-1: must be greater than or equal to 0"),
    ("hidden_size=-1", "hidden_size=-1: must be greater than 0"),
    ("hidden_size=1.5", "hidden_size=1.5: must be a valid integer"),
    ("dtype=float8", "dtype='float8': must be 'float32', 'float64' or 'bfloat16'"),
    ("threads=some", "threads='some': must be 'auto' or a valid integer"),
    ("trainer.learning_rate=-0.1", "trainer.learning_rate=-0.1: must be greater than 0"),
    ("trainer.learning_rate=fast", "trainer.learning_rate='fast': must be a valid number"),
    ("trainer.decay=0.0", r"trainer.decay=0.0: must be greater than 0"),
    ("trainer.decay=1.5", r"trainer.decay=1.5: must be less than or equal to 1"),
    ("trainer.decay_after=-1", "trainer.decay_after=-1: must be greater than or equal to 0"),
    ("data.fraction=0.0", "data.fraction=0.0: must be greater than 0"),
    ("model.init_range=0.0", "model.init_range=0.0: must be "),
    ("trainer.betas=[0.9,2]", r"trainer.betas\[1\]=2: must be less than 1"),
    ("trainer.betas=[0.9]", r"trainer.betas=\[0.9\]: List should have at least 2 items"),
    ("trainer.momentum=-1", "trainer.momentum=-1: must be greater than or equal to 0"),
    ("trainer.weight_decay=-1", "trainer.weight_decay=-1: must be greater than or equal to 0"),
    ("trainer.optimizer=adamm", "trainer.optimizer='adamm': must be 'adam', 'adamw' or 'sgd'"),
    ("+cell.forgetful=1", "cell.forgetful: no such key; GRU takes init"),
    ("+surprise=1", "surprise: no such key; a training config takes seed, "),
    ("cell.init=null", "cell.init=null: must be 'uniform' or 'keras'"),
    ("cell._target_=gru_bench.cells.gru.GRUU", "cell._target_=gru_bench.cells.gru.GRUU: cannot be imported"),
]


@pytest.mark.parametrize(("override", "message"), BAD)
@pytest.mark.usefixtures("hydra_conf")
def test_a_wrong_value_is_named_with_what_would_be_valid(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(composed(override))


@pytest.mark.usefixtures("hydra_conf")
def test_a_truthy_string_does_not_pass_for_a_number() -> None:
    with pytest.raises(UserError, match=r"cell\.forget_bias='maybe': must be a valid number"):
        check(composed("cell=lstm", "cell.forget_bias=maybe"))


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError, match=r"budget\.reference: missing; Parameters needs it"):
        check_node({"_target_": "gru_bench.models.budgets.Parameters"}, "budget")


@pytest.mark.usefixtures("hydra_conf")
def test_the_key_leaves_out_what_says_nothing_of_the_result() -> None:
    _, node = check(composed("cell=gru", "task=adding"))
    choices = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden", "experiment": "quick"}
    keys = run_keys(node, choices, "adding/1")
    assert keys == run_keys(copy.deepcopy(node), choices | {"experiment": "other"}, "adding/1")
    moved = copy.deepcopy(node)
    moved["tracking"]["uri"] = "sqlite:////elsewhere.db"
    moved["data"]["path"] = "/elsewhere"
    assert run_keys(moved, choices, "adding/1") == keys


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": 7}, {"trainer": {"learning_rate": 0.5}}, {"cell": {"init": "keras"}}, {"dtype": "float64"}],
)
@pytest.mark.usefixtures("hydra_conf")
def test_the_key_changes_with_what_changes_the_result(change: dict[str, Any]) -> None:
    _, node = check(composed("cell=gru", "task=adding"))
    choices = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden"}
    changed = OmegaConf.to_container(OmegaConf.merge(node, change))
    assert set(run_keys(changed, choices, "x")).isdisjoint(run_keys(node, choices, "x"))  # type: ignore[arg-type]
    assert set(run_keys(node, choices, "y")).isdisjoint(run_keys(node, choices, "x"))


@pytest.mark.usefixtures("hydra_conf")
def test_the_group_key_leaves_out_the_seed_alone() -> None:
    choices = {"cell": "gru", "backend": "loop", "task": "adding", "budget": "hidden"}
    one, two = (run_keys(check(composed("task=adding", f"seed={seed}"))[1], choices, "x") for seed in (1, 2))
    assert one[0] != two[0]
    assert one[1] == two[1]


def test_construct_gives_the_constructors_own_error() -> None:
    with pytest.raises(ValueError, match="activation must be"):
        construct({"_target_": "gru_bench.cells.rnn.RNN", "activation": "relu"}, 1, 1, None)


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": {}}) == {"a.b": 1, "a.c": [1, 2], "d": {}}
