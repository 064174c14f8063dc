"""Where ``conf/`` is, the type check of a composed config, and the key of a run.

Hydra composes yaml without types: ``cell.forget_bias=maybe`` would reach the constructor as a truthy string. So every
node with a ``_target_`` is held against the annotations of the constructor that it names, before anything is built.
"""

import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import Ge, Gt
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gru_bench.config.rates import Tuning, rate_of
from gru_bench.errors import UserError

Node = dict[str, Any]


def conf_dir() -> Path:
    """The folder of the shipped yaml files: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise RuntimeError("gru_bench was installed without its conf/ folder")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The plain keys of ``conf/train.yaml``, which say what one run is."""

    seed: Annotated[int, Ge(0)]
    hidden_size: Annotated[int, Gt(0)]
    num_layers: Annotated[int, Gt(0)]
    device: str
    dtype: Literal["float32", "float64", "bfloat16"]
    threads: Literal["auto"] | Annotated[int, Gt(0)]


GROUPS = ("cell", "backend", "task", "budget", "tracking", "data", "model", "trainer")
"""Nodes of a training config that are not plain settings."""

DATA_FOLDER = "GRU_BENCH_DATA"
"""Environment variable: a folder of data sets, each in the hub's layout, that stand for the ones on the hub."""


def local(folder: str, hub_name: str | None) -> str | None:
    """``${local:sst2,stanfordnlp/sst2}`` : the folder below ``GRU_BENCH_DATA`` if it is there, else the hub's."""
    place = Path(os.environ.get(DATA_FOLDER, ""), folder).expanduser()
    return str(place.absolute()) if os.environ.get(DATA_FOLDER) and place.exists() else hub_name


OmegaConf.register_new_resolver("local", local, replace=True)


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


def check(config: DictConfig) -> tuple[Settings, Node]:
    """Check a training config against the types of everything that it names.

    Returns:
        The plain settings, and the whole config as plain dictionaries.

    Raises:
        UserError: The first value that does not fit, with what would.
    """
    node = to_node(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    plain = {key: value for key, value in node.items() if key not in (*GROUPS, "tuning")}
    check_arguments(Settings, plain, "", "a training config")
    for name in GROUPS:
        part = node.get(name) or {}
        if name != "data" and "_target_" not in part:  # a task that makes its own data has none
            raise UserError(f"{name}: its yaml has no _target_, the class to build")
        if name == "trainer":
            part = node[name] = with_own_rate(node)
        check_node(part, name)
    return Settings(**plain), node


def with_own_rate(node: Node) -> Node:
    """The trainer's node with the learning rate of the cell's family.

    A rate that was chosen by trials counts them (``learning_rate_trials`` beside ``tuning``): a rate from the command
    line is nobody's choice, so there ``tuning`` is dropped.

    Raises:
        UserError: The trials are not what :class:`~gru_bench.config.rates.Tuning` holds, or the family has no rate.
    """
    trainer: Node = node["trainer"]
    by_family = trainer.get("learning_rate")
    if node.get("tuning") is not None:
        check_arguments(Tuning, node["tuning"], "tuning.", "tuning")
        if not isinstance(by_family, dict):
            node["tuning"] = None
    return trainer | {"learning_rate": rate_of(by_family, family(node))} if isinstance(by_family, dict) else trainer


def family(node: Node) -> str:
    """The family of the cell that a config names."""
    return str(get_object(node["cell"]["_target_"]).family)


def check_node(node: Any, path: str) -> None:
    """Hold one node, and all below it, against the constructor that its ``_target_`` names.

    Raises:
        UserError: An unknown key, a missing key, a value of the wrong type, or a target that cannot be imported.
    """
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    given = {key: value for key, value in node.items() if not (key.startswith("_") and key.endswith("_"))}
    for key, value in given.items():
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            check_node(part, f"{path}.{key}" + (f"[{index}]" if isinstance(value, list) else ""))
    if target is not None:
        try:
            factory = get_object(target)
        except Exception as error:
            raise UserError(f"{path}._target_={target}: cannot be imported ({first_line(root(error))})") from error
        check_arguments(factory, given, f"{path}.", target.rsplit(".", 1)[-1])


def check_arguments(factory: Callable[..., Any], given: Node, prefix: str, owner: str) -> None:
    """Hold keyword arguments against a constructor's annotations.

    Arguments that come at run time (sizes, modules, generators) are positional-only and do not count.

    Args:
        factory: A class or function.
        given: What the yaml gives it.
        prefix: Where in the config, with a dot at the end, or nothing at the top.
        owner: How messages call the factory.
    """
    function = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(function, include_extras=True)
    known = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            known[name] = parameter
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and typing.get_origin(hints[name]) is typing.Unpack:
            (common,) = typing.get_args(hints[name])
            hints |= typing.get_type_hints(common, include_extras=True)
            known |= {
                key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY)
                for key in hints
                if key in common.__required_keys__
            }
    for key in given:
        if key not in known:
            raise UserError(f"{prefix}{key}: no such key; {owner} takes {', '.join(known) or 'no keys'}")
    for key, parameter in known.items():
        if key not in given:
            if parameter.default is inspect.Parameter.empty:
                raise UserError(f"{prefix}{key}: missing; {owner} needs it")
            continue
        if isinstance(given[key], dict) and "_target_" in given[key]:
            continue  # an object of its own, checked by itself
        adapter = pydantic.TypeAdapter(hints.get(key, Any), config=pydantic.ConfigDict(arbitrary_types_allowed=True))
        try:
            adapter.validate_python(given[key], strict=True)
        except pydantic.ValidationError as error:
            raise UserError(explain(error, f"{prefix}{key}")) from error


def explain(error: pydantic.ValidationError, path: str) -> str:
    """One line from pydantic's complaints about one value: where, what was given, what it must be."""
    details = error.errors(include_url=False)
    where = path + "".join(f"[{part}]" for part in details[0]["loc"] if isinstance(part, int))
    wishes = dict.fromkeys(detail["msg"].replace("Input should be ", "must be ") for detail in details)
    told = " or ".join(wishes).replace(" or must be ", " or ")
    return f"{where}={details[0]['input']!r}: {told}".replace("=None:", "=null:")


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
