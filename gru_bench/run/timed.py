"""The process in which one pair is timed: ``python -m gru_bench.run.timed JOB.json RESULT.json``.

Fresh for each pair: what earlier pairs left in caches, in allocators or in the state of a library changes no figure.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from gru_bench.config.check import Node, Settings, construct
from gru_bench.measure.threads import resolve_threads
from gru_bench.run import build
from gru_bench.run.timed_model import TaskModel
from gru_bench.timing.instrument import settle
from gru_bench.timing.rounds import Plan
from gru_bench.timing.situations.base import Situation
from gru_bench.timing.subjects import Layers, Shape, Subject, Where
from gru_bench.timing.watch import Look, MachineWatch
from gru_bench.timing.worker import Build, Outcome, outcome_of, resident_bytes, time_pair

SHORTEST_WARM_UP_S, LONGEST_WARM_UP_S = 5.0, 10.0
"""Limits of the longest warm-up; it ends as soon as times have settled."""
WITHIN_S = 1800
"""Longest time that a pair may take: then it hangs."""


@dataclass(frozen=True, kw_only=True)
class ArmJob:
    """One arm: names, size, and what to build it from.

    Attributes:
        cell: Name of its yaml.
        backend: Likewise.
        hidden_size: After the budget.
        nodes: Of layers alone the checked nodes ``cell`` and ``backend``; of a model the ``config.yaml`` of its run.
    """

    cell: str
    backend: str
    hidden_size: int
    nodes: Node


@dataclass(frozen=True, kw_only=True)
class PairJob:
    """All that the process must know.

    Attributes:
        situation: Its checked node.
        task: Name of the task whose whole model is timed; empty for layers alone.
        first: The first arm.
        second: The second.
        shape: Sizes, and the number of threads.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        dtype: As in a training config.
        rounds: Fewest rounds.
        seconds: Least time of the rounds.
        block_ms: Least time of a block.
        resident: Instead of all that, the resident set of a process that runs the first arm alone.
        peak_gflops: The machine's best product, where it is known.
        seed: Of the order of the blocks.
    """

    situation: Node
    task: str
    first: ArmJob
    second: ArmJob
    shape: Shape
    device: str
    dtype: Literal["float32", "float64", "bfloat16"]
    rounds: int
    seconds: float
    block_ms: float = 10.0
    resident: bool = False
    peak_gflops: float | None = None
    seed: int = 0

    @classmethod
    def of(cls, node: Node) -> "PairJob":
        """From what :func:`json.loads` gives."""
        arms = {name: ArmJob(**node[name]) for name in ("first", "second")}
        return cls(**(node | arms | {"shape": Shape(**node["shape"])}))


def in_own_process(job: PairJob) -> Outcome:
    """Run a pair in a process of its own and wait for it. Whatever goes wrong there is in the outcome."""
    with tempfile.TemporaryDirectory(prefix="gru_bench_time_") as folder:
        asked, given = Path(folder, "job.json"), Path(folder, "result.json")
        asked.write_text(json.dumps(asdict(job)), encoding="utf-8")
        # the very modules that this process would import, whatever put them on its path
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "gru_bench.run.timed", str(asked), str(given)],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome("failed", f"not done after {WITHIN_S} s")
        if done.returncode != 0 or not given.is_file():
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no message"]
            return Outcome("failed", f"its process ended with {done.returncode}: {last[0].strip()}")
        result: Mapping[str, Any] = json.loads(given.read_text(encoding="utf-8"))
        return Outcome(**result)


class Attended(MachineWatch):
    """The machine's watch, which ends this process when the one that started it is gone: its lane is free then.

    Args:
        device: Where the work runs.
        parent: The process that started this one.
    """

    def __init__(self, device: torch.device, parent: int) -> None:
        super().__init__(device)
        self.parent = parent

    def look(self) -> Look:
        if os.getppid() != self.parent:  # on Windows it stays the same
            raise SystemExit("nobody waits for this timing any more")
        return super().look()


def run(job: PairJob, parent: int) -> Outcome:
    """Settle the instrument, then time the pair in this process, for as long as its parent lives."""
    threads = resolve_threads(job.shape.threads, 1)
    instrument = settle(threads)
    settings = Settings(
        seed=0,
        hidden_size=job.shape.hidden_size,
        num_layers=job.shape.num_layers,
        device=job.device,
        dtype=job.dtype,
        threads=threads,
    )
    place = build.make_place(settings)
    where = Where(place.device, place.parameters, place.autocast)
    situation: Situation = construct(job.situation)
    first, second = ((arm.cell, arm.backend, builder(arm, job, where)) for arm in (job.first, job.second))
    if job.resident:
        return Outcome(facts={"resident_mib": resident_bytes(situation, first[2]) / 2**20})
    warm_up_s = min(LONGEST_WARM_UP_S, max(SHORTEST_WARM_UP_S, 2 * job.seconds))
    plan = Plan(rounds=job.rounds, seconds=job.seconds, block_s=job.block_ms / 1000, warm_up_s=warm_up_s)
    watch = Attended(place.device, parent)
    outcome = time_pair(situation, first, second, plan, peak_gflops=job.peak_gflops, seed=job.seed, watch=watch)
    outcome.facts["instrument"] = instrument
    return outcome


def builder(arm: ArmJob, job: PairJob, where: Where) -> Build:
    """What makes the arm's subject."""

    def layers() -> Subject:
        make_cell = build.make_cell(arm.nodes)
        return Layers(make_cell, construct(arm.nodes["backend"]), arm.hidden_size, job.shape, where)

    def model() -> Subject:
        return TaskModel(arm.nodes, arm.hidden_size, job.shape.batch)

    return model if job.task else layers


def main() -> None:
    """Read the job, run it, write the result."""
    parent = os.getppid()
    asked, given = map(Path, sys.argv[1:])
    job = PairJob.of(json.loads(asked.read_text(encoding="utf-8")))
    outcome = outcome_of(lambda: run(job, parent))
    given.write_text(json.dumps(asdict(outcome)), encoding="utf-8")


if __name__ == "__main__":
    main()
