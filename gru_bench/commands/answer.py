"""``gru-bench answer``: GRU or LSTM for one's own data, by the other commands one after the other.

Wiring only: a plan, a sweep ``until=tried``, a sweep ``until=decided``, ``gru-bench time`` and ``gru-bench report``,
all of one experiment. What is done stands in the store, so the same command goes on wherever it was ended.
"""

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gru_bench.answer.asked import Asked, ask
from gru_bench.answer.record import Chosen
from gru_bench.answer.sizing import REPORT_S, timing_s
from gru_bench.commands import arguments as words
from gru_bench.commands import cli, messages
from gru_bench.errors import UserError
from gru_bench.store.signals import INTERRUPTED_EXIT_CODE, SIGTERM_EXIT_CODE

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gru_bench.commands.answer_plan import Question
    from gru_bench.run.launch import Launch
    from gru_bench.run.searching import Row, Searching

STOPPED = (INTERRUPTED_EXIT_CODE, SIGTERM_EXIT_CODE)
FIRST_ALONE = "hydra.sweeper.seeds=1"
"""Of the seeds that are compared, the sweep of the trials runs one. The others belong to the sweep that looks at them:
its runs keep how many looks there may be, by which a report corrects its thresholds."""
QUIET_S = 30.0
"""How long a machine that others use is waited for at least, before speed is left out."""


def answer(arguments: list[str]) -> int:
    """Do all of it and print the answer.

    Returns:
        The exit code: 0; 1 where runs failed, which the answer is printed with; 2 for bad input; 130 interrupted.
    """
    started = time.time()
    found: list[Question] = []
    try:
        asked = taken(arguments)
    except messages.BAD_INPUT as error:
        print(messages.line("answer", error), file=sys.stderr)
        return 2

    def instead(config: "DictConfig", _: "Launch") -> int:
        from gru_bench.commands.answer_plan import look_at  # torch, which bad input is spared

        return look_at(asked, started, found, config)

    code = cli.run_hydra("answer", [*asked.flags, *asked.question, *asked.carried], instead)
    if code or not found:
        return code
    call = Call(found[0])
    try:
        code = call.steps()
    except (KeyboardInterrupt, SystemExit) as left:
        code = left.code if isinstance(left, SystemExit) and isinstance(left.code, int) else INTERRUPTED_EXIT_CODE
    if code in STOPPED:
        print(f"gru-bench answer: to go on: the same command, or {call.by_hand()}", file=sys.stderr, flush=True)
    return code


def taken(arguments: list[str]) -> Asked:
    """The command line, taken apart.

    Raises:
        UserError: A flag, a key or a value that does not fit.
    """
    ordered = words.flags_first("answer", arguments)
    words.refuse_keyless("answer", ordered)
    end = 0
    while end < len(ordered) and ordered[end].startswith("-"):
        end += 2 if ordered[end] in words.WITH_VALUE else 1
    flags = ordered[:end]
    if sweeps := words.SWEEPS & set(flags):
        raise UserError(
            f"{min(sweeps)}: gru-bench answer asks one question; valid: cells=[lstm,gru,...] for more cells"
        )
    return ask(flags, ordered[end:])


@dataclass
class Call:
    """What a call does once there is a plan.

    Attributes:
        question: With the plan.
        missing: What the answer lacks, a line each.
    """

    question: "Question"
    missing: list[str] = field(default_factory=list)

    def steps(self) -> int:
        """Tune, compare, time, report, answer. Returns the exit code."""
        question = self.question
        size = question.record.size
        assert size is not None
        if size.rates > 1 and self.untried():
            self.say("learning rates")
            code = self.train("until=tried", self.keep_chosen, self.trials(), FIRST_ALONE)
            if code > 1:
                return code
        if size.rates > 1 and self.untried():
            self.missing.append("the trials of learning rates are not finished, so nothing is compared yet")
        else:
            self.say("seeds")
            code = self.train("until=decided", None, f"max_seeds={max(size.seeds, question.asked.keys.max_seeds)}")
            if code > 1:
                return code
        if question.record.rates and size.rates == 1:
            self.missing.append("no learning rates were tried on this data, for want of time")
        if size.timed:
            self.say("speed")
            code = self.time()
            if code in STOPPED:
                return code
        else:
            self.missing.append(f"speed was not timed, for want of time; later: {self.timing()}")
        self.say("report")
        code = self.report()
        if code:
            return code
        from gru_bench.commands.answer_told import tell  # what a report needs, which nothing before did

        return 1 if tell(question, self.missing, self.by_hand()) else 0

    def untried(self) -> list[str]:
        """The cells whose trials have not ended."""
        return [cell for cell in self.question.asked.keys.cells if cell not in self.question.record.chosen]

    def say(self, step: str) -> None:
        """Which step begins."""
        print(f"\n{self.question.record.name}: {step}", flush=True)

    def trials(self) -> str:
        """What the trials are, as the sweeper takes it."""
        record = self.question.record
        return f"hydra.sweeper.trials={{rates: {record.rates}, seeds: {record.trial_seeds}}}"

    def experiment(self) -> list[str]:
        """The experiment, as ``gru-bench train`` takes it."""
        question = self.question
        chosen = f"experiment={question.record.name}"
        flags = question.asked.flags
        if any(flag.partition("=")[0] in ("--config-dir", "-cd") for flag in flags):  # Hydra takes one such folder
            return [*flags, chosen, f"hydra.searchpath=[{words.in_quotes(question.folder.as_uri())}]"]
        return [*flags, "--config-dir", str(question.folder), chosen]

    def by_hand(self) -> str:
        """The command that adds seeds to what is there."""
        tracking = self.question.asked.tracking
        return shlex.join(["gru-bench", "train", *self.experiment(), "until=decided", *tracking])

    def train(self, until: str, ended: "Callable[[Launch], None] | None", *what: str) -> int:
        """One sweep, as long as there is time. Returns its exit code."""
        record = self.question.record
        hours = max(1.0, self.question.seconds_left - self.later_s()) / 3600
        launcher = []
        if record.workers > 1:
            launcher = ["hydra/launcher=workers", f"hydra.launcher.n_jobs={record.workers}"]
        arguments = [*self.experiment(), until, *what, f"max_hours={hours:.4g}", *launcher]
        return cli.run_hydra("train", [*arguments, *self.question.asked.carried], ended=ended)

    def later_s(self) -> float:
        """Seconds that are kept for what comes after the sweeps."""
        size = self.question.record.size
        return REPORT_S + (timing_s(size, len(self.question.asked.keys.cells)) if size else 0.0)

    def keep_chosen(self, launch: "Launch") -> None:
        """Keep what the trials chose, if they have come to an end."""
        from gru_bench.run.searching import Searching

        if isinstance(launch.growing, Searching):
            sign = 1 if self.question.metric.higher_is_better else -1
            if chosen := chosen_of(launch.growing, sign):
                record = self.question.record
                self.question.keep(replace(record, chosen=record.chosen | chosen))

    def time(self) -> int:
        """Time the models of the experiment. Returns the exit code."""
        question = self.question
        wait = max(QUIET_S, question.seconds_left / 4)
        arguments = [*self.timed(), f"wait={wait:.0f}", "resident=false"]
        code = cli.run_hydra("time", [*question.asked.flags, *arguments])
        if code == 2:
            self.missing.append(f"speed was not timed in full, as said above; later: {self.timing()}")
        return code

    def timed(self) -> list[str]:
        """What is timed, as ``gru-bench time`` takes it."""
        asked = self.question.asked
        return [f"experiment={self.question.record.name}", f"cells=[{','.join(asked.keys.cells)}]", *asked.tracking]

    def timing(self) -> str:
        """The command that times the models."""
        return shlex.join(["gru-bench", "time", *self.timed()])

    def report(self) -> int:
        """Write the report. Returns the exit code."""
        asked, name = self.question.asked, self.question.record.name
        output = [] if asked.keys.output is None else [f"output={words.in_quotes(asked.keys.output)}"]
        return cli.run_hydra("report", [*asked.flags, f"experiment={name}", *output, *asked.tracking])


def chosen_of(searching: "Searching", sign: int) -> dict[str, Chosen]:
    """What the trials of each cell gave; nothing unless all of them have ended.

    Args:
        searching: The sweep.
        sign: 1 where a higher score is better, else -1.
    """
    found: dict[str, Chosen] = {}
    for row, standing in zip(searching.rows, searching.look(), strict=True):
        scores = scores_of(searching, row, sign)
        if scores is None:
            return {}
        found[row.chosen["cell"]] = Chosen(standing.found.visits[-1].rate, scores, settings_of(row))
    return found


def scores_of(searching: "Searching", row: "Row", sign: int) -> list[float | None] | None:
    """The mean validation score of each rate, None where a run of it failed; None where one has not ended."""
    from gru_bench.run.search import FAILED, Wanted
    from gru_bench.store.schema import TRIAL

    scores: list[float | None] = []
    for rate in row.design.rates:
        went = [searching.known(row, Wanted(None, rate, seed, TRIAL)) for seed in row.design.trial_seeds]
        ended = [attempt for attempt in went if attempt is not None]
        if len(ended) < len(went):
            return None
        whole = all(attempt != FAILED for attempt in ended)
        scores.append(sign * sum(attempt.score for attempt in ended) / len(ended) if whole else None)
    return scores


def settings_of(row: "Row") -> str:
    """The digest of what a row's best rate depends on."""
    from gru_bench.config.check import check

    _, node = check(row.config, row.chosen["cell"])
    return str(node["tuning"]["tuning_key"])
