"""The keys of a run: what makes two runs the same, and which runs may be averaged."""

import hashlib
import json
from typing import Any

from gru_bench.config.check import Node


def run_keys(node: Node, choices: dict[str, str], source_id: str) -> tuple[str, str]:
    """``config_key`` and ``group_key`` of a run.

    The key is the SHA-256 (first 16 digits) of the resolved config and the names chosen, without what says nothing
    of the result: experiment, tracking, launcher, how the learning rate was chosen, and where the data lies, for which
    the source's id stands. The
    group key leaves the seed out too: only runs of one group may be averaged.
    """
    kept = {key: value for key, value in node.items() if key not in ("hydra", "tracking", "tuning")}
    kept["data"] = {key: value for key, value in (node.get("data") or {}).items() if key != "path"}
    kept["data_source"] = source_id
    kept["choices"] = {key: choices[key] for key in ("cell", "backend", "task", "budget") if key in choices}

    def key(part: Node) -> str:
        return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]

    return key(kept), key({name: value for name, value in kept.items() if name != "seed"})


def flatten(node: Node, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one level with dotted names; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
