"""How the configs of runs differ, short enough for a row's label."""

from collections.abc import Mapping

from gru_bench.store.schema import RUN_FACTS

CLASS = "._target_"

FACTS_OF_THEIR_OWN = frozenset(
    {fact.config for fact in RUN_FACTS.values() if fact.config}
    | {fact.node + CLASS for fact in RUN_FACTS.values() if fact.node}
)
"""Config keys that are columns of their own, or whose class a column names."""


def differing(configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Name each config by the keys in which the configs differ.

    A key is compared among nodes of one class: that SGD has a momentum and Adam has none follows from the class.

    Args:
        configs: Flat configs by any name, such as a run's id: ``{"trainer.max_steps": "100", ...}``; under a group's
            own name, such as ``backend``, the name of its yaml.

    Returns:
        By the same names, ``trainer.max_steps=100, model.dropout=0.5``; a class is its node and its name,
        ``model.pooling=LastState``, whichever module it is in. Empty where nothing differs.
    """
    values: dict[str, set[str | None]] = {key: set() for config in configs.values() for key in config if in_labels(key)}
    for config in configs.values():
        for key, different in values.items():
            different.add(config.get(key))
    keys = sorted(key for key, different in values.items() if len(different) > 1)
    varied = [key for key in keys if varies(key, configs)]
    return {
        name: ", ".join(f"{key.removesuffix(CLASS)}={value(config, key)}" for key in varied if key in config)
        for name, config in configs.items()
    }


def in_labels(key: str) -> bool:
    """Whether a key may stand in a label: not if it is a column, or follows from one."""
    return key not in FACTS_OF_THEIR_OWN and not key.startswith("budget.") and not key.endswith("_partial_")


def value(config: Mapping[str, str], key: str) -> str | None:
    """A key's value; of a class its name without the module, which may move."""
    text = config.get(key)
    return text.rpartition(".")[2] if text is not None and key.endswith(CLASS) else text


def varies(key: str, configs: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a key differs among configs in which the node that it belongs to is of one class."""
    found: dict[tuple[str, str | None], set[str | None]] = {}
    for config in configs.values():
        found.setdefault(owner(key, config), set()).add(value(config, key))
    return any(len(values) > 1 for values in found.values())


def owner(key: str, config: Mapping[str, str]) -> tuple[str, str | None]:
    """The innermost node around a key that has a class, and that class; of a group, the name of its yaml instead.

    ``backend=vendor`` and ``vendor_aten`` are one class: what their yaml files set follows from the name.
    """
    node = key.removesuffix(CLASS)
    while "." in node:
        node = node.rpartition(".")[0]
        if node + CLASS in config:
            return node, config.get(node, value(config, node + CLASS))
    return "", None
