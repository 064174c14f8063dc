"""The command line: ``gru-bench VERB ...``. Each verb's wiring is in its own file."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_bench.commands import arguments as words
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
    from omegaconf import DictConfig

    from gru_bench.run.launch import Launch
    from gru_bench.run.rounds import Looked
    from gru_bench.run.search import Read, Stored, Went

VERBS = {
    "answer": "GRU or LSTM, for your own data: plan, tune, compare, time and report within the hours that you give",
    "train": "train one cell on one task, or a sweep of them, and write the runs to MLflow",
    "plan": "what train would do with the same arguments: what is done, how long the rest takes, how many workers",
    "data": "look at a task's data: what it is, and what a trivial guess and a bag of words score on it",
    "report": "turn an experiment's runs into a report: pages, figures, tables and results.csv",
    "time": "time cells and backends against each other: ratios with interval, noise floor and kernel",
    "probe": "measure how far back a kept model can see, and add that to its run",
    "predict": "let a kept model answer new data: labels, tags, translations, perplexity",
    "sample": "let a kept language model write text",
    "export": "write a kept model for ONNX Runtime or torch, with the proof that it is the same",
    "ui": "open the MLflow UI on the runs",
    "doctor": "check versions, devices, threads, kernels and the store before anything runs",
}


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
    if arguments[0] in words.COMPLETION:
        return complete(arguments[1:])
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"gru-bench: {verb}: no such verb; valid: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if lacking():
        how = "pip install 'gru-bench[bench]'"
        print(f"gru-bench {verb}: the harness is not installed here (no {lacking()}): {how}", file=sys.stderr)
        return 2
    if verb == "ui":
        from gru_bench.commands.ui import ui

        return ui(rest)
    if any(argument in ("-h", "--help") for argument in rest):
        from gru_bench.commands.help import help_text
        from gru_bench.config.check import conf_dir

        print(help_text(verb, words.folders(rest, conf_dir())))
        return 0
    if verb == "answer":
        from gru_bench.commands.answer import answer

        return answer(rest)
    return run_hydra(verb, rest)


def lacking() -> str:
    """What stands for the extra ``bench`` and is not installed; empty where all of it is there."""
    return ", ".join(name for name in ("hydra", "mlflow", "datasets", "pandas") if find_spec(name) is None)


def usage() -> str:
    """What ``gru-bench --help`` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        ["usage: gru-bench VERB [key=value ...]", "", *lines, "", "gru-bench VERB --help lists its keys and choices."]
    )


def complete(asked: list[str]) -> int:
    """What a shell asks for with ``gru-bench -sc``: the script to install, or how a command line may go on.

    Args:
        asked: ``install=bash``, ``uninstall=bash``, or ``query=bash`` with what is typed in ``COMP_LINE``.
    """
    typed = os.environ.get("COMP_LINE", "").split()
    if asked != ["query=bash"]:
        return run_hydra("train", ["-sc", *asked])
    if len(typed) < 2 or (len(typed) == 2 and not os.environ["COMP_LINE"].endswith(" ")):
        print(" ".join(verb for verb in VERBS if verb.startswith("".join(typed[1:]))))
        return 0
    verb = typed[1]
    if verb not in VERBS or verb == "ui":
        return 0
    os.environ["COMP_LINE"] = os.environ["COMP_LINE"].replace(f" {verb}", "", 1)  # Hydra knows a command, not its verb
    return run_hydra(verb, ["-sc", "query=bash"])


def run_hydra(
    verb: str,
    arguments: list[str],
    instead: "Callable[[DictConfig, Launch], int] | None" = None,
    ended: "Callable[[Launch], None] | None" = None,
) -> int:
    """Run a verb as a Hydra application over ``conf/VERB.yaml``; print bad input in a line or two.

    Args:
        verb: Any but ``ui``.
        arguments: What follows it.
        instead: Of a verb that composes ``conf/train.yaml``: what is done with the config in place of training.
        ended: Called with what a sweep has come to, before it is closed; not where it was cut short.

    Returns:
        The exit code.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions reach us instead of Hydra's own printing and exit
    asked = any(argument.startswith(("--info", "-i", "hydra.verbose=")) for argument in arguments)
    # it logs what it also raises; but --info is shown through its log
    logging.getLogger("hydra").setLevel(logging.NOTSET if asked else logging.CRITICAL)

    from gru_bench.commands import messages
    from gru_bench.config.check import conf_dir
    from gru_bench.run.launch import launching

    signals.forget()
    task = load(verb)
    if verb != "train":  # which does so itself, once there is something to close
        raise_on_signals()
    try:
        if verb == "plan":
            from gru_bench.commands.plan import PILOT_S, plan

            arguments, seconds = words.pilot_seconds(arguments, PILOT_S)
            instead = partial(plan, task, arguments, seconds)
        if verb == "report":
            arguments, task.function = report_mode(arguments, task.function)
        sources = words.folders(arguments, conf_dir())
        arguments = prepare(verb, arguments, sources)
    except UserError as error:
        print(messages.line(verb, error), file=sys.stderr)
        return 2
    code = 1
    with launching(look, reader(), instead) as launch:
        try:
            run_composed(verb, task, launch, arguments, conf_dir())
            code = task.code
            if ended is not None:
                ended(launch)
        except messages.BAD_INPUT as error:
            print(messages.line(verb, error), file=sys.stderr)
            code = 2
        except SystemExit as left:  # SIGTERM, or a sweep that was refused
            code = left.code if isinstance(left.code, int) else 1
        except KeyboardInterrupt:
            say(f"gru-bench {verb}: interrupted")
            code = INTERRUPTED_EXIT_CODE
        except Exception as error:
            if signals.received is not None:
                code = exit_code(signals.received)  # what it cut into took the interruption for an error of its own
            elif task.begun or launch.plan is not None:
                raise
            else:  # until then all that happened is that Hydra read what the user gave it
                print(messages.line(verb, messages.unread(error, sources, arguments)), file=sys.stderr)
                code = 2
        finally:
            with closing(code) if code in (INTERRUPTED_EXIT_CODE, SIGTERM_EXIT_CODE) else nullcontext():
                if launch.error is not None:
                    code = refuse_sweep(verb, launch.error)
                if launch.opened is not None or launch.ended or launch.nothing_left is not None:
                    from gru_bench.commands.train import close_sweep

                    code = close_sweep(launch, code)
    return code


def run_composed(verb: str, task: Any, launch: "Launch", arguments: list[str], conf: Path) -> None:
    """Let Hydra compose the config and call the task; a sweep's own keys reach its jobs alone.

    Raises:
        Exception: What is wrong with the arguments, or what the task raised.
    """
    import hydra
    from hydra.errors import ConfigCompositionException

    from gru_bench.commands import messages

    while True:
        # a shell completes the words of the command itself
        sys.argv = ["gru-bench" if words.COMPLETION & {*arguments} else f"gru-bench {verb}", *arguments]
        try:
            hydra.main(
                version_base="1.3", config_path=str(conf), config_name="train" if verb in words.TRAINS else verb
            )(task)()
            return
        except ConfigCompositionException as error:
            key = messages.unknown_key(error)
            sweeps = any(argument in words.SWEEPS or argument.startswith("experiment=") for argument in arguments)
            if verb not in words.TRAINS or not sweeps or key is None or task.begun or launch.plan is not None:
                raise
            moved = words.for_each_job(arguments, key)
            if moved == arguments:
                raise
            arguments, task.for_sweeps_alone = moved, task.for_sweeps_alone or error


def prepare(verb: str, arguments: list[str], sources: list[Path]) -> list[str]:
    """The arguments as Hydra takes them.

    Args:
        verb: Any but ``ui``.
        arguments: What follows it.
        sources: Folders of yaml files.

    Raises:
        UserError: A flag, a name or a word that is none.
    """
    for folder in sources[1:]:
        if not os.path.isdir(folder):  # unlike Path.is_dir, it takes a name that is too long for no folder
            raise UserError(f"--config-dir={folder}: no such folder")
    if verb == "report":
        arguments = words.select_by_name(arguments)
    if verb == "time":
        arguments = words.grid_by_name(arguments, sources)
    arguments = words.flags_first(verb, arguments)
    words.refuse_keyless(verb, arguments)
    words.refuse_nameless(arguments, sources)
    if verb == "report":
        arguments += words.section_overrides(sources)
    return words.verbose(arguments)


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


def refuse_sweep(verb: str, error: Exception) -> int:
    """Print why no sweep was opened or planned, and return the exit code."""
    from gru_bench.commands import messages

    if messages.is_bad_input(error):
        print(messages.line(verb, error), file=sys.stderr)
        return 2
    what = "opened" if verb == "train" else "planned"
    print(f"gru-bench {verb}: the sweep could not be {what}: {error!r}", file=sys.stderr)
    return 1


class Verb:
    """A verb as the object that Hydra calls: hydra.main returns nothing, so the exit code is kept here."""

    def __init__(self, name: str, function: Callable[[Any], int]) -> None:
        self.name, self.function = name, function
        self.begun = False
        self.code = 0  # stays 0 where Hydra never calls this, as for --cfg, or for jobs in other processes

    def __call__(self, config: Any) -> None:
        """Run the verb on its config; bad input is printed here, since Hydra would put a line of its own before it."""
        from hydra.core.hydra_config import HydraConfig

        from gru_bench.commands import messages
        from gru_bench.config.shape import check_shape

        self.begun = True
        try:
            check_shape(config, self.name, HydraConfig.get())
            self.code = self.function(config)
        except Exception as error:
            if not messages.is_bad_input(error):
                raise
            print(messages.line(self.name, error), file=sys.stderr)
            self.code = 2


def load(verb: str) -> Any:
    """What Hydra calls for a verb, with its exit code as ``code``; imported late, so that help and errors are quick."""
    if verb in words.TRAINS:
        from gru_bench.commands.train import Train

        return Train()
    return Verb(verb, getattr(import_module(f"gru_bench.commands.{verb}"), verb))


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
    while end < len(arguments) and not arguments[end].startswith("-") and not words.is_key(arguments[end]):
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
