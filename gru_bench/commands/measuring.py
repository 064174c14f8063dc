"""Pair after pair: from the store where it was timed before, else timed and stored at once."""

import hashlib
import json
import os
import sys
import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import torch

import gru_bench
from gru_bench.backends.native.build import CannotBuild, build_id
from gru_bench.commands import time_table
from gru_bench.commands.time_tasks import Models
from gru_bench.errors import UserError
from gru_bench.measure.environment import OTHERS_ABOVE, cores_used_by_others, environment, git_state, machine_id
from gru_bench.run.timed import ArmJob, PairJob, in_own_process
from gru_bench.run.timing_plan import Asked, hidden_sizes
from gru_bench.store.source import open_source
from gru_bench.store.timings import key_of, read_timings, store_timing
from gru_bench.store.write import Store
from gru_bench.timing.instrument import CAPS
from gru_bench.timing.pairs import Arm, Pair, best_pairs, pairs
from gru_bench.timing.subjects import Shape
from gru_bench.timing.worker import Outcome

Facts = dict[str, Any]

LOOK_S = 1.0
"""How long a look at the load is."""
PAUSE_S = 5.0
"""Between two of them."""
CODE = (
    "backends",
    "cells",
    "data",
    "losses.py",
    "measure",
    "metrics.py",
    "models",
    "run",
    "statistics",
    "tasks",
    "timing",
    "training",
)
"""Whatever a timing can depend on, in this package."""
NOT_CONFIG = ("seed", "tracking", "device")
"""Parts of a run's config that a timing does not depend on, or that it keeps as a fact of its own."""
SEEN = ("rounds", "repeated", "warm", "others_cores", "steal_percent", "mhz_low", "mhz_high")
"""What is kept of a timing that a busy machine spoiled."""


class Busy(UserError):
    """Others use the machine, and it was not forced."""


@dataclass
class Measuring:
    """One call of the verb: what it is asked for, and what it has found.

    Attributes:
        asked: Checked.
        store: Open.
        experiment: Where the timings belong.
        refused: Why some cells are not timed on some backends, by cell and backend.
        look: Cores that others use, over a look at the machine of so many seconds.
        timed: Measures a pair.
        counted: How many pairs ended how.
        known: Timings that need not be repeated.
        peaks: The machine's best product by threads, device and type, once it is known.
        residents: Resident sets that are known.
        width: Of the first column that is printed.
    """

    asked: Asked
    store: Store
    experiment: str
    refused: Mapping[tuple[str, str], str]
    look: Callable[[float], float] = field(default_factory=lambda: cores_used_by_others)
    timed: Callable[[PairJob], Outcome] = field(default_factory=lambda: in_own_process)
    counted: dict[str, int] = field(default_factory=dict)
    known: dict[tuple[str, ...], Facts] = field(default_factory=dict)
    peaks: dict[tuple[int, str, str], float] = field(default_factory=dict)
    residents: dict[str, float | None] = field(default_factory=dict)
    width: int = time_table.SITUATION

    def __post_init__(self) -> None:
        commit, dirty = git_state(Path(gru_bench.__file__).parent)
        self.common: Facts = {
            "machine": machine_id(),
            "torch": torch.__version__,
            "git_commit": commit,
            "dirty": dirty,
            "code": code_digest(),
        }
        self.environment = environment()
        if not self.asked.keys.again:
            self.known = self.kept()

    def kept(self) -> dict[tuple[str, ...], Facts]:
        """Timings of this experiment that need not be repeated: finished here, with this code, and as long as asked."""
        source, keys = open_source(self.store.uri), self.asked.keys
        rows = read_timings(source, source.experiments(), self.experiment)
        same = ("machine", "torch", "code")
        return {
            key_of(row): row
            for row in rows
            if row["status"] == "finished"
            and row["forced"] is not True
            and row["rounds"] >= keys.rounds
            and row["seconds"] >= keys.seconds
            and all(row[name] == self.common[name] for name in same)
        }

    def layers(self) -> None:
        """All situations, shapes and pairs of layers alone, and the best of each shape.

        Raises:
            Busy: The machine stays busy.
            UserError: No pair can be timed.
        """
        cells, backends = ([one.name for one in some] for some in (self.asked.cells, self.asked.backends))
        self.check_some(
            self.reason(situation, shape, *pair)
            for situation, shape in self.asked.sizes
            for pair in pairs(cells, backends)
        )
        print(time_table.heading(self.width), flush=True)
        nodes = {one.name: one.node for one in (*self.asked.cells, *self.asked.backends)}
        for situation, shape in self.asked.sizes:
            sizes = hidden_sizes(self.asked, shape)

            def arm(of: Arm, sizes: Mapping[str, int] = sizes) -> ArmJob:
                both = {"cell": nodes[of.cell], "backend": nodes[of.backend]}
                return ArmJob(cell=of.cell, backend=of.backend, hidden_size=sizes[of.cell], nodes=both)

            measured: dict[Pair, Facts] = {}
            # the best are known only when the others are measured
            for pair in chain(pairs(cells, backends), lazily(best_pairs, cells, backends, measured)):
                job = self.job(situation, shape, arm(pair[0]), arm(pair[1]))
                measured[pair] = self.one(job, situation, self.asked.budget.name)

    def models(self, found: Sequence[Models]) -> None:
        """The models of tasks, in all situations that say something of them; otherwise as :meth:`layers`."""
        cells = [one.name for one in self.asked.cells]
        situations = {name: made for name, (_, made) in self.asked.situations.items() if made.of_models}
        self.check_some(
            self.reason(name, one.shape, *pair) for one in found for name in situations for pair in one.pairs(cells)
        )
        self.width = time_table.SITUATION + max(len(one.task) for one in found)
        print(time_table.heading(self.width), flush=True)
        for models in found:
            for situation, made in situations.items():
                own = [(models.shape.steps, models.shape.batch)]
                for T, B in made.sizes(None, None) if situation == "stream" else own:
                    shape = replace(models.shape, steps=T, batch=B)
                    for first, second in models.pairs(cells):
                        job = self.job(situation, shape, models.arms[first], models.arms[second])
                        job = replace(job, task=models.task, device=models.device, dtype=models.dtype)
                        self.one(job, situation, models.budget)

    def reason(self, situation: str, shape: Shape, first: Arm | ArmJob, second: Arm | ArmJob) -> str | None:
        """Why a pair cannot be timed; None where nothing is known against it."""
        found = [self.refused.get((arm.cell, arm.backend)) for arm in (first, second)]
        found.append(self.asked.situations[situation][1].refusal(bidirectional=shape.bidirectional))
        return next(filter(None, found), None)

    def check_some(self, reasons: Iterable[str | None]) -> None:
        """Refuse to begin where nothing can be timed.

        Raises:
            UserError: With the first of the reasons.
        """
        found = list(reasons)
        if found and found[0] is not None and all(found):
            raise UserError(found[0])

    def job(self, situation: str, shape: Shape, first: ArmJob, second: ArmJob) -> PairJob:
        """What a process is to be told."""
        keys = self.asked.keys
        return PairJob(
            situation=self.asked.situations[situation][0],
            task="",
            first=first,
            second=second,
            shape=shape,
            device=keys.device,
            dtype=keys.dtype,
            rounds=keys.rounds,
            seconds=keys.seconds,
            block_ms=keys.block_ms,
        )

    def one(self, job: PairJob, situation: str, budget: str) -> Facts:
        """Measure one pair, store it and print its line; or take it from the store."""
        facts: Facts = self.common | {"situation": situation, "task": job.task, "budget": budget}
        facts |= job.shape.facts() | {"device": job.device, "dtype": job.dtype}
        for prefix, arm in (("first_", job.first), ("second_", job.second)):
            facts |= {f"{prefix}{name}": getattr(arm, name) for name in ("cell", "backend", "hidden_size")}
        facts |= {"config": config_digest(job), "seconds": job.seconds}
        known = self.known.get(key_of(facts))
        if known is None:
            outcome, forced = self.outcome(job, situation)
            facts |= {"status": outcome.status, "error": outcome.error, "forced": forced}
            facts |= outcome.facts | {"measured_at": datetime.now(UTC).isoformat(timespec="seconds")}
            store_timing(self.store, self.experiment, facts, outcome.samples, outcome.latencies, self.environment)
        else:
            facts = known
        ended = "timed before" if known is not None else "timed" if facts["status"] == "finished" else facts["status"]
        self.counted[ended] = self.counted.get(ended, 0) + 1
        print(time_table.line(facts, self.width), flush=True)
        return facts

    def outcome(self, job: PairJob, situation: str) -> tuple[Outcome, bool]:
        """What a pair gives, and whether it was measured on a busy machine on demand."""
        reason = self.reason(situation, job.shape, job.first, job.second)
        if reason is not None:
            return Outcome("unsupported", reason), False
        force, computes = self.asked.keys.force, (job.shape.threads, job.device, job.dtype)
        job = replace(job, peak_gflops=self.peaks.get(computes))
        forced = self.wait_until_quiet()
        outcome = self.timed(job)
        if outcome.busy and not force:
            self.wait_until_quiet()
            outcome = self.timed(job)
            if outcome.busy:
                error = "the machine was busy while it was timed, twice; force=true keeps that, and calls no winner"
                seen = {name: outcome.facts[name] for name in SEEN if name in outcome.facts}
                return replace(outcome, status="failed", error=error, facts=seen), False
        if outcome.peak_gflops is not None:
            self.peaks[computes] = outcome.peak_gflops
        if self.asked.keys.resident and outcome.status == "finished":
            for prefix, arm in (("first_", job.first), ("second_", job.second)):
                outcome.facts[f"{prefix}resident_mib"] = self.resident(replace(job, first=arm, resident=True))
        return outcome, forced or outcome.busy

    def resident(self, job: PairJob) -> float | None:
        """Resident set of a process that runs the job's first arm alone, measured once."""
        key = repr((job.situation, job.task, job.shape, job.first))
        if key not in self.residents:
            self.residents[key] = self.timed(job).facts.get("resident_mib")
        return self.residents[key]

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
                raise Busy(
                    f"others use {others:.1f} cores of this machine, for {waited:.0f} s now; done so far: "
                    f"{self.summary()}; the same command goes on from there; valid: wait=SECONDS for longer, or "
                    "force=true to time all the same and mark it"
                )
            if not told:
                told = True
                tell(f"gru-bench time waits: others use {others:.1f} cores of this machine")
            pause = min(PAUSE_S, max(keys.wait - waited, 0.1))
            clock.sleep(pause)
            waited += LOOK_S + pause
        return False

    def summary(self) -> str:
        """How many pairs ended how."""
        return ", ".join(f"{number} {what}" for what, number in self.counted.items()) or "nothing"


def tell(text: str) -> None:
    """A line on the error stream, at once."""
    print(text, file=sys.stderr, flush=True)


def lazily(make: Callable[..., Iterator[Pair]], *arguments: Any) -> Iterator[Pair]:
    """What a function gives, called only when the first of it is asked for, and then as a whole."""
    yield from list(make(*arguments))


def config_digest(job: PairJob) -> str:
    """A digest of the yaml that a timing is made from, whatever its files are called."""
    nodes = [arm.nodes for arm in (job.first, job.second)]
    configs = [{key: value for key, value in node.items() if key not in NOT_CONFIG} for node in nodes]
    return hashlib.sha256(json.dumps([job.situation, *configs], sort_keys=True).encode()).hexdigest()[:16]


def code_digest() -> str:
    """A digest of all code that a timing can depend on, of its compiler, and of what caps torch's instructions."""
    package = Path(gru_bench.__file__).parent
    files = sorted(file for part in CODE for file in [package / part, *(package / part).rglob("*")])
    sha = hashlib.sha256()
    for file in files:
        if file.suffix in (".py", ".cpp", ".h"):
            text = file.read_bytes()
            sha.update(f"{file.relative_to(package).as_posix()} {len(text)} ".encode() + text)
    try:
        compiled = build_id()
    except CannotBuild:
        compiled = ""
    sha.update(json.dumps([compiled, *(os.environ.get(name) for name in CAPS)]).encode())
    return sha.hexdigest()[:16]
