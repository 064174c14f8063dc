"""What a user reads when something is wrong: one or two lines, never a traceback."""

import difflib
import re

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gru_bench.config.check import GIVEN_ELSEWHERE, MOVED, conf_dir, no_such_key
from gru_bench.errors import Diverged, UserError

BAD_INPUT = (UserError, HydraException, OmegaConfBaseException, yaml.YAMLError)
"""Exceptions that mean bad input: exit code 2."""

FAILED_RUN = (Diverged,)
"""Exceptions that are a result, not a bug: printed as a line, without a traceback."""


def line(verb: str, error: BaseException) -> str:
    """The message for one error of a command, with the command's name in front."""
    return f"gru-bench {verb}: {explain(error, verb)}"


def explain(error: BaseException, verb: str = "train") -> str:
    """What is wrong, where, and what would be valid for that verb."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: not valid yaml: {error.problem}"
    if isinstance(error, MissingConfigException):
        return explain_missing_choice(error)
    text = str(error).strip() or type(error).__name__
    ambiguous = re.match(r"Ambiguous value for argument '([^']+)'", text)
    if ambiguous and verb != "train":
        key, _, values = ambiguous[1].partition("=")
        return f"{ambiguous[1]}: several values are a list; valid: {key}=[{values}]"
    if ambiguous:
        return f"{ambiguous[1]}: several values are a sweep, which needs -m"
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown and isinstance(error.__cause__, OmegaConfBaseException):
        parent = error.__cause__.parent_node
        siblings = parent if isinstance(parent, DictConfig) else {}
        keys = sorted(str(key) for key in siblings if key != "hydra" and not str(key).startswith("_"))
        if unknown[1] in GIVEN_ELSEWHERE or unknown[1] in MOVED:
            return no_such_key(unknown[1], "")
        meant = did_you_mean(unknown[1].rpartition(".")[2], keys)
        return f"{unknown[1]}: no such key{meant}; valid: {', '.join(keys) or 'none here'}"
    if error.__cause__ is not None:
        text = f"{text} ({str(error.__cause__).strip()})"
    return " ".join(part.strip() for part in text.splitlines()[:2] if part.strip())


def explain_missing_choice(error: MissingConfigException) -> str:
    """``cell=grru: no such choice; valid: gru, ...`` from Hydra's many lines."""
    text = str(error)
    wanted = re.search(r"Could not find '([^']+)'", text) or re.search(r"Cannot find [^']*'([^']+)'", text)
    name = wanted[1] if wanted else (error.missing_cfg_file or "config")
    group, _, choice = str(name).rpartition("/")
    valid = re.findall(r"^\s+([\w./-]+)\s*$", text.split("Available options", 1)[-1], flags=re.MULTILINE)
    if not group:
        return f"{name}: no such config"
    # Hydra lists none where several may be chosen at once
    valid = valid or sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    return f"{group}={choice}: no such choice{did_you_mean(choice, valid)}; valid: {', '.join(valid)}"


def did_you_mean(given: str, valid: list[str]) -> str:
    """A guess at a typing error, in parentheses, or nothing."""
    near = difflib.get_close_matches(given, valid, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
