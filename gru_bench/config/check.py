"""Where ``conf/`` is, and the type check of a composed config.

Hydra composes yaml without types: ``cell.forget_bias=maybe`` would reach the constructor as a truthy string. So every
node with a ``_target_`` is checked against the annotations of the constructor that it names, before anything is built.

Classes of this project take from yaml what is keyword-only. Other libraries have no such habit (torch's optimizers
take everything by position or keyword): there every argument with a default is a key.
"""

import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import Ge, Gt, Lt
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gru_bench.config.annotations import adapter_of, as_yaml_gives_it, keys_of, shared_keys, type_of_default
from gru_bench.config.drawn import drawn
from gru_bench.config.kinds import check_kind
from gru_bench.config.rates import TRIED, Tuning, provenance, rate_of, tuning_key
from gru_bench.config.running import RUNNING_KEYS, SWEEP_KEYS, UNTIL_KEYS, Running, Until
from gru_bench.errors import UserError

Node = dict[str, Any]
Save = Literal["best", "none", "last"]
"""Which weights of a run are kept."""


def conf_dir() -> Path:
    """The folder of the shipped yaml files: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise RuntimeError("gru_bench was installed without its conf/ folder")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The plain keys of ``conf/train.yaml``, which define one run."""

    seed: Annotated[int, Ge(0), Lt(2**32)]
    hidden_size: Annotated[int, Gt(0)]
    num_layers: Annotated[int, Gt(0)]
    device: str
    dtype: Literal["float32", "float64", "bfloat16"]
    threads: Literal["auto"] | Annotated[int, Gt(0)]
    save: Save = "best"


GROUPS = ("cell", "backend", "task", "budget", "tracking", "data", "model", "trainer")
"""Nodes of a training config that are not plain settings."""

PROBES = "probes"
"""Node with one probe under each name, put there by the config group ``probe``: several may be chosen at once."""

GIVEN_ELSEWHERE = {"trainer.optimizer.lr": "set trainer.learning_rate"}
"""Arguments of constructors that are set through another key."""

CHOSEN_AS_GROUPS = ("trainer.optimizer", "trainer.schedule", "trainer.stopping")
"""Nodes inside another one that are chosen by a config group of their last name."""

MOVED = {
    "keep_model": "set save: best (of the best validation step), last (of the last step) or none",
    "trainer.betas": "set trainer.optimizer.betas",
    "trainer.epsilon": "set trainer.optimizer.eps",
    "trainer.momentum": "set trainer.optimizer.momentum, with optimizer=sgd or rmsprop",
    "trainer.weight_decay": "set trainer.optimizer.weight_decay",
    "trainer.decay": "take schedule=decay trainer.schedule.factor=...",
    "trainer.decay_after": "take schedule=decay trainer.schedule.after=...",
    "trainer.patience": "take stopping=patience trainer.stopping.evaluations=... trainer.stopping.steps=...",
    "trainer.optimizer.epsilon": "set trainer.optimizer.eps, as torch calls it",
    "trainer.optimizer.learning_rate": "set trainer.learning_rate",
    "trainer.stopping.patience": "set trainer.stopping.evaluations",
    "trainer.schedule.decay": "set trainer.schedule.factor",
}
"""What to write instead of a key of an earlier version, or of one that is easily guessed wrong."""

DATA_FOLDER = "GRU_BENCH_DATA"
"""Environment variable: a folder of data sets, each in the hub's layout, used instead of those on the hub."""


def local(folder: str, hub_name: str | None) -> str | None:
    """``${local:sst2,stanfordnlp/sst2}`` : the folder below ``GRU_BENCH_DATA`` if it is there, else the hub's."""
    place = Path(os.environ.get(DATA_FOLDER, ""), folder).expanduser()
    return str(place.absolute()) if os.environ.get(DATA_FOLDER) and place.exists() else hub_name


OmegaConf.register_new_resolver("local", local, replace=True)
OmegaConf.register_new_resolver("drawn", drawn, replace=True)


def to_node(config: DictConfig) -> Node:
    """Resolve a composed config into plain dictionaries.

    Raises:
        UserError: A mandatory value is missing or an interpolation does not resolve.
    """
    try:
        node = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(first_line(error)) from error
    return typing.cast(Node, node)


def check(config: DictConfig, cell: str | None = None) -> tuple[Settings, Node]:
    """Check a training config against the types of everything that it names.

    Args:
        config: As composed.
        cell: Name of the chosen yaml of ``conf/cell``, by which a learning rate may be given; None for the family's.

    Returns:
        The plain settings, and the whole config as plain dictionaries.

    Raises:
        UserError: The first value that does not fit, with what would.
    """
    check_until(config)
    check_running(config)
    node = to_node(OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", *SWEEP_KEYS)]))
    plain = {key: value for key, value in node.items() if key not in (*GROUPS, PROBES, "tuning")}
    check_arguments(Settings, plain, "", "a training config")
    for name in GROUPS:
        part = node.get(name) or {}
        if name != "trainer":
            check_node(part, name)
        check_kind(part, name)
    for path in CHOSEN_AS_GROUPS:
        name = path.rpartition(".")[2]
        if name not in node["trainer"]:
            raise UserError(f"~{path}: a run needs it; valid: {name}=NAME, whichever fits")
    check_probes(node)
    with_own_rate(config, node, cell)
    return Settings(**plain), node


def check_probes(node: Node) -> None:
    """Check the nodes that the group ``probe`` put below ``probes``, one for each probe chosen; none without.

    Raises:
        UserError: One has no ``_target_``, or a value that does not fit.
    """
    probes = node.get(PROBES) or {}
    names = sorted(path.stem for path in (conf_dir() / "probe").glob("*.yaml"))
    wish = f"choose probes with probe=[NAME], several with commas between; valid names: {', '.join(names)}"
    if not isinstance(probes, dict):
        raise UserError(f"{PROBES}={probes!r}: {wish}")
    for name, part in probes.items():
        if not is_node(part):
            raise UserError(f"{PROBES}.{name}: no such probe is chosen; {wish}")
        check_node(part, f"{PROBES}.{name}")


def check_until(config: DictConfig) -> Until:
    """When a sweep ends that adds runs.

    Raises:
        UserError: A value that does not fit.
    """
    given = to_node(OmegaConf.masked_copy(config, [key for key in UNTIL_KEYS if key in config]))
    check_arguments(Until, given, "", "a sweep")
    until = Until(**given)
    if until.max_hours is not None and until.until is None:
        raise UserError(
            f"max_hours={until.max_hours}: only limits a sweep that adds runs; valid: with until=decided, tried or "
            "horizon"
        )
    return until


def check_running(config: DictConfig) -> Running:
    """How a run or a sweep is carried out.

    Raises:
        UserError: A value that does not fit.
    """
    given = to_node(OmegaConf.masked_copy(config, [key for key in RUNNING_KEYS if key in config]))
    check_arguments(Running, given, "", "a sweep")
    return Running(**given)


def with_own_rate(config: DictConfig, node: Node, cell: str | None) -> None:
    """Give the trainer the learning rate of this cell, and record under ``tuning`` where it comes from.

    Args:
        config: As composed.
        node: The same, resolved; changed in place.
        cell: Name of the chosen yaml of ``conf/cell``; None for that of the family's reference cell.

    Raises:
        UserError: The trials are not what :class:`~gru_bench.config.rates.Tuning` holds, or a rate is no rate.
    """
    trials = node.get("tuning")
    if trials is not None:
        check_arguments(Tuning, trials, "tuning.", "tuning")
    tuning = None if trials is None else Tuning(**trials)
    cell_family = family(node)
    cell = cell or cell_family
    rate = rate_of(node["trainer"].get("learning_rate"), cell, cell_family)
    if rate.value is not None:
        node["trainer"] = node["trainer"] | {"learning_rate": rate.value}
    check_node(node["trainer"], "trainer")
    data = OmegaConf.to_container(config.data, resolve=False) if config.get("data") else {}
    key = tuning_key(node, typing.cast(Node, data).get("path"))
    facts = provenance(rate, cell, cell_family, tuning, key)
    node["tuning"] = ((trials or {}) if facts["learning_rate_from"] in TRIED else {}) | facts


def family(node: Node) -> str:
    """The family of the cell that a config names."""
    target = node["cell"]["_target_"]
    name = getattr(get_object(target), "family", None)
    if not isinstance(name, str):
        raise UserError(f"cell._target_={target}: is no cell: it has no family, as gru_bench.cells.base.Cell explains")
    return name


def check_node(node: Any, path: str) -> None:
    """Check one node, and all below it, against the constructor that its ``_target_`` names.

    Raises:
        UserError: An unknown key, a missing key, a value of the wrong type, or a target that cannot be imported.
    """
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    for key in node:
        if not isinstance(key, str):
            raise UserError(f"{path}.{key}: no such key; keys are names")
    given = {key: value for key, value in node.items() if not (key.startswith("_") and key.endswith("_"))}
    for key, value in given.items():
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            check_node(part, f"{path}.{key}" + (f"[{index}]" if isinstance(value, list) else ""))
    if strange := sorted(key for key in node if key not in given and key not in ("_target_", "_partial_")):
        raise UserError(f"{path}.{strange[0]}: no such key; Hydra's other words for building objects are not used here")
    if not isinstance(node.get("_partial_", False), bool):
        raise UserError(f"{path}._partial_={node['_partial_']!r}: must be true or false")
    if "_target_" in node:
        if not isinstance(target, str):
            raise UserError(f"{path}._target_={'null' if target is None else target}: must name a class; leave it out")
        try:
            factory = get_object(target)
            if not callable(factory):
                raise TypeError(f"a {type(factory).__name__} makes nothing")
        except Exception as error:
            raise UserError(f"{path}._target_={target}: cannot be imported ({first_line(root(error))})") from error
        check_arguments(factory, given, f"{path}.", target.rsplit(".", 1)[-1])


def check_arguments(factory: Callable[..., Any], given: Node, prefix: str, owner: str) -> None:
    """Check keyword arguments against a constructor's annotations.

    Arguments that come at run time (sizes, modules, generators) have no name in yaml and do not count: they are
    positional-only, or by position or keyword without a default.

    Args:
        factory: A class or function.
        given: What the yaml gives it.
        prefix: Where in the config, with a dot at the end, or nothing at the top.
        owner: What messages call the factory.
    """
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        known = keys_of(factory)
    except (TypeError, ValueError, NameError) as error:  # a builtin, which has no signature to check against
        raise UserError(f"{prefix}_target_: {owner} does not say what it takes ({first_line(error)})") from error
    for common in shared_keys(factory, hints):
        hints |= typing.get_type_hints(common, include_extras=True)
    for key in given:
        if key not in known or f"{prefix}{key}" in GIVEN_ELSEWHERE:
            listed = [name for name in known if f"{prefix}{name}" not in GIVEN_ELSEWHERE]
            raise UserError(no_such_key(f"{prefix}{key}", f"{owner} takes {', '.join(listed) or 'no keys'}"))
    for key, parameter in known.items():
        if key not in given:
            if parameter.default is inspect.Parameter.empty:
                raise UserError(f"{prefix}{key}: missing; {owner} needs it")
            continue
        if is_node(given[key]):
            continue  # an object of its own, checked by itself
        if f"{prefix}{key}" in CHOSEN_AS_GROUPS:
            names = sorted(path.stem for path in (conf_dir() / key).glob("*.yaml"))
            wish = f"{key}={given[key]}" if given[key] in names else f"{key}=NAME, one of {', '.join(names)}"
            raise UserError(f"{prefix}{key}={given[key]!r}: write {wish}".replace("=None:", "=null:"))
        hint = hints.get(key, type_of_default(parameter.default))
        if typing.get_origin(hint) is typing.NotRequired:
            (hint,) = typing.get_args(hint)
        hint = as_yaml_gives_it(hint)
        value = given[key]
        if typing.get_origin(hint) is tuple and isinstance(value, list):
            value = tuple(value)
            if len(value) != len(typing.get_args(hint)):
                raise UserError(f"{prefix}{key}={given[key]!r}: must be {len(typing.get_args(hint))} values")
        try:
            adapter_of(hint).validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            raise UserError(explain(error, f"{prefix}{key}")) from error


def is_node(value: Any) -> bool:
    """Whether a value names an object to build."""
    return isinstance(value, dict) and "_target_" in value


def no_such_key(path: str, valid: str) -> str:
    """One line about a key that does not exist: what to write instead, or what would be valid."""
    instead = GIVEN_ELSEWHERE.get(path) or MOVED.get(path)
    return f"{path}: no such key; {instead or valid}"


def explain(error: pydantic.ValidationError, path: str) -> str:
    """One line from pydantic's complaints about one value: where, what was given, what it must be."""
    details = error.errors(include_url=False)
    where = path + "".join(f"[{part}]" for part in details[0]["loc"] if isinstance(part, int))
    wishes = dict.fromkeys(detail["msg"].replace("Input should be ", "must be ") for detail in details)
    wish = " or ".join(wishes).replace(" or must be ", " or ")
    return f"{where}={details[0]['input']!r}: {wish}".replace("=None:", "=null:")


def construct(node: Node, *arguments: Any) -> Any:
    """Build the object that a checked node names; run-time arguments come first, positional.

    Raises:
        Exception: What the constructor raised, without Hydra's wrapping.
    """
    try:
        return instantiate(node, *arguments, _convert_="all")
    except InstantiationException as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


def root(error: BaseException) -> BaseException:
    """The error that began a chain."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
