"""``gru-bench train``: one run, or one job of a sweep. Wiring only."""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.config.shape import check_shape
from gru_bench.errors import Unsupported, is_out_of_memory
from gru_bench.redact import printing
from gru_bench.run.launch import Launch, Sweep
from gru_bench.store import signals
from gru_bench.store.connect import absolute_uri, without_password
from gru_bench.store.ending import how_it_ended
from gru_bench.store.signals import SIGTERM_EXIT_CODE, TimedOut, raise_on_signals

if TYPE_CHECKING:
    from gru_bench.run.job import Request


class Train:
    """What Hydra calls for each job; a launcher may send it to another process first.

    Attributes:
        sweep: Set by the sweep's callback, in the job's process, before each job; None for a single run.
        begun: Whether a job was.
        for_sweeps_alone: Why keys were given to the jobs of a sweep alone: without a sweep, the error that it was.
        error: That nobody reads any more what is printed; raised where Hydra does not put a line before it.
        code: Exit code of a single run. That of a sweep comes from the store when the sweep is closed: its jobs may
            run in other processes.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.begun = False
        self.for_sweeps_alone: Exception | None = None
        self.error: Exception | None = None
        self.code = 0  # stays 0 where Hydra never calls this, as for --cfg, or for jobs in other processes

    @printing()  # once more for the workers of a launcher
    def __call__(self, config: DictConfig) -> str:
        """Run one job and print how it ended; never raises for a failed run, so that a sweep goes on.

        Returns:
            How it ended, in a word; nothing where it was not begun, since the sweep's time was over.

        Raises:
            KeyboardInterrupt: Also before a job of a sweep that is to begin none any more.
        """
        self.begin()
        asked = self.asked(config)
        if isinstance(asked, str):
            return asked
        from gru_bench.run.train import train

        return self.ended(asked, lambda: train(asked, partial(remark, asked)))

    @printing()
    def together(self, jobs: Sequence[Callable[[], DictConfig]]) -> list[str]:
        """As a call for each of several jobs of a sweep that differ in the seed alone, which run at once.

        Args:
            jobs: Each composes its config.

        Returns:
            How each ended, as a call says it.
        """
        self.begin()
        from gru_bench.run.batch import Batch

        said = [""] * len(jobs)

        def opening(number: int) -> "Request | None":
            asked = self.asked(jobs[number]())
            if not isinstance(asked, str):
                return asked
            said[number] = asked
            return None

        found = Batch(remark).run([partial(opening, number) for number in range(len(jobs))])
        for number, one in enumerate(found):
            if one is not None:
                said[number] = self.ended(one.asked, partial(given, one.how))
        return said

    def begin(self) -> None:
        """Before a job."""
        self.begun = True
        if self.sweep is not None:
            raise_on_signals()  # workers of a parallel launcher are processes of their own
        if signals.finishing:
            raise KeyboardInterrupt

    def asked(self, config: DictConfig) -> "Request | str":
        """What the job is to be; or how it ended, where it is not to begin."""
        from gru_bench.run.job import request  # torch: a sweep with nothing left to do never gets here

        try:
            check_shape(config, "train", HydraConfig.get())
            if self.for_sweeps_alone is not None and HydraConfig.get().mode != RunMode.MULTIRUN:
                raise self.for_sweeps_alone
        except messages.BAD_INPUT as error:
            complain(messages.line("train", error))
            self.code = 2
            return "failed"
        asked = request(config, self.sweep)
        if self.sweep is not None and self.sweep.deadline is not None and time.time() > self.sweep.deadline:
            return ""
        return asked

    def ended(self, asked: "Request", run: Callable[[], str]) -> str:
        """Say how a job has ended; in a word."""
        code, how = 0, "finished"
        try:
            line = run()
            if self.sweep is None or not self.sweep.quiet:
                print(f"{asked.label}: {line}", flush=True)
        except BrokenPipeError as error:  # whatever read the line has ended; that is no failure of the run
            self.error = error
        except TimedOut as error:
            complain(f"{asked.label}: killed: {error.reason}")
            code, how = 1, "killed"
        except Exception as error:
            if messages.is_bad_input(error):
                text = messages.explain(error)
                complain(f"gru-bench train: {text}" if asked.alone else f"{asked.label}: {text}")
                self.code = 0 if asked.sweep is not None else 2
                return "unsupported" if isinstance(error, Unsupported) else "failed"
            if not isinstance(error, messages.FAILED_RUN) and not is_out_of_memory(error):
                traceback.print_exc()
            complain(f"{asked.label}: failed: {how_it_ended(error)[2]}")
            code, how = 1, "failed"
        self.code = 0 if asked.sweep is not None else code
        return how


def given(how: str | BaseException) -> str:
    """How a run of several has ended, as if it ended now.

    Raises:
        BaseException: What it ended with.
    """
    if isinstance(how, BaseException):
        raise how
    return how


def remark(asked: "Request", text: str) -> None:
    """A line about a job."""
    complain(f"{asked.label}: {text}")


def complain(text: str) -> None:
    """A line on the error stream, at once."""
    print(text, file=sys.stderr, flush=True)


def close_sweep(launch: Launch, code: int) -> int:
    """Close the sweep that this process launched, if any, and print how it ended and how to go on.

    Args:
        launch: What the callback recorded.
        code: Exit code so far.

    Returns:
        The exit code: 1 where a job did not finish.
    """
    sweep, launch.opened = launch.opened, None
    if launch.nothing_left is not None:
        print_report(*launch.nothing_left)
        return code
    if launch.ended and launch.plan is not None:
        print(f"sweep {launch.plan.experiment} ended: {launch.ended}")
    if sweep is None:
        if launch.growing is not None and launch.went_on:
            print_report(launch.growing.store.uri, f"experiment={launch.growing.plan.experiment}")
        return code
    from gru_bench.store.left import number_kept
    from gru_bench.store.line import StoreAway  # pandas and more: a sweep with nothing left to do never gets here
    from gru_bench.store.spool import spool_folder

    stopped = {130: "interrupted", SIGTERM_EXIT_CODE: "SIGTERM"}.get(code)
    try:
        counts = sweep.close(lost=stopped and f"{stopped}: the whole sweep was ended")
    except StoreAway as error:
        kept = number_kept(sweep.store.uri)
        complain(
            f"sweep {sweep.experiment}: the store does not answer ({error}); {kept} of its runs are kept in "
            f"{spool_folder(sweep.store.uri)}: the next gru-bench train{where(sweep.store.uri)} delivers them"
        )
        return code or 1
    listed = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"sweep {sweep.experiment} ({sweep.sweep_id}): {listed or 'no runs'}")
    uri = sweep.store.uri
    print_report(uri, f"experiment={sweep.experiment}" if launch.went_on else f"sweep={sweep.sweep_id}")
    if counts["missing"] or counts["killed"] or (launch.growing is not None and not launch.ended):
        print("to go on: the same command goes on where this one ended; runs that have finished are kept")
    sys.stdout.flush()
    bad = sum(number for status, number in counts.items() if status != "finished")
    return code or (1 if bad else 0)


def print_report(uri: str, selected: str) -> None:
    """The command that makes the report; the store is a part of it where it is not the default one."""
    print(f"its report: gru-bench report {selected}{where(uri)}", flush=True)


def where(uri: str) -> str:
    """The store as a key of a command; nothing for the default one."""
    return "" if uri == absolute_uri(None) else f" tracking.uri={without_password(uri)}"
