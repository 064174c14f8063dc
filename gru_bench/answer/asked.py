"""What a call of ``gru-bench answer`` asks: its own keys, and those that say what is trained.

The latter become a yaml of the group ``experiment``, so that the other commands can go on where this one stopped.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from gru_bench.config.canonical import digest
from gru_bench.config.check import check_arguments, conf_dir
from gru_bench.config.running import RUNNING_KEYS
from gru_bench.errors import UserError

NEEDED = ("lstm", "gru")
"""Cells without which there is no question."""
SETS_ITSELF = {
    "cell": "cells=[lstm,gru]",
    "seed": "max_seeds=NUMBER",
    "until": "leave it out",
    "only": "leave it out",
    "experiment": "name=NAME, and task=NAME",
    "hydra": "workers=NUMBER",
}
"""Keys and groups of ``gru-bench train`` that this command sets, with what to say instead."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of ``conf/answer.yaml``.

    Attributes:
        cells: Names of ``conf/cell``.
        max_hours: For all of it.
        max_seeds: Most seeds of one cell.
        name: Of the experiment; null for one that is made up.
        workers: Runs at once; ``auto`` for what cores and memory allow.
        output: Folder of the report; null for that of its name.
    """

    cells: list[str]
    max_hours: Annotated[float, Gt(0)]
    max_seeds: Annotated[int, Ge(5)]
    name: str | None
    workers: Annotated[int, Gt(0)] | Literal["auto"]
    output: str | None


@dataclass(frozen=True)
class Asked:
    """One call.

    Attributes:
        keys: Its own.
        flags: Hydra's, with their values, such as ``--config-dir``.
        question: What is trained on what, as the user wrote it.
        carried: How it is carried out, and where results go: given to every step.
    """

    keys: Keys
    flags: list[str]
    question: list[str]
    carried: list[str]

    @property
    def tracking(self) -> list[str]:
        """Where results go, as every command takes it."""
        return [text for text in self.carried if is_tracking(text)]

    def gives(self, key: str) -> bool:
        """Whether the user wrote that key."""
        return any(key_of(text) == key for text in self.question)

    def id(self, source_id: str) -> str:
        """A digest of what is trained on what, whatever the order in which it was written."""
        return digest([sorted(self.question), source_id])[:8]


def ask(flags: Sequence[str], arguments: Sequence[str]) -> Asked:
    """Take a command line apart.

    Args:
        flags: Hydra's.
        arguments: The rest, as ``key=value``.

    Raises:
        UserError: A value that does not fit, or a key that this command sets itself.
    """
    names = [field.name for field in dataclasses.fields(Keys)]
    own = [text for text in arguments if key_of(text) in names]
    rest = [text for text in arguments if text not in own]
    given: Any = OmegaConf.to_container(OmegaConf.load(conf_dir() / "answer.yaml"))
    try:
        given |= OmegaConf.to_container(OmegaConf.from_dotlist(own))
    except yaml.YAMLError as error:
        raise UserError(f"{' '.join(own)}: cannot be read; valid: cells=[lstm,gru] max_hours=1") from error
    if isinstance(given["cells"], str):
        given["cells"] = given["cells"].split(",")
    check_arguments(Keys, given, "", "gru-bench answer")
    keys = Keys(**given)
    check_own(keys)
    for text in rest:
        key = key_of(text).partition(".")[0].partition("/")[0]
        if key in SETS_ITSELF:
            raise UserError(f"{text}: gru-bench answer sets it itself; valid: {SETS_ITSELF[key]}")
    if bad := [text for text in rest if text.startswith("~")]:
        raise UserError(f"{bad[0]}: deletes a key, which no experiment's yaml can; valid: set it instead")
    carried = [text for text in rest if is_tracking(text) or key_of(text) in RUNNING_KEYS]
    return Asked(keys, list(flags), [text for text in rest if text not in carried], carried)


def check_own(keys: Keys) -> None:
    """Refuse what no type shows.

    Raises:
        UserError: Without both cells of the question, one of them twice, or no name.
    """
    if missing := [cell for cell in NEEDED if cell not in keys.cells]:
        raise UserError(
            f"cells=[{','.join(keys.cells)}]: without {missing[0]} there is no answer to GRU or LSTM; valid: "
            f"cells=[{','.join(dict.fromkeys([*NEEDED, *keys.cells]))}]"
        )
    if len(set(keys.cells)) < len(keys.cells):
        raise UserError(f"cells=[{','.join(keys.cells)}]: one of them twice; valid: each once")
    if keys.name is not None and not re.fullmatch(r"[A-Za-z]\w{0,63}", keys.name, re.ASCII):
        raise UserError(f"name={keys.name}: must be letters, digits and _, a letter first, 64 at most")


def key_of(text: str) -> str:
    """``task.goal.margin`` of ``+task.goal.margin=0.02``."""
    return text.partition("=")[0].lstrip("+~")


def is_tracking(text: str) -> bool:
    """Whether an argument says where results go."""
    return key_of(text).partition(".")[0] == "tracking"


def name_of(task: str, path: str | None, ident: str) -> str:
    """``answer_tickets_1a2b3c4d``.

    Args:
        task: Name of its yaml.
        path: Of the data, where the user gave one.
        ident: Tells questions apart.
    """
    stem = Path(path).name.partition(".")[0] if path else task
    stem = re.sub(r"\W+", "_", stem or task, flags=re.ASCII).strip("_").lower()[:32].strip("_")
    return f"answer_{stem or task}_{ident}"


def experiment_yaml(question: Sequence[str], fixed: Mapping[str, str], more: Mapping[str, Any], first: str) -> str:
    """The yaml of an experiment that asks the same.

    Args:
        question: Overrides, as the user wrote them.
        fixed: Further choices of groups, by group.
        more: Further keys, nested.
        first: What its first line says.

    Raises:
        UserError: An override that no yaml can hold, or one that lists several values.
    """
    chosen: list[dict[str, Any]] = []
    body = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(question)):
        key, value = override.key_or_group, plain(override)
        if (conf_dir() / key).is_dir():
            chosen.append({f"override /{key}": value})
        else:
            OmegaConf.update(body, key, value, force_add=True)
    chosen += [{f"override /{group}": name} for group, name in fixed.items()]
    merged = OmegaConf.to_container(OmegaConf.merge(body, dict(more)), resolve=False)
    text = yaml.safe_dump({"defaults": chosen, **merged}, sort_keys=False, allow_unicode=True, width=110)  # type: ignore[dict-item]
    return f"# @package _global_\n# {first}\n{text}"


def plain(override: Override) -> Any:
    """The value of one override, as yaml has it.

    Raises:
        UserError: It lists several values.
    """
    if override.is_sweep_override():
        raise UserError(f"{override.input_line}: several values are several questions; valid: one")
    return override.value()
