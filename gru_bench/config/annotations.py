"""What a constructor's annotations say of the arguments that yaml may give it: which there are, and of what type."""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import pydantic


def shared_keys(factory: Callable[..., Any], hints: dict[str, Any]) -> list[Any]:
    """The ``TypedDict`` of ``**common: Unpack[...]``, by which constructors share arguments; an empty list without."""
    return [
        typing.get_args(hints[name])[0]
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and typing.get_origin(hints.get(name)) is typing.Unpack
    ]


def keys_of(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments that yaml may give: keyword-only ones, shared ones, and others with both a name and a default."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    shared = shared_keys(factory, typing.get_type_hints(function, include_extras=True))
    return {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default)
        for common in shared
        for keys, default in ((common.__required_keys__, inspect.Parameter.empty), (common.__optional_keys__, None))
        for key in keys
    } | {
        name: parameter
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        or (
            parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            and parameter.default is not inspect.Parameter.empty
        )
    }


def type_of_default(default: Any) -> Any:
    """The annotation assumed for an argument that has none: a number for a number, else anything."""
    return float if isinstance(default, int | float) and not isinstance(default, bool) else Any


def as_yaml_gives_it(hint: Any) -> Any:
    """An annotation without the tensors that torch's optimizers also take: yaml has none."""
    parts = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        kept = tuple(as_yaml_gives_it(part) for part in parts if getattr(part, "__name__", "") != "Tensor")
        return typing.Union[kept]  # noqa: UP007  # the parts are known only now
    if typing.get_origin(hint) is tuple:
        return tuple[tuple(as_yaml_gives_it(part) for part in parts)]  # type: ignore[misc]
    return hint


def adapter_of(hint: Any) -> pydantic.TypeAdapter[Any]:
    """What holds a value against an annotation."""
    try:
        return pydantic.TypeAdapter(hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except pydantic.PydanticUserError:  # a dataclass brings a configuration of its own
        return pydantic.TypeAdapter(hint)
