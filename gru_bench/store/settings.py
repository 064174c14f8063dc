"""In what the configs of runs differ, in words short enough for a row's label."""

from collections.abc import Mapping

TOLD_ELSEWHERE = frozenset(
    ("seed", "hidden_size", "num_layers", "device", "dtype", "threads", "trainer.learning_rate", "task.batch_size")
)
"""Config keys that are columns of their own, or that say nothing of the result."""


def differing(configs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Name each config by the keys in which the configs differ.

    Args:
        configs: Flat configs by any name, such as a run's id: ``{"trainer.max_steps": "100", ...}``.

    Returns:
        By the same names, ``trainer.max_steps=100, model.dropout=0.5``; empty where nothing differs.
    """
    keys = sorted({key for config in configs.values() for key in config})
    told = [
        key
        for key in keys
        if key not in TOLD_ELSEWHERE
        and not key.startswith(("backend.", "budget."))
        and not key.endswith(("_target_", "_partial_"))
        and len({config.get(key) for config in configs.values()}) > 1
    ]
    return {
        name: ", ".join(f"{key}={config[key]}" for key in told if key in config) for name, config in configs.items()
    }
