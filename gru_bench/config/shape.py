"""Whether a composed config still has its nodes: ``~cell``, ``trainer=3`` and the like take one away.

All that follows reads nodes by name. So a node that was deleted, or replaced by a value, is refused first, for every
command in one place.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gru_bench.config.check import GROUPS, conf_dir, first_line
from gru_bench.errors import UserError

NODES = {
    "train": GROUPS,
    "data": ("task", "tracking"),
    "report": ("select", "sections", "tracking"),
    "time": ("select", "tracking"),
    "probe": ("tracking",),
    "predict": ("data", "tracking"),
    "sample": ("tracking",),
    "export": ("tracking",),
    "doctor": ("tracking",),
}
"""Nodes that a command reads, by its name."""
CHOSEN = {
    "train": ("cell", "backend", "task", "budget", "tracking"),
    "data": ("task", "tracking"),
    "time": ("budget", "tracking"),
}
"""Groups of which one yaml is always chosen, and its name stored."""
OF_HYDRA = ("launcher", "sweeper", "run", "sweep", "job", "runtime", "overrides")


def check_shape(config: DictConfig, verb: str, hydra: Any = None) -> None:
    """Refuse a config without one of its nodes.

    Args:
        config: As composed.
        verb: Name of the command.
        hydra: The config's node ``hydra``, where it is not in the config.

    Raises:
        UserError: A node that was deleted or replaced, or a choice that is not one name.
    """
    for key in NODES[verb]:
        require(config, key, verb)
    if verb == "train" and config.get("tuning") is not None:
        require(config, "tuning", verb)
    hydra = hydra if hydra is not None else config.get("hydra")
    if hydra is None:
        return
    for key in OF_HYDRA:
        if not OmegaConf.is_dict(hydra.get(key)):
            raise UserError(f"hydra.{key}={hydra.get(key)!r}: must be a node; set the keys in it one by one")
    for group in CHOSEN.get(verb, ()):
        name = hydra.runtime.choices.get(group)
        if not isinstance(name, str):
            raise UserError(f"{group}: choose one by its name, {group}=NAME; valid: {', '.join(names_of(group))}")


def require(config: DictConfig, key: str, verb: str) -> None:
    """Refuse a key that is no node.

    Raises:
        UserError: It was deleted, replaced by a value, or does not resolve.
    """
    try:
        value = config.get(key)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {first_line(error)}") from error
    if OmegaConf.is_dict(value):
        return
    names = names_of(key)
    wish = f"choose one with {key}=NAME, of {', '.join(names)}" if names else f"set the keys in it, {key}.NAME=VALUE"
    if key in config:
        raise UserError(f"{key}={'null' if value is None else value}: must be a node; {wish}")
    raise UserError(f"~{key}: gru-bench {verb} needs it; {wish}")


def names_of(group: str) -> list[str]:
    """The shipped choices of a group; none for a key that is no group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
