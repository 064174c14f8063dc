"""The keys of a run: what makes two runs the same, and which runs may be averaged.

A key must not change with a release that changes nothing of what a run does. So it is made of a canonical form of the
config, in which a node (a dictionary with a ``_target_``) is the name of its class and those arguments alone that
differ from the constructor's own defaults. An option that is added with a default that does what was done before is
thus in no key until somebody sets it.

- A class of this project goes by its class name, wherever its module lies; any other by the path that the yaml gives.
- A value is compared with a default in canonical form: 1 and 1.0 are equal, a list and a tuple of equal parts too.
- Where a default is an object, it must be an instance of a dataclass: its canonical form is that of the node which
  would build it. An object of another class equals no node, so that a node in its place is always in the key.
- Plain settings, the keys of ``config/check.py``'s ``Settings``, are left out likewise where they equal its defaults.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

from hydra.utils import get_object

from gru_bench.config.check import Node, Settings

KEY_VERSION = 2
"""Raise it when the canonical form changes: all keys change with it, and no old run passes for a new one."""

OWN = "gru_bench."
SAYS_NOTHING = ("hydra", "tracking", "tuning")
"""Parts of a config that say nothing of the result."""
CHOICES = ("cell", "backend", "task", "budget")
"""Groups whose chosen name is a part of the key."""


def run_keys(node: Node, choices: dict[str, str], source_id: str) -> tuple[str, str]:
    """``config_key`` and ``group_key`` of a run.

    The key is the SHA-256 (first 16 digits) of the canonical config and the names chosen, without what says nothing
    of the result: experiment, tracking, launcher, how the learning rate was chosen, and where the data lies, for which
    the source's id stands. The group key leaves the seed out too: only runs of one group may be averaged.
    """
    told = {key: value for key, value in node.items() if key not in SAYS_NOTHING}
    told["data"] = {key: value for key, value in (node.get("data") or {}).items() if key != "path"}
    kept = without_defaults(told, Settings)
    kept |= {"data_source": source_id, "choices": {key: choices[key] for key in CHOICES if key in choices}}
    kept["key_version"] = KEY_VERSION

    def key(part: Node) -> str:
        return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]

    return key(kept), key({name: value for name, value in kept.items() if name != "seed"})


def canonical(value: Any) -> Any:
    """The form in which values are compared and hashed: only what says something, in one spelling."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        path = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"_target_": class_name(path)} | without_defaults(fields, type(value))
    if isinstance(value, dict):
        if "_target_" not in value:
            return {str(key): canonical(part) for key, part in value.items()}
        given = {key: part for key, part in value.items() if not key.startswith("_") or key == "_args_"}
        return {"_target_": class_name(value["_target_"])} | without_defaults(given, get_object(value["_target_"]))
    if isinstance(value, list | tuple):
        return [canonical(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def without_defaults(given: Node, factory: Callable[..., Any]) -> Node:
    """Canonical arguments, without those that equal a default of the class or function that gets them."""
    parameters = inspect.signature(factory).parameters
    kept = {}
    for name, value in given.items():
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        form = canonical(value)
        if default is inspect.Parameter.empty or not same(form, canonical(default)):
            kept[name] = form
    return kept


def same(one: Any, other: Any) -> bool:
    """Whether two canonical forms are equal; ``true`` is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def class_name(target: str) -> str:
    """The name that stands for a class: of this project's, without its module."""
    return target.rpartition(".")[2] if target.startswith(OWN) else target


def flatten(node: Node, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one level with dotted names; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
