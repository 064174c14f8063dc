"""The words of a command line before Hydra reads them: flags, names and paths that it takes wrongly or not at all."""

import re
import shlex
from pathlib import Path

from gru_bench.errors import UserError

SWEEPS = {"-m", "--multirun"}
TRAINS = ("train", "plan", "answer")
"""Verbs that compose ``conf/train.yaml``, and take sweeps."""
COMPLETION = {"--shell-completion", "-sc"}
SWITCHES = SWEEPS | COMPLETION | {"--hydra-help", "--resolve"}
WITH_VALUE = {"--cfg", "-c", "--config-dir", "-cd", "--package", "-p"}
MAYBE_WITH_VALUE = {"--info", "-i"}
"""Hydra's flags that make sense here."""

CONFIGS = ("job", "hydra", "all")
TOPICS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""What Hydra can tell of itself, by ``--info``."""
SHELLS = ("install=bash", "uninstall=bash", "query=bash")

LOGS = "hydra/job_logging=stdout"
"""With ``hydra.verbose``: else what libraries log goes nowhere."""


def flags_first(verb: str, arguments: list[str]) -> list[str]:
    """Hydra's parser takes flags only before the first key; people write them anywhere.

    Raises:
        UserError: A flag that the verb does not have, one without its value, or two that exclude each other.
    """
    flags: list[str] = []
    keys: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag, has_value, value = argument.partition("=")
        if not argument.startswith("-"):
            keys.append(argument)
        elif flag in SWITCHES and not has_value and (flag not in SWEEPS or verb in TRAINS):
            flags.append(argument)
        elif flag in MAYBE_WITH_VALUE:
            topic = value if has_value else left.pop(0) if left and left[0] in TOPICS else "all"
            one_of(flag, topic, TOPICS)
            flags.append(f"--info={topic}")
        elif flag in WITH_VALUE and (value or (left and not has_value)):
            value = value if has_value else left.pop(0)
            if flag in ("--cfg", "-c"):
                one_of(flag, value, CONFIGS)
            flags += [flag, value]
        else:
            valid = sorted((SWITCHES if verb in TRAINS else SWITCHES - SWEEPS) | WITH_VALUE | {"--info"})
            what = "needs a value" if flag in WITH_VALUE else f"no such flag; valid: {', '.join(valid)}"
            raise UserError(f"{flag}: {what}")
    refuse_clash(flags, keys)
    return flags + keys


def one_of(flag: str, value: str, valid: tuple[str, ...]) -> None:
    """Refuse a flag's value where argparse would print its own usage.

    Raises:
        UserError: None of the valid ones.
    """
    if value not in valid:
        raise UserError(f"{flag} {value}: no such choice; valid: {', '.join(valid)}")


def refuse_clash(flags: list[str], keys: list[str]) -> None:
    """Hydra does one thing at a time, and raises a bare ValueError for two.

    Raises:
        UserError: Two of its flags ask for different things, or one of them lacks the one that it belongs to.
    """
    asked = [flag.partition("=")[0] for flag in flags]
    shows = [flag for flag in asked if flag in {*SWEEPS, *COMPLETION, "--cfg", "-c", "--info"}]
    if len(set(shows)) > 1:
        raise UserError(f"{' '.join(dict.fromkeys(shows))}: one of these at a time; leave the others out")
    if "--resolve" in asked and not {"--cfg", "-c"} & set(asked):
        raise UserError("--resolve: belongs to --cfg; valid: --cfg job --resolve")
    if COMPLETION & set(asked) and (len(keys) != 1 or keys[0] not in SHELLS):
        raise UserError(f"-sc {' '.join(keys)}: must be one of {', '.join(SHELLS)}")


def refuse_nameless(arguments: list[str], sources: list[Path]) -> None:
    """Refuse ``experiment=null``, ``cell=3`` and ``cell=../cell/gru``: the choice of a group is a name.

    Hydra's own ValueError for the first two does not name the key. A path it follows, and the run would be stored
    under another name than that of the same cell.

    Raises:
        UserError: Not a name; lists the valid ones.
    """
    for argument in arguments:
        key, separator, value = argument.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if not separator or argument.startswith("-") or not re.fullmatch(r"[a-z_]+", group):
            continue
        valid = sorted({path.stem for folder in sources for path in (folder / group).glob("*.yaml")})
        nameless = re.fullmatch(r"|null|true|false|[-+]?[\d_]+", value, flags=re.IGNORECASE)
        if valid and ((nameless and value not in valid) or is_path(value)):
            raise UserError(f"{argument}: must be a name; valid: {', '.join(valid)}; leave it out for the default")


def is_path(value: str) -> bool:
    """Whether a choice, or one of several, leads somewhere else than a yaml's name in the group's own folder."""
    return any(is_path_of_one(part) for part in re.split(r"[,\[\]]", value) if part)


def is_path_of_one(name: str) -> bool:
    """The same of one: ``../cell/gru`` or ``gru.yaml``; a folder inside the group's own is fine."""
    parts = name.strip(" '\"").split("/")
    return parts[-1].endswith((".yaml", ".yml")) or any(part in ("", ".", "..") for part in parts)


def is_key(argument: str) -> bool:
    """Whether an argument is ``key=value`` or ``~key``, not a name; a path may hold = after a slash."""
    return re.match(r"~|\+{0,2}[\w.@]+=", argument) is not None


def refuse_keyless(verb: str, arguments: list[str]) -> None:
    """Refuse a word that is neither a flag nor ``key=value``: Hydra's parser speaks of its grammar.

    Args:
        verb: As called.
        arguments: With flags first, as :func:`flags_first` gives them.

    Raises:
        UserError: It is no override.
    """
    takes_value = False
    for argument in arguments:
        inside, takes_value = takes_value, argument in WITH_VALUE
        if inside or argument.startswith(("-", "~")) or "=" in argument:
            continue
        path = f", such as data.path={argument}" if verb in TRAINS and re.search(r"[./]", argument) else ""
        raise UserError(f"{argument or repr(argument)}: not a key with a value; valid: KEY=VALUE{path}")


def verbose(arguments: list[str]) -> list[str]:
    """The arguments with a place for what libraries log, where ``hydra.verbose`` asks for it.

    Raises:
        UserError: It asks for a number.
    """
    given = [argument for argument in arguments if argument.lstrip("+").startswith("hydra.verbose=")]
    for argument in given:
        if not re.search(r"=(\[.*\]|[A-Za-z_][\w.]*)$", argument):
            raise UserError(f"{argument}: must be true, false, or the name of a library whose log is shown")
    asked = any(not argument.endswith("=false") for argument in given)
    chosen = any(argument.startswith("hydra/job_logging=") for argument in arguments)
    return [*arguments, LOGS] if asked and not chosen else arguments


def select_by_name(arguments: list[str]) -> list[str]:
    """``experiment=NAME`` and ``sweep=ID`` as plain keys.

    ``experiment`` is a config group: left alone, Hydra would compose the training sweep into the report.
    """
    names = ("experiment=", "sweep=")
    return [f"select.{argument}" if argument.startswith(names) else argument for argument in arguments]


def grid_by_name(arguments: list[str], sources: list[Path]) -> list[str]:
    """``experiment=NAME`` as ``grid=NAME`` where there is such a grid, else as the plain key of an experiment."""
    grids = {path.stem for folder in sources for path in (folder / "grid").glob("*.yaml")}
    found = []
    for argument in arguments:
        key, _, name = argument.partition("=")
        if key == "experiment":
            argument = f"grid={name}" if name in grids else f"select.experiment={name}"
        found.append(argument)
    return found


def section_overrides(sources: list[Path]) -> list[str]:
    """One override for each yaml in the group ``section``, the user's own folder included."""
    names = sorted({path.stem for folder in sources for path in (folder / "section").glob("*.yaml")})
    return [f"+section@sections.{name}={name}" for name in names]


def folders(arguments: list[str], conf: Path) -> list[Path]:
    """Where yaml files are looked for: ``conf/``, and what ``--config-dir`` adds."""
    found = [conf]
    for position, argument in enumerate(arguments):
        flag, has_value, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            found += [Path(value)] if has_value else [Path(name) for name in arguments[position + 1 : position + 2]]
    return found


def pilot_seconds(arguments: list[str], default: float) -> tuple[list[str], float]:
    """Take ``pilot=SECONDS`` out of the arguments of ``plan``: all the others are those of ``train``.

    Args:
        arguments: What follows the verb.
        default: Seconds where none are given.

    Raises:
        UserError: No number of seconds.
    """
    given = [argument for argument in arguments if argument.startswith("pilot=")]
    if not given:
        return arguments, default
    value = given[-1].partition("=")[2]
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"pilot={value}: must be a number of seconds; valid: 0 for no pilot, or more")
    return [argument for argument in arguments if argument not in given], seconds


def for_each_job(arguments: list[str], key: str) -> list[str]:
    """The arguments with one key given to each job of the sweep, and not to the config that they all begin with.

    Hydra applies fixed keys to that config too, which has the default task and not those that are swept:
    ``task=adding,copy_memory task.num_eval=50`` would be refused for a key that only the two have.

    Args:
        arguments: As Hydra was given them.
        key: Which one.

    Returns:
        The same arguments where none of them sets the key.
    """
    given = [argument for argument in arguments if argument.startswith(f"{key}=")]
    if not given:
        return arguments
    value = given[-1].partition("=")[2]
    moved = f"++hydra.sweeper.params={{{key}: {in_quotes(value)}}}"
    return [argument for argument in arguments if argument not in given] + [moved]


def quoted(key: str, value: str) -> str:
    """An override as bash and Hydra both take it literally, whatever the value holds."""
    return shlex.quote(f"{key}={in_quotes(value)}")


def in_quotes(value: str) -> str:
    """A text as Hydra's grammar takes it literally."""
    escaped = re.sub(r'(\\*)(")', lambda found: found[1] * 2 + '\\"', value)
    escaped += "\\" * (len(escaped) - len(escaped.rstrip("\\")))  # one before the closing quote would escape it
    return f'"{escaped}"'
