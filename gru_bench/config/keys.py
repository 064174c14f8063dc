"""The keys of a run: what makes two runs the same, and which runs may be averaged.

A key must not change with a release that does not change what a run does. So it is made of the config's canonical
form (``canonical.py``), which leaves out what equals a default. Plain settings, the keys of ``config/check.py``'s
``Settings``, are left out likewise.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from gru_bench.config.canonical import canonical, digest, without_defaults, without_judgement
from gru_bench.config.check import PROBES, Node, Settings

KEY_VERSION = 2
"""Raise it when the canonical form changes: all keys change with it, and no old run passes for a new one."""

SEED = "<the seed>"
"""Stands for the seed in text that is hashed for many of them."""

NO_INFLUENCE = ("hydra", "tracking", "tuning", "probes", "save", "keep_model")
"""Parts of a config that do not affect the result; ``keep_model`` is an older version's."""
WEIGHTS = ("save=best", "save=last")
"""Among the extras of a run: its weights."""
CHOICES = ("cell", "backend", "task", "budget")
"""Groups whose chosen name is a part of the key."""


def run_keys(node: Node, choices: dict[str, str], source_id: str) -> tuple[str, str]:
    """``config_key`` and ``group_key`` of a run: digests of :func:`decisive`.

    The group key leaves the seed out: only runs of one group may be averaged.
    """
    kept = decisive(node, choices, source_id)
    return digest(kept), digest({name: value for name, value in kept.items() if name != "seed"})


def decisive(node: Node, choices: dict[str, str], source_id: str) -> dict[str, Any]:
    """All that decides a run's result, in canonical form: the config and the names chosen.

    What does not affect the result is left out: experiment, tracking, launcher, how the learning rate was chosen, the
    task's goal, and where the data lies (the source's id is there instead).
    """
    parts = {key: value for key, value in node.items() if key not in NO_INFLUENCE}
    parts["data"] = {key: value for key, value in (node.get("data") or {}).items() if key != "path"}
    parts["task"] = without_judgement(node.get("task") or {})
    kept = without_defaults(parts, Settings)
    kept |= {"data_source": source_id, "choices": {key: choices[key] for key in CHOICES if key in choices}}
    kept["key_version"] = KEY_VERSION
    return kept


def extras(node: Node) -> list[str]:
    """What a run is to keep that no score depends on and no key knows: its weights, and what each probe finds.

    A probe goes by its name and a digest of its settings, so that one with other settings is another one.
    """
    probes = [f"{name}:{digest(canonical(part))[:8]}" for name, part in sorted((node.get(PROBES) or {}).items())]
    weights = [one for one in WEIGHTS if one == f"save={node.get('save')}"]
    return weights + probes


def keys_by_seed(kept: dict[str, Any]) -> Callable[[int], str]:
    """Gives ``config_key`` of the run that is the same as this one but for its seed; for thousands of them."""
    before, after = json.dumps(kept | {"seed": SEED}, sort_keys=True).split(json.dumps(SEED))
    return lambda seed: hashlib.sha256(f"{before}{seed}{after}".encode()).hexdigest()[:16]


def flatten(node: Node, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one level with dotted names; lists stay whole, and so do names that are no keys of yaml.

    Labels of a data set are such names: ``{"a b": 2.0}``.
    """
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value and all(str(name).isidentifier() for name in value):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
