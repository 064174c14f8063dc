"""A sweep that adds seeds, round by round, until every pair of rows is decided or it cannot go on."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gru_bench.config.check import Until
from gru_bench.errors import UserError
from gru_bench.run.board import Board
from gru_bench.run.launch import Launch, Opened, Sweep
from gru_bench.run.plan import Choices, Plan, as_overrides, combination, varied
from gru_bench.run.rounds import Limits, Looked, Pair, first_seeds, next_round
from gru_bench.statistics.looks import nominal_level, schedule
from gru_bench.store.write import Store

Launched = Callable[..., Sequence[Any]]
"""``launch`` of Hydra's launcher."""

HIGHEST_PACE = 3.0
"""A round is not expected to take longer than so many times what its runs add up to."""


class Deciding:
    """What a call with ``until=decided`` does; nothing is written before :meth:`run`.

    Args:
        launch: The call.
        plan: With the key of each combination.
        until: When it ends.
        store: Where its runs go.
        params: Facts of the parent run.
        workers: Runs at once.

    Raises:
        UserError: No pair of rows to decide between, or fewer seeds allowed than the experiment has.
    """

    def __init__(
        self, launch: Launch, plan: Plan, until: Until, store: Store, params: dict[str, str], workers: int
    ) -> None:
        self.launch, self.plan, self.store, self.workers = launch, plan, store, workers
        self.pairs = plan.pairs()
        seeds: dict[str, set[int]] = {}
        for job in plan.jobs:
            seeds.setdefault(self.key(job), set()).add(int(job["seed"]))
        self.own = {pair: sorted(seeds[pair.first] & seeds[pair.second]) for pair in self.pairs}
        start = max(1, min(map(len, self.own.values())))
        if until.max_seeds < start:
            raise UserError(f"max_seeds={until.max_seeds}: the sweep lists {start} seeds; valid: at least {start}")
        self.schedule = schedule(start, until.max_seeds)
        try:
            nominal_level(0.05, len(self.schedule))
        except UserError as error:
            raise UserError(f"max_seeds={until.max_seeds}: {error}; valid: fewer seeds") from error
        self.params = params | {"looks_at": ", ".join(map(str, self.schedule))}
        self.max_hours = until.max_hours
        self.deadline = None if until.max_hours is None else time.time() + 3600 * until.max_hours
        self.tried: dict[Pair, set[int]] = {pair: set() for pair in self.pairs}
        self.planned: list[Choices] = []
        self.launched, self.round, self.pace = 0, 0, 1.0

    def key(self, job: Choices) -> str:
        """The ``group_key`` of a job."""
        return self.plan.keys[combination(job)]

    def run(self, launch_batch: Launched) -> list[Sequence[Any]]:
        """Look, launch a round, look again; ends by itself, and the launch keeps why."""
        looked = self.look()
        self.launch.went_on = any(looked.seeds.get(self.key(job)) for job in self.plan.jobs)
        jobs = self.first_jobs(looked)
        returned = []
        with Board(self.pairs, self.schedule, self.workers) as board:
            while True:
                if jobs:
                    board.round(looked, len(jobs), self.seconds(jobs, looked), self.seconds_left())
                    started = time.monotonic()
                    returned.append(self.launch_round(jobs, launch_batch, board))
                    elapsed = time.monotonic() - started
                    looked = self.look()
                    self.keep_pace(jobs, looked, elapsed)
                added, why = self.next_jobs(looked)
                board.look(looked, self.seconds_left())
                if why:
                    break
                jobs = added
        self.launch.ended = why
        if self.launch.opened is not None:
            self.store.end_sweep_because(self.launch.opened.sweep_id, why)
        return returned

    def look(self) -> Looked:
        """The results now."""
        assert self.launch.look is not None
        return self.launch.look(self.store.uri, self.plan.experiment, len(self.schedule))

    def first_jobs(self, looked: Looked) -> list[Choices]:
        """What must have run before the first look of this call, without what has finished."""
        for pair in self.pairs:
            self.tried[pair].update(first_seeds(pair, self.own[pair], looked, self.schedule))
        listed = {(self.key(job), int(job["seed"])) for job in self.plan.jobs}
        added = {pair: [s for s in sorted(seeds) if s not in self.own[pair]] for pair, seeds in self.tried.items()}
        jobs = self.plan.jobs + [
            job for job in self.jobs_of(added, looked) if (self.key(job), int(job["seed"])) not in listed
        ]
        return [job for job in jobs if int(job["seed"]) not in looked.seeds.get(self.key(job), ())]

    def next_jobs(self, looked: Looked) -> tuple[list[Choices], str]:
        """The jobs of the next round, or none and why the sweep ends."""
        limits = Limits(self.schedule, self.seconds_left(), self.workers, self.pace, self.max_hours)
        found = next_round(self.pairs, looked, self.tried, limits)
        for pair, seeds in found.added.items():
            self.tried[pair].update(seeds)
        return self.jobs_of(found.added, looked), found.why

    def jobs_of(self, added: Mapping[Pair, list[int]], looked: Looked) -> list[Choices]:
        """A job for each cell and new seed that has not finished: seed by seed, the long ones first."""
        choices = {key: dict(pairs) for pairs, key in self.plan.keys.items()}
        found = [
            (position, choices[key] | {"seed": str(seed)})
            for pair, seeds in added.items()
            for position, seed in enumerate(seeds)
            for key in (pair.first, pair.second)
            if seed not in looked.seeds.get(key, ())
        ]
        found.sort(key=lambda job: (job[0], -looked.seconds.get(self.key(job[1]), 0.0)))
        return [job for _, job in found]

    def launch_round(self, jobs: list[Choices], launch_batch: Launched, board: Board) -> Sequence[Any]:
        """Launch jobs as the next round of the parent run, which is opened with the first one."""
        self.round += 1
        numbered = self.plan.numbered(jobs, self.launched)
        self.planned += numbered
        if self.launch.opened is None:
            sweep_id = self.store.open_sweep(self.plan.experiment, self.planned, self.params)
            self.launch.opened = Opened(self.store, sweep_id, self.plan.experiment)
        else:
            self.store.extend_sweep(self.launch.opened.sweep_id, self.planned)
        self.launch.hand_over(
            Sweep(
                self.launch.opened.sweep_id,
                self.launched + len(jobs),
                varied(self.plan.jobs),
                looks=len(self.schedule),
                round=self.round,
                deadline=self.deadline,
                quiet=board.live,
            )
        )
        returned = launch_batch([as_overrides(job) for job in jobs], initial_job_idx=self.launched)
        self.launched += len(jobs)
        began = [job.return_value for job in returned]  # raises what a job raised
        self.take_back([job for job, did in zip(jobs, began, strict=True) if not did])
        if self.round > 1 and not all(began):  # what the experiment itself lists stays in the plan, and is missing
            late = {job["job"] for job, did in zip(numbered, began, strict=True) if not did}
            self.planned = [job for job in self.planned if job["job"] not in late]
            self.store.extend_sweep(self.launch.opened.sweep_id, self.planned)
        return returned

    def take_back(self, jobs: list[Choices]) -> None:
        """Forget that seeds were tried whose jobs were never begun, for want of time."""
        for job in jobs:
            for pair in self.pairs:
                if self.key(job) in (pair.first, pair.second):
                    self.tried[pair].discard(int(job["seed"]))

    def keep_pace(self, jobs: list[Choices], looked: Looked, elapsed: float) -> None:
        """Note how much longer the last round took than its runs add up to: starts, cores that had nothing to do."""
        total = sum(looked.seconds.get(self.key(job), 0.0) for job in jobs) / self.workers
        if total > 0:
            self.pace = min(max(1.0, elapsed / total), HIGHEST_PACE)

    def seconds(self, jobs: list[Choices], looked: Looked) -> float | None:
        """About how long a round will take; None where that is not known."""
        known = [looked.seconds[key] for key in map(self.key, jobs) if key in looked.seconds]
        if not known:
            return None
        return self.pace * sum(known) * len(jobs) / len(known) / self.workers

    def seconds_left(self) -> float | None:
        """Until no run is started any more."""
        return None if self.deadline is None else self.deadline - time.time()
