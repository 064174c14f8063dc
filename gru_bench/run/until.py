"""A sweep that adds seeds, round by round, until every pair of rows is decided or it cannot go on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from gru_bench.config.running import Until
from gru_bench.errors import UserError
from gru_bench.run.board import PairBoard
from gru_bench.run.growing import Growing, Launched
from gru_bench.run.launch import Launch, Sweep
from gru_bench.run.plan import Choices, Plan, combination
from gru_bench.run.rounds import Limits, Looked, Pair, first_seeds, next_round
from gru_bench.statistics.looks import nominal_level, schedule
from gru_bench.store.write import Store


class Deciding(Growing):
    """What a call with ``until=decided`` does.

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

    keeps_first_round: ClassVar[bool] = True  # the experiment itself lists it

    def __init__(
        self, launch: Launch, plan: Plan, until: Until, store: Store, params: dict[str, str], workers: int
    ) -> None:
        super().__init__(launch, plan, store, params, workers, until.max_hours)
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
        self.tried: dict[Pair, set[int]] = {pair: set() for pair in self.pairs}

    def key(self, job: Choices) -> str:
        """The ``group_key`` of a job."""
        return self.plan.keys[combination(job)]

    def described(self, sweep: Sweep, jobs: list[Choices]) -> Sweep:
        return replace(sweep, looks=len(self.schedule))

    def run(self, launch_batch: Launched) -> list[Sequence[Any]]:
        """Look, launch a round, look again."""
        looked = self.look()
        self.launch.went_on = any(looked.seeds.get(self.key(job)) for job in self.plan.jobs)
        jobs = self.first_jobs(looked)
        all_returned = []
        with PairBoard(self.pairs, self.schedule, self.workers) as board:
            self.launch.board, board.tally = board, self.launch.tally
            while True:
                if jobs:
                    board.round(looked, len(jobs), self.seconds(jobs, looked), self.seconds_left())
                    started = time.monotonic()
                    returned, late = self.launch_round(jobs, launch_batch, quiet=board.live)
                    all_returned.append(returned)
                    self.take_back(late)
                    elapsed = time.monotonic() - started
                    looked = self.look()
                    self.keep_pace(sum(looked.seconds.get(self.key(job), 0.0) for job in jobs), elapsed)
                added, why = self.next_jobs(looked)
                board.look(looked, self.seconds_left())
                if why:
                    break
                jobs = added
        self.end(why)
        return all_returned

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

    def take_back(self, jobs: list[Choices]) -> None:
        """Forget that seeds were tried whose jobs were never begun, for want of time."""
        for job in jobs:
            for pair in self.pairs:
                if self.key(job) in (pair.first, pair.second):
                    self.tried[pair].discard(int(job["seed"]))

    def seconds(self, jobs: list[Choices], looked: Looked) -> float | None:
        """About how long a round will take; None where that is not known."""
        known = [looked.seconds[key] for key in map(self.key, jobs) if key in looked.seconds]
        if not known:
            return None
        return self.pace * sum(known) * len(jobs) / len(known) / self.workers
