"""The type check, the keys of a run, and every yaml on disk."""

import importlib
import inspect
from pathlib import Path

import pytest
from conftest import CONF, REPOSITORY, composed, yaml_names
from omegaconf import OmegaConf

from gru_bench.backends.base import Backend
from gru_bench.cells.base import Cell
from gru_bench.commands.help import first_comment
from gru_bench.config.check import Node, check, check_arguments, check_node, conf_dir, construct
from gru_bench.errors import UserError
from gru_bench.tasks.base import Task


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


@pytest.mark.parametrize(("group", "base"), [("cell", Cell), ("backend", Backend), ("task", Task)])
@pytest.mark.usefixtures("hydra_conf")
def test_every_class_of_a_registry_is_named_by_a_yaml(group: str, base: type) -> None:
    named = {composed(f"{group}={name}")[group]["_target_"] for name in yaml_names(group)}
    room = f"gru_bench.{group}s"
    classes = set()
    for path in (REPOSITORY / "gru_bench" / f"{group}s").rglob("*.py"):
        module = path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for name, found in inspect.getmembers(importlib.import_module(module), inspect.isclass):
            concrete = issubclass(found, base) and not inspect.isabstract(found) and found is not base
            if concrete and found.__module__ == module:
                classes.add(f"{module}.{name}")
    assert classes
    assert classes <= named, f"no yaml of {room} names them"


BAD = [
    ("seed=abc", "seed='abc': must be a valid integer"),
    ("seed=-1", "seed=-1: must be greater than or equal to 0"),
    ("hidden_size=-1", "hidden_size=-1: must be greater than 0"),
    ("hidden_size=1.5", "hidden_size=1.5: must be a valid integer"),
    ("dtype=float8", "dtype='float8': must be 'float32', 'float64' or 'bfloat16'"),
    ("threads=some", "threads='some': must be 'auto' or a valid integer"),
    ("trainer.learning_rate=-0.1", "trainer.learning_rate=-0.1: must be greater than 0"),
    ("trainer.learning_rate=fast", "trainer.learning_rate='fast': must be a valid number"),
    ("data.fraction=0.0", "data.fraction=0.0: must be greater than 0"),
    ("model.init_range=0.0", "model.init_range=0.0: must be "),
    ("trainer.optimizer.betas=[0.9,x]", r"trainer.optimizer.betas\[1\]='x': must be a valid number"),
    ("trainer.optimizer.betas=[0.9]", r"trainer.optimizer.betas=\[0.9\]: must be 2 values"),
    ("trainer.optimizer.eps=null", "trainer.optimizer.eps=null: must be a valid number"),
    ("+trainer.optimizer.amsgrad=1", "trainer.optimizer.amsgrad=1: must be a valid boolean"),
    ("+trainer.optimizer.momentun=0.9", r"trainer.optimizer.momentun: no such key; Adam takes betas, eps, "),
    ("+trainer.optimizer.lr=0.1", "trainer.optimizer.lr: no such key; set trainer.learning_rate"),
    ("trainer.optimizer=sgd", "trainer.optimizer='sgd': write optimizer=sgd"),
    ("trainer.optimizer=adamm", "trainer.optimizer='adamm': write optimizer=NAME, one of adagrad, adam, "),
    ("trainer.schedule=cosine", "trainer.schedule='cosine': write schedule=cosine"),
    ("trainer.stopping=null", "trainer.stopping=null: write stopping=NAME, one of never, patience"),
    ("+trainer.patience=3", "trainer.patience: no such key; take stopping=patience trainer.stopping.evaluations="),
    ("+trainer.decay=0.5", "trainer.decay: no such key; take schedule=decay trainer.schedule.factor="),
    ("+trainer.momentum=0.9", "trainer.momentum: no such key; set trainer.optimizer.momentum, with optimizer=sgd"),
    ("+cell.forgetful=1", "cell.forgetful: no such key; GRU takes chrono_steps, init"),
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


def test_construct_gives_the_constructors_own_error() -> None:
    with pytest.raises(ValueError, match="activation must be"):
        construct({"_target_": "gru_bench.cells.rnn.RNN", "activation": "elu"}, 1, 1, None)


@pytest.mark.parametrize(
    ("group", "task"), [("optimizer", "event_order"), ("schedule", "wikitext2_small"), ("stopping", "trec")]
)
@pytest.mark.usefixtures("hydra_conf")
def test_a_choice_leaves_nothing_of_the_one_that_the_task_names(group: str, task: str) -> None:
    for name in yaml_names(group):
        _, node = check(composed(f"{group}={name}", f"task={task}"))
        alone = OmegaConf.load(CONF / group / f"{name}.yaml")
        if "defaults" not in alone:
            assert node["trainer"][group] == OmegaConf.to_container(alone)


@pytest.mark.usefixtures("hydra_conf")
def test_the_line_for_the_command_line_that_train_yaml_shows_fits() -> None:
    shown = [line for line in (CONF / "train.yaml").read_text().splitlines() if line.startswith("# optimizer=")]
    _, node = check(composed(*shown[0].lstrip("# ").split()))
    assert node["trainer"]["optimizer"]["momentum"] == 0.9
    assert node["trainer"]["stopping"]["evaluations"] == 5


class Unannotated:
    """As many an optimizer of a third party."""

    def __init__(self, params, lr=1e-3, momentum=0, centered=False, *, foreach=None):  # type: ignore[no-untyped-def]
        pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": "much"}, r"x\.momentum='much': must be a valid number"),
        ({"params": 1}, r"x\.params: no such key; Unannotated takes lr, momentum, centered, foreach"),
        ({"nesterov": True}, r"x\.nesterov: no such key; Unannotated takes lr, momentum, centered, foreach"),
    ],
)
def test_arguments_without_annotations_are_held_to_the_kind_of_their_default(given: Node, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_arguments(Unannotated, given, "x.", "Unannotated")
    check_arguments(Unannotated, {"momentum": 0.5, "lr": 1, "centered": True, "foreach": None}, "x.", "Unannotated")
