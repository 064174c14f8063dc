"""``gru-bench time``: cells and backends against each other, pair by pair, each stored as soon as it is measured."""

import hashlib
import sys
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import gru_bench
from gru_bench.commands import messages, time_table
from gru_bench.commands.train import where
from gru_bench.config.check import check_arguments, check_node, conf_dir, construct, to_node
from gru_bench.errors import UserError
from gru_bench.measure import lanes
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, environment, git_state, machine_id
from gru_bench.run.timed import ArmJob, PairJob, in_own_process
from gru_bench.run.timing_plan import Asked, ask, hidden_sizes, refusals
from gru_bench.store.source import open_source
from gru_bench.store.timings import TIMINGS, key_of, latest_timings, store_timing
from gru_bench.store.write import Store
from gru_bench.timing.pairs import Arm, Pair, best_pairs, pairs
from gru_bench.timing.subjects import Shape
from gru_bench.timing.worker import Outcome

Facts = dict[str, Any]

LOOK_S = 1.0
"""How long a look at the load is."""
CODE = ("backends", "cells", "models", "measure", "timing", "tasks", "training", "data", "losses.py", "statistics")
"""Whatever a timing can depend on, in this package."""


@dataclass(frozen=True, kw_only=True)
class Select:
    """Of which experiment the tasks are timed."""

    experiment: str | int | None


class Busy(UserError):
    """Others use the machine, and it was not forced."""


def time(config: DictConfig) -> int:
    """Time what was asked for and print a line for each pair. Returns the exit code: 0, 1 where a pair failed, or 2."""
    try:
        return measure(config)
    except messages.BAD_INPUT as error:  # printed here, since Hydra would put a line of its own before it
        print(messages.line("time", error), file=sys.stderr)
        return 2


def measure(config: DictConfig) -> int:
    """Check, then wait for the machine, then measure."""
    node = to_node(config)
    hydra = HydraConfig.get()
    choices = {key: str(value) for key, value in hydra.runtime.choices.items() if value is not None}
    folders = [Path(one.path) for one in hydra.runtime.config_sources if one.schema == "file"] or [conf_dir()]
    check_arguments(Select, node["select"], "select.", "gru-bench time")
    check_node(node["tracking"], "tracking")
    given = [text.lstrip("+").partition("=")[0] for text in hydra.overrides.task]
    asked = ask(node, choices["budget"], folders, given)
    store: Store = construct(node["tracking"])
    store.open()
    experiment = choices.get("grid") or TIMINGS
    run = Measuring(asked, store, experiment, refusals(asked))
    with lanes.alone("gru-bench time", tell):
        run.all()
    print(f"{run.summary()}; stored in experiment {experiment}: gru-bench report experiment={experiment}{where(store)}")
    return 1 if run.failed else 0


def tell(text: str) -> None:
    """A line on the error stream, at once."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Measuring:
    """One call of the verb: what it is asked for, and what it has found.

    Attributes:
        asked: Checked.
        store: Open.
        experiment: Where the timings belong.
        refused: Reasons by cell and backend.
        look: Cores that others use, over a look at the machine.
        timed: Measures a pair.
    """

    asked: Asked
    store: Store
    experiment: str
    refused: dict[tuple[str, str], str]
    look: Callable[[float], float] = cores_used_by_others
    timed: Callable[[PairJob], Outcome] = in_own_process
    failed: int = 0
    finished: int = 0
    unsupported: int = 0
    reused: int = 0
    known: dict[tuple[str, ...], Facts] = field(default_factory=dict)
    peaks: dict[int, float | None] = field(default_factory=dict)
    residents: dict[tuple[str, Shape, str], float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        commit, dirty = git_state(Path(gru_bench.__file__).parent)
        self.common: Facts = {
            "machine": machine_id(),
            "device": self.asked.keys.device,
            "dtype": self.asked.keys.dtype,
            "torch": torch.__version__,
            "git_commit": commit,
            "dirty": dirty,
            "code": code_digest(),
        }
        self.environment = environment()

    def all(self) -> None:
        """All situations, shapes and pairs, and the best of each shape.

        Raises:
            UserError: The machine stays busy.
        """
        if not self.asked.keys.again:
            self.known = self.kept()
        print(time_table.heading(), flush=True)
        for situation, shape in self.asked.sizes:
            hidden = hidden_sizes(self.asked, shape)
            measured: dict[Pair, Facts] = {}
            cells, backends = ([one.name for one in some] for some in (self.asked.cells, self.asked.backends))
            # the best are known only when the others are measured
            for pair in chain(pairs(cells, backends), lazily(lambda: best_pairs(cells, backends, measured))):  # noqa: B023
                measured[pair] = self.one(situation, shape, hidden, pair)
                print(time_table.line(measured[pair]), flush=True)

    def kept(self) -> dict[tuple[str, ...], Facts]:
        """Timings of this experiment that need not be repeated: finished here, with this code."""
        source = open_source(self.store.uri)
        rows = latest_timings(source, source.experiments(), self.experiment)
        same = ("machine", "torch", "code")
        return {
            key_of(row): row
            for row in rows
            if row["status"] == "finished"
            and not row["forced"]
            and all(row[name] == self.common[name] for name in same)
        }

    def one(self, situation: str, shape: Shape, hidden: dict[str, int], pair: Pair) -> Facts:
        """Measure one pair and store it, or take it from the store."""
        facts: Facts = self.common | {"situation": situation, "task": "", "budget": self.asked.budget.name}
        facts |= shape.facts()
        for prefix, arm in zip(("first_", "second_"), pair, strict=True):
            facts |= {f"{prefix}cell": arm.cell, f"{prefix}backend": arm.backend}
            facts[f"{prefix}hidden_size"] = hidden[arm.cell]
        known = self.known.get(key_of(facts))
        if known is not None:
            self.reused += 1
            return known
        outcome, forced = self.outcome(situation, shape, hidden, pair)
        facts |= {"status": outcome.status, "error": outcome.error, "forced": forced}
        facts |= outcome.facts | {"measured_at": datetime.now(UTC).isoformat(timespec="seconds")}
        store_timing(self.store, self.experiment, facts, outcome.samples, outcome.latencies, self.environment)
        self.finished += outcome.status == "finished"
        self.failed += outcome.status == "failed"
        self.unsupported += outcome.status == "unsupported"
        return facts

    def outcome(self, situation: str, shape: Shape, hidden: dict[str, int], pair: Pair) -> tuple[Outcome, bool]:
        """What a pair gives, and whether it was measured on a busy machine on demand."""
        node, made = self.asked.situations[situation]
        reasons = [self.refused.get((arm.cell, arm.backend)) for arm in pair]
        reasons.append(made.refusal(bidirectional=shape.bidirectional))
        for reason in filter(None, reasons):
            return Outcome("unsupported", reason), False
        keys = self.asked.keys
        job = PairJob(
            situation=node,
            first=self.arm(pair[0], hidden),
            second=self.arm(pair[1], hidden),
            shape=shape,
            device=keys.device,
            dtype=keys.dtype,
            rounds=keys.rounds,
            seconds=keys.seconds,
            peak_gflops=self.peaks.get(shape.threads),
        )
        forced = self.wait_until_quiet()
        outcome = self.timed(job)
        if outcome.busy and not keys.force:
            self.wait_until_quiet()
            outcome = self.timed(job)
            if outcome.busy:
                return Outcome("failed", "the machine was busy while it was timed, twice; force=true keeps that"), False
        self.peaks.setdefault(shape.threads, outcome.peak_gflops)
        if keys.resident and outcome.status == "finished":
            for prefix, arm in (("first_", job.first), ("second_", job.second)):
                outcome.facts[f"{prefix}resident_mib"] = self.resident(
                    replace(job, first=arm, resident=True), situation
                )
        return outcome, forced or outcome.busy

    def resident(self, job: PairJob, situation: str) -> float | None:
        """Resident set of a process that runs the job's first arm alone, measured once."""
        key = (situation, job.shape, f"{job.first.cell} {job.first.backend}")
        if key not in self.residents:
            self.residents[key] = self.timed(job).facts.get("resident_mib")
        return self.residents[key]

    def arm(self, arm: Arm, hidden: dict[str, int]) -> ArmJob:
        """What the process needs to build an arm."""
        cell = next(one for one in self.asked.cells if one.name == arm.cell)
        backend = next(one for one in self.asked.backends if one.name == arm.backend)
        return ArmJob(
            cell=arm.cell,
            backend=arm.backend,
            hidden_size=hidden[arm.cell],
            cell_node=cell.node,
            backend_node=backend.node,
        )

    def wait_until_quiet(self) -> bool:
        """Wait until others leave the machine alone; returns whether they do not, and it is forced.

        Raises:
            Busy: They did not, within the time that ``wait`` allows.
        """
        keys, waited, told = self.asked.keys, 0.0, False
        while (others := self.look(LOOK_S)) > OTHERS_ABOVE:
            if keys.force:
                return True
            if waited >= keys.wait:
                done = self.finished + self.reused
                raise Busy(
                    f"others use {others:.1f} cores of this machine, for {waited:.0f} s now; {done} pairs are done, "
                    "the same command goes on from there; valid: force=true to time and mark it, a longer wait=SECONDS"
                )
            if not told:
                told = True
                tell(f"gru-bench time waits: others use {others:.1f} cores of this machine")
            pause = min(5.0, max(keys.wait - waited, 0.1))
            clock.sleep(pause)
            waited += LOOK_S + pause
        return False

    def summary(self) -> str:
        """How many pairs ended how."""
        numbers = {
            "timed": self.finished,
            "timed before": self.reused,
            "unsupported": self.unsupported,
            "failed": self.failed,
        }
        return ", ".join(f"{number} {what}" for what, number in numbers.items() if number) or "nothing timed"


def lazily(make: Callable[[], Iterator[Pair]]) -> Iterator[Pair]:
    """An iterator that is made when it is first asked."""
    yield from list(make())


def code_digest() -> str:
    """A digest of all code that a timing can depend on."""
    package = Path(gru_bench.__file__).parent
    files = sorted(file for part in CODE for file in [package / part, *(package / part).rglob("*")])
    sha = hashlib.sha256()
    for file in files:
        if file.suffix in (".py", ".cpp", ".h"):
            text = file.read_bytes()
            sha.update(f"{file.relative_to(package).as_posix()} {len(text)} ".encode() + text)
    return sha.hexdigest()[:16]
