"""In what the configs of runs differ, in words short enough for a row's label."""

from collections.abc import Mapping

from gru_bench.store.schema import RUN_FACTS

FACTS_OF_THEIR_OWN = frozenset(
    key for fact in RUN_FACTS.values() for key in (fact.config, f"{fact.node}._target_" if fact.node else "") if key
)
"""Config keys that are columns of their own, or whose class a column names."""


def differing(configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Name each config by the keys in which the configs differ.

    Args:
        configs: Flat configs by any name, such as a run's id: ``{"trainer.max_steps": "100", ...}``.

    Returns:
        By the same names, ``trainer.max_steps=100, model.dropout=0.5``; a class is its node and its name,
        ``model.pooling=LastState``, whichever module it is in. Empty where nothing differs.
    """
    found = {name: for_labels(config) for name, config in configs.items()}
    keys = sorted({key for config in found.values() for key in config})
    varied = [key for key in keys if len({config.get(key) for config in found.values()}) > 1]
    return {
        name: ", ".join(f"{key}={config[key]}" for key in varied if key in config) for name, config in found.items()
    }


def for_labels(config: Mapping[str, str]) -> dict[str, str]:
    """What of one config may stand in a label: not what is a column, nor what follows from one."""
    short = {}
    for key, text in config.items():
        if key in FACTS_OF_THEIR_OWN or key.startswith(("backend.", "budget.")) or key.endswith("_partial_"):
            continue
        if key.endswith("._target_"):
            key, text = key.removesuffix("._target_"), text.rpartition(".")[2]
        short[key] = text
    return short
