"""What a user reads when something is wrong: one or two lines, never a traceback."""

import difflib
import errno
import re
import shlex
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gru_bench.commands.arguments import quoted
from gru_bench.config.check import GIVEN_ELSEWHERE, MOVED, conf_dir, first_line, no_such_key
from gru_bench.errors import Diverged, UserError

BAD_INPUT = (UserError, HydraException, OmegaConfBaseException, yaml.YAMLError)
"""Exceptions that mean bad input: exit code 2."""

PATH_ERRORS = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What the system says of a path that cannot be used: the user's to mend. A full disk or a broken one is not."""

LONGEST_PATH = 200

FAILED_RUN = (Diverged,)
"""Exceptions that are a result, not a bug: printed as a line, without a traceback."""


def is_bad_input(error: BaseException) -> bool:
    """Whether an error is the user's to mend: bad input, or a path that cannot be used."""
    return isinstance(error, BAD_INPUT) or (
        isinstance(error, OSError) and error.errno in PATH_ERRORS and error.filename is not None
    )


def unread(error: Exception, folders: list[Path], arguments: list[str]) -> Exception:
    """The error as bad input, where Hydra could not read what it was given: names the yaml file that is to blame.

    Args:
        error: Whatever Hydra, or what it called, raised.
        folders: Where yaml files are looked for.
        arguments: What it was given; a file that they name is looked at first.
    """
    if isinstance(error, UnicodeDecodeError | OSError):
        files = [path for folder in folders for path in folder.rglob("*.yaml")]
        for path in sorted(files, key=lambda path: f"{path.parent.name}={path.stem}" not in arguments):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError as found:
                return UserError(f"{short(str(path))}: no text: byte {found.start} is not UTF-8")
            except OSError as found:
                return UserError(f"{short(str(path))}: {found.strerror}")
    if is_bad_input(error) or isinstance(error, RecursionError):
        return error
    return UserError(f"cannot be read: {type(error).__name__}: {first_line(error)}")


def line(verb: str, error: BaseException) -> str:
    """The message for one error of a command, with the command's name in front."""
    return f"gru-bench {verb}: {explain(error, verb)}"


def explain(error: BaseException, verb: str = "train") -> str:
    """What is wrong, where, and what would be valid for that verb; where in a sweep, if a note says so."""
    return "; ".join([explain_alone(error, verb), *getattr(error, "__notes__", ())])


def explain_alone(error: BaseException, verb: str) -> str:
    """The same without the notes."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: not valid yaml: {error.problem}"
    if isinstance(error, MissingConfigException):
        return explain_missing_choice(error)
    if isinstance(error, OverrideParseException):
        return explain_parse(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{short(str(error.filename))}: {error.strerror or type(error).__name__}"
    if isinstance(error, RecursionError):
        return "the yaml files lead back to themselves: look at the defaults list and the anchors of the one you named"
    text = str(error).strip() or type(error).__name__
    ambiguous = re.match(r"Ambiguous value for argument '([^']+)'", text)
    if ambiguous and verb != "train":
        key, _, values = ambiguous[1].partition("=")
        return f"{ambiguous[1]}: several values are a list; valid: {key}=[{values}]"
    if ambiguous:
        key, _, value = ambiguous[1].partition("=")
        return (
            f"{ambiguous[1]}: several values are a sweep, which needs -m; one value with a comma: {quoted(key, value)}"
        )
    unknown = unknown_key(error)
    if unknown is not None and isinstance(error.__cause__, OmegaConfBaseException):
        parent = error.__cause__.parent_node
        siblings = parent if isinstance(parent, DictConfig) else {}
        keys = sorted(str(key) for key in siblings if key != "hydra" and not str(key).startswith("_"))
        if unknown in GIVEN_ELSEWHERE or unknown in MOVED:
            return no_such_key(unknown, "")
        meant = did_you_mean(unknown.rpartition(".")[2], keys)
        return f"{unknown}: no such key{meant}; valid: {', '.join(keys) or 'none here'}"
    if "LauncherConf'" in text:
        text += (
            "; its keys are those of the launcher that is chosen: with hydra/launcher=NAME, or in the defaults of a "
        )
        text += "yaml, '- override /hydra/launcher: NAME'"
    if error.__cause__ is not None:
        text = f"{text} ({str(error.__cause__).strip()})"
    return " ".join(part.strip() for part in text.splitlines()[:2] if part.strip())


def unknown_key(error: BaseException) -> str | None:
    """The key that a config does not have, if that is what Hydra complains of."""
    found = re.match(r"Could not override '([^']+)'", str(error).strip())
    return found[1] if found else None


def explain_parse(error: OverrideParseException) -> str:
    """What Hydra's grammar does not take: mostly a path with spaces, brackets, accents or an =, which need quotes."""
    given = str(error.override)
    if len(given.splitlines()) > 1:
        return f"{given!r}: a line break; valid: a text of one line"
    key, separator, value = given.partition("=")
    if not separator or not re.fullmatch(r"(\+{0,2}|~)[\w.@/]+", key):
        return f"{given or repr(given)}: not a key with a value; valid: KEY=VALUE"
    return f"{given}: Hydra's grammar gives some of these characters a meaning; as one text: {literally(key, value)}"


def literally(key: str, value: str) -> str:
    """The override that Hydra reads as this very text; without its value where there is none."""
    found = quoted(key, value)
    try:
        (parsed,) = OverridesParser.create().parse_overrides(shlex.split(found))
        same = parsed.value() == value
    except (HydraException, ValueError):
        same = False
    return found if same else f"{key} in a yaml file of your own, with --config-dir"


def short(path: str) -> str:
    """A path that fits into a line."""
    return path if len(path) <= LONGEST_PATH else f"{path[:60]}... ({len(path)} characters)"


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
