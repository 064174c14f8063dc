"""``gru-bench train``: one run, or one job of a sweep. Wiring only."""

import sys
import traceback

from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.errors import UserError
from gru_bench.run.job import request
from gru_bench.run.launch import Launch, Sweep
from gru_bench.run.train import train
from gru_bench.store.connect import absolute_uri, without_password
from gru_bench.store.signals import SIGTERM_EXIT_CODE, raise_on_signals


class Train:
    """What Hydra calls for each job; a launcher may send it to another process first.

    Attributes:
        sweep: Set by the sweep's callback, in the job's process, before each job; None for a single run.
        code: Exit code of a single run. That of a sweep comes from the store when the sweep is closed: its jobs may
            run in other processes.
    """

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.code = 0  # stays 0 where Hydra never calls this, as for --cfg, or for jobs in other processes

    def __call__(self, config: DictConfig) -> None:
        """Run one job and print how it ended; never raises for a failed run, so that a sweep goes on."""
        raise_on_signals()  # workers of a parallel launcher are processes of their own
        asked = request(config, self.sweep)
        try:
            print(f"{asked.label}: {train(asked, lambda text: complain(f'{asked.label}: {text}'))}", flush=True)
            code = 0
        except UserError as error:
            complain(messages.line("train", error) if asked.alone else f"{asked.label}: {error}")
            code = 2
        except Exception as error:
            if not isinstance(error, messages.FAILED_RUN):
                traceback.print_exc()
            complain(f"{asked.label}: failed: {type(error).__name__}: {error}")
            code = 1
        self.code = 0 if asked.sweep is not None else code


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
    if sweep is None:
        return code
    stopped = {130: "interrupted", SIGTERM_EXIT_CODE: "SIGTERM"}.get(code)
    counts = sweep.close(lost=stopped and f"{stopped}: the whole sweep was ended")
    listed = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"sweep {sweep.experiment}: {listed or 'no runs'}")
    where = "" if sweep.store.uri == absolute_uri(None) else f" tracking.uri={without_password(sweep.store.uri)}"
    print(f"its report: gru-bench report sweep={sweep.sweep_id}{where}")
    if counts["missing"] or counts["killed"]:
        print(
            "to go on: the same command runs all of its jobs again; "
            f"gru-bench report experiment={sweep.experiment}{where} then takes the latest finished run of each"
        )
    sys.stdout.flush()
    bad = sum(number for status, number in counts.items() if status != "finished")
    return code or (1 if bad else 0)
