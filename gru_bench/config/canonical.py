"""The canonical form of a config: only what carries information, in one spelling, to be compared and hashed.

- A node (a dictionary with a ``_target_``) is the name of its class and only those arguments that differ from the
  constructor's own defaults. A new option whose default keeps the old behavior enters no digest until somebody sets
  it.
- A class of this project goes by its class name, wherever its module lies; any other by the path that the yaml gives.
- A value is compared with a default in canonical form: 1 and 1.0 are equal, a list and a tuple of equal parts too.
- Where a default is an object, it must be an instance of a dataclass: its canonical form is that of the node which
  would build it. An object of another class equals no node, so that a node in its place is always kept.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hydra.utils import get_object

OWN = "gru_bench."
JUDGEMENT = ("goal", "test_selection", "minimal_pairs")


def digest(value: Any) -> str:
    """The first 16 digits of the SHA-256 of a canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def canonical(value: Any) -> Any:
    """The form in which values are compared and hashed: only what carries information, in one spelling."""
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


def without_defaults(given: dict[str, Any], factory: Callable[..., Any]) -> dict[str, Any]:
    """Canonical arguments, without those that equal a default of the class or function that gets them."""
    defaults = defaults_of(factory)
    kept = {}
    for name, value in given.items():
        default = defaults.get(name, inspect.Parameter.empty)
        form = canonical(value)
        if default is inspect.Parameter.empty or not same(form, canonical(default)):
            kept[name] = form
    return kept


def defaults_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of a function, or of a class: its own constructor's, then those to which it hands arguments on.

    Tasks share arguments as ``**common: Unpack[Common]``. A shared option that is added later is ``NotRequired`` there,
    and the base class's constructor has its default.
    """
    constructors = (
        [vars(base)["__init__"] for base in inspect.getmro(factory) if "__init__" in vars(base)]
        if inspect.isclass(factory)
        else [factory]
    )
    found: dict[str, Any] = {}
    for constructor in constructors:
        with suppress(ValueError):  # object's own has no signature
            for name, parameter in inspect.signature(constructor).parameters.items():
                found.setdefault(name, parameter.default)
    return found


def without_judgement(task: dict[str, Any]) -> dict[str, Any]:
    """A task's arguments without those that tell how its scores are judged and read, and change none.

    Minimal pairs are scored besides; their content, and not where they lie, is in the source's id.
    """
    return {name: value for name, value in task.items() if name not in JUDGEMENT}


def same(one: Any, other: Any) -> bool:
    """Whether two canonical forms are equal; ``true`` is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def class_name(target: str) -> str:
    """The name that stands for a class: of this project's, without its module."""
    return target.rpartition(".")[2] if target.startswith(OWN) else target
