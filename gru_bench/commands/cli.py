"""The command line: ``gru-bench VERB ...``. Each verb's wiring is in its own file."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_bench.errors import UserError
from gru_bench.redact import printing
from gru_bench.store import signals
from gru_bench.store.signals import (
    INTERRUPTED_EXIT_CODE,
    SIGTERM_EXIT_CODE,
    closing,
    exit_code,
    leave_at_once,
    raise_on_signals,
    say,
)

if TYPE_CHECKING:
    from gru_bench.run.rounds import Looked
    from gru_bench.run.search import Read, Stored, Went

VERBS = {
    "train": "train one cell on one task, or a sweep of them, and write the runs to MLflow",
    "report": "turn an experiment's runs into a report: pages, figures, tables and results.csv",
    "time": "time cells and backends against each other: ratios with interval, noise floor and kernel",
    "probe": "measure how far back a kept model can see, and add that to its run",
    "ui": "open the MLflow UI on the runs",
    "doctor": "check versions, devices, threads, kernels and the store before anything runs",
}

SWEEPS = {"-m", "--multirun"}
SWITCHES = SWEEPS | {"--hydra-help", "--resolve"}
WITH_VALUE = {"--cfg", "-c", "--config-dir", "-cd", "--package", "-p"}
"""Hydra's flags that make sense here."""


def main() -> None:
    """Entry point of ``gru-bench``."""
    what = " ".join(["gru-bench", *sys.argv[1:2]])
    leave_at_once(what)
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        say(f"{what}: interrupted")
        code = INTERRUPTED_EXIT_CODE
    except BrokenPipeError:  # whatever read the output has ended, as ``head`` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be flushed at exit
        code = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left takes no time, and has nothing to say
    sys.exit(code)


@printing()
def run(arguments: list[str]) -> int:
    """Run one verb and return its exit code: 0 done, 1 a run failed, 2 bad input, 130 interrupted.

    3: ``report --diff`` found something worse by more than its margin, or ``report --check`` a broken rule.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from gru_bench import __version__

        print(f"gru-bench {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"gru-bench: {verb}: no such verb; valid: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if verb == "ui":
        from gru_bench.commands.ui import ui

        return ui(rest)
    if any(argument in ("-h", "--help") for argument in rest):
        from gru_bench.commands.help import help_text
        from gru_bench.config.check import conf_dir

        print(help_text(verb, folders(rest, conf_dir())))
        return 0
    return run_hydra(verb, rest)


def usage() -> str:
    """What ``gru-bench --help`` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        ["usage: gru-bench VERB [key=value ...]", "", *lines, "", "gru-bench VERB --help lists its keys and choices."]
    )


def run_hydra(verb: str, arguments: list[str]) -> int:
    """Run a verb as a Hydra application over ``conf/VERB.yaml``; print bad input in a line or two."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions reach us instead of Hydra's own printing and exit
    logging.getLogger("hydra").setLevel(logging.CRITICAL)  # it logs what it also raises
    import hydra

    from gru_bench.commands import messages
    from gru_bench.config.check import conf_dir
    from gru_bench.run.launch import launching

    task = load(verb)
    if verb != "train":  # which does so itself, once there is something to close
        raise_on_signals()
    if verb == "report":
        try:
            arguments, task.function = report_mode(arguments, task.function)
        except UserError as error:
            print(messages.line(verb, error), file=sys.stderr)
            return 2
        arguments = select_by_name(arguments)
        # beside the other overrides: Hydra's parser takes them in one piece only, before or after the flags
        at = next((i for i, a in enumerate(arguments) if "=" in a and not a.startswith("-")), len(arguments))
        arguments[at:at] = section_overrides(arguments, conf_dir())
    if verb == "time":
        arguments = grid_by_name(arguments, folders(arguments, conf_dir()))
    code = 1
    with launching(look, reader()) as launch:
        try:
            sys.argv = [f"gru-bench {verb}", *flags_first(verb, arguments)]
            refuse_nameless(arguments, folders(arguments, conf_dir()))
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
            code = task.code
        except messages.BAD_INPUT as error:
            print(messages.line(verb, error), file=sys.stderr)
            code = 2
        except SystemExit as left:  # SIGTERM, or a sweep that was refused
            code = left.code if isinstance(left.code, int) else 1
        except KeyboardInterrupt:
            say(f"gru-bench {verb}: interrupted")
            code = INTERRUPTED_EXIT_CODE
        except Exception:
            if signals.received is None:
                raise
            code = exit_code(signals.received)  # what it cut into took the interruption for an error of its own
        finally:
            with closing(code) if code in (INTERRUPTED_EXIT_CODE, SIGTERM_EXIT_CODE) else nullcontext():
                if launch.error is not None:
                    code = refuse_sweep(launch.error)
                if launch.opened is not None or launch.ended or launch.nothing_left is not None:
                    from gru_bench.commands.train import close_sweep

                    code = close_sweep(launch, code)
    return code


def look(uri: str, experiment: str, looks: int) -> "Looked":
    """How a sweep that adds seeds stands; imported late, as the comparisons are no part of other sweeps."""
    from gru_bench.commands.look import look as read_and_compare

    return read_and_compare(uri, experiment, looks)


def reader() -> "Read":
    """How a sweep that searches reads how its runs went; imported late likewise."""
    kept: dict[str, Stored] = {}

    def read(uri: str, experiment: str) -> "Went":
        from gru_bench.commands.attempts import attempts

        return attempts(uri, experiment, kept)

    return read


def refuse_sweep(error: Exception) -> int:
    """Print why no sweep was opened, and return the exit code."""
    from gru_bench.commands import messages

    if isinstance(error, messages.BAD_INPUT):
        print(messages.line("train", error), file=sys.stderr)
        return 2
    print(f"gru-bench train: the sweep could not be opened: {error!r}", file=sys.stderr)
    return 1


def refuse_nameless(arguments: list[str], sources: list[Path]) -> None:
    """Refuse ``experiment=null`` and ``cell=3``, where Hydra's own ValueError does not name the key.

    Raises:
        UserError: Not a name; lists the valid ones.
    """
    for argument in arguments:
        key, separator, value = argument.partition("=")
        group = key.lstrip("+").partition("@")[0]
        valid = sorted({path.stem for folder in sources if group for path in (folder / group).glob("*.yaml")})
        nameless = re.fullmatch(r"|null|true|false|[-+]?[\d_]+", value, flags=re.IGNORECASE)
        if separator and valid and nameless and value not in valid:
            raise UserError(f"{argument}: must be a name; valid: {', '.join(valid)}; leave it out for the default")


def flags_first(verb: str, arguments: list[str]) -> list[str]:
    """Hydra's parser takes flags only before the first key; people write them anywhere.

    Raises:
        UserError: A flag that the verb does not have, or one without its value.
    """
    flags: list[str] = []
    keys: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag, has_value, _ = argument.partition("=")
        if not argument.startswith("-"):
            keys.append(argument)
        elif flag in SWITCHES and (flag not in SWEEPS or verb == "train"):
            flags.append(argument)
        elif flag in WITH_VALUE and (has_value or left):
            flags += [argument] if has_value else [argument, left.pop(0)]
        else:
            valid = sorted((SWITCHES if verb == "train" else SWITCHES - SWEEPS) | WITH_VALUE)
            what = "needs a value" if flag in WITH_VALUE else f"no such flag; valid: {', '.join(valid)}"
            raise UserError(f"{flag}: {what}")
    return flags + keys


class Verb:
    """A verb as the object that Hydra calls: hydra.main returns nothing, so the exit code is kept here."""

    def __init__(self, function: Callable[[Any], int]) -> None:
        self.function = function
        self.code = 0  # stays 0 where Hydra never calls this, as for --cfg, or for jobs in other processes

    def __call__(self, config: Any) -> None:
        """Run the verb on its config."""
        self.code = self.function(config)


def load(verb: str) -> Any:
    """What Hydra calls for a verb, with its exit code as ``code``; imported late, so that help and errors are quick."""
    if verb == "train":
        from gru_bench.commands.train import Train

        return Train()
    if verb == "report":
        from gru_bench.commands.report import report

        return Verb(report)
    if verb == "time":
        from gru_bench.commands.time import time

        return Verb(time)
    if verb == "probe":
        from gru_bench.commands.probe import probe

        return Verb(probe)
    from gru_bench.commands.doctor import doctor

    return Verb(doctor)


def report_mode(arguments: list[str], report: Callable[[Any], int]) -> tuple[list[str], Callable[[Any], int]]:
    """Take ``--diff OLD NEW`` and ``--check [RULES [RESULTS]]`` out of the arguments of ``report``.

    Returns:
        The arguments that are left, which are keys and Hydra's flags, and what the verb is to do.

    Raises:
        UserError: Both, or the names that they need are not there.
    """
    found = [position for position, argument in enumerate(arguments) if argument in ("--diff", "--check")]
    if not found:
        return arguments, report
    if len(found) > 1:
        raise UserError("--diff, --check: one of them, once")
    flag, start = arguments[found[0]], found[0] + 1
    end = start
    while end < len(arguments) and not arguments[end].startswith("-") and not is_key(arguments[end]):
        end += 1
    names, left = arguments[start:end], arguments[: found[0]] + arguments[end:]
    if flag == "--diff" and len(names) != 2:
        raise UserError(
            f"--diff: needs OLD and NEW, not {len(names)} names; each a results.csv, a report's folder, a store's file "
            "or URI, an experiment, or a sweep's id"
        )
    if flag == "--check" and len(names) > 2:
        raise UserError(f"--check: takes a file of rules and at most one name of results, not {len(names)} names")
    from gru_bench.commands.report import reading

    if flag == "--diff":
        from gru_bench.commands.report_diff import diff

        return left, reading(lambda config: diff(config, names[0], names[1]))
    from gru_bench.commands.report_check import check

    rules, results = [*names, "default"][0], names[1] if len(names) > 1 else None
    return left, reading(lambda config: check(config, rules, results))


def is_key(argument: str) -> bool:
    """Whether an argument is ``key=value`` or ``~key``, not a name; a path may hold = after a slash."""
    return re.match(r"~|\+{0,2}[\w.@]+=", argument) is not None


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


def section_overrides(arguments: list[str], conf: Path) -> list[str]:
    """One override for each yaml in the group ``section``, the user's own folder included."""
    names = sorted({path.stem for folder in folders(arguments, conf) for path in (folder / "section").glob("*.yaml")})
    return [f"+section@sections.{name}={name}" for name in names]


def folders(arguments: list[str], conf: Path) -> list[Path]:
    """Where yaml files are looked for: ``conf/``, and what ``--config-dir`` adds."""
    found = [conf]
    for position, argument in enumerate(arguments):
        if argument.startswith("--config-dir="):
            found.append(Path(argument.split("=", 1)[1]))
        elif argument in ("--config-dir", "-cd") and position + 1 < len(arguments):
            found.append(Path(arguments[position + 1]))
    return found
