"""Yaml of tasks: what kinds hold, and what a task may take over."""

from dataclasses import MISSING, fields

import pytest
from conftest import CONF, composed, yaml_names
from omegaconf import OmegaConf

from gru_bench.commands.help import help_text
from gru_bench.config.check import check
from gru_bench.config.rates import DEFAULT, Tuning
from gru_bench.errors import UserError

TASKS, KINDS = yaml_names("task"), yaml_names("kind")


def own(group: str, name: str) -> dict:
    """What one yaml file holds, without what it takes over."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    return node


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_no_trials_and_no_rate(name: str) -> None:
    node = own("kind", name)
    assert "tuning" not in node
    assert "learning_rate" not in node.get("trainer", {})


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("hydra_conf")
def test_a_tasks_rates_and_trials_are_its_own(name: str) -> None:
    # mappings of yaml files merge: without its own a task would have those of the one that it takes over
    node, whole = own("task", name), composed(f"task={name}")
    rates = node["trainer"]["learning_rate"]
    assert whole.trainer.learning_rate == rates
    if set(rates) == {DEFAULT}:
        assert "tuning" not in whole
        return
    required = {field.name for field in fields(Tuning) if field.default is MISSING}
    assert required <= set(node["tuning"]) <= {field.name for field in fields(Tuning)}
    assert set(node["tuning"]) == set(whole.tuning)
    assert set(node["tuning"]["scores"]) == set(whole.tuning.scores) == set(rates)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.usefixtures("hydra_conf")
def test_every_key_of_a_task_is_explained_once(name: str) -> None:
    """Each key of task, data and model is in a kind, or else has a comment in the task's yaml."""
    comments = (CONF / "task" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    kinds: set[str] = set()
    for kind in KINDS:
        for room in ("task", "data", "model"):
            kinds.update(f"{room}.{key}" for key in own("kind", kind).get(room) or {})
    for room in ("task", "data", "model"):
        for key in own("task", name).get(room) or {}:
            if key == "_target_" or f"{room}.{key}" in kinds:
                continue
            at = next(i for i, line in enumerate(comments) if line.startswith(f"  {key}:"))
            # the key itself, or the one before it that shares the comment
            assert any(line.lstrip().startswith("#") for line in comments[at - 2 : at]), f"{room}.{key}"


def test_help_lists_tasks_and_no_kinds() -> None:
    text = help_text("train", [CONF])
    listed = text[text.index("\ntask:") : text.index("\nbudget:")].splitlines()[2:]
    names = [line.split()[0] for line in listed if line.startswith("  ") and not line.startswith("  (")]
    assert names == TASKS
    assert all(len(line.split()) > 3 for line in listed if line.strip())


@pytest.mark.parametrize("task", ["adding", "event_order", "agreement", "sst2", "ud_pos", "ptb", "multi30k_de"])
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.batch_size=0", "task.batch_size=0: must be greater than 0"),
        ("task.goal.margin=0", "task.goal.margin=0: must be greater than 0"),
        ("task.goal.ceiling=high", "task.goal.ceiling='high': must be a valid number"),
        ("+task.goal.floor=1", "task.goal.floor: no such key; Goal takes margin, beats_trivial_by, ceiling"),
        ("+task.margin=1", "task.margin: no such key; "),
        ("~task.batch_size", "task.batch_size: missing; "),
        ("~task.goal", "task.goal: missing; "),
    ],
)
@pytest.mark.usefixtures("hydra_conf")
def test_what_all_tasks_share_is_checked(task: str, override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        check(composed(f"task={task}", override))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
