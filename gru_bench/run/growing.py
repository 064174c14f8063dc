"""A sweep whose jobs are not all known beforehand: rounds of jobs, each of which extends the plan of one parent run."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from gru_bench.run.launch import Launch, Opened, Sweep
from gru_bench.run.plan import Choices, Plan, as_overrides, varied
from gru_bench.store.write import Store

Launched = Callable[..., Sequence[Any]]
"""``launch`` of Hydra's launcher."""

HIGHEST_PACE = 3.0
"""A round is not expected to take longer than so many times what its runs add up to."""


class Growing(ABC):
    """What a call with ``until`` does; nothing is written before :meth:`run`.

    Args:
        launch: The call.
        plan: Of the sweep.
        store: Where its runs go.
        params: Facts of the parent run.
        workers: Runs at once.
        max_hours: After which no run is started; None for no limit.

    Attributes:
        sweep_key: By which a second call of the same command finds the parent run, and does not begin.
    """

    keeps_first_round: ClassVar[bool]
    """Whether jobs of the first round that were never begun stay in the plan, and are missing."""

    def __init__(
        self,
        launch: Launch,
        plan: Plan,
        store: Store,
        params: dict[str, str],
        workers: int,
        max_hours: float | None,
    ) -> None:
        self.launch, self.plan, self.store, self.params, self.workers = launch, plan, store, params, workers
        self.max_hours, self.sweep_key = max_hours, ""
        self.deadline = None if max_hours is None else time.time() + 3600 * max_hours
        self.planned: list[Choices] = []
        self.launched, self.round, self.pace = 0, 0, 1.0

    @abstractmethod
    def run(self, launch_batch: Launched) -> list[Sequence[Any]]:
        """Launch round after round; ends by itself, and the launch keeps why."""

    @abstractmethod
    def described(self, sweep: Sweep, jobs: list[Choices]) -> Sweep:
        """A round's sweep with what its jobs are to know besides."""

    @property
    def varied(self) -> frozenset[str]:
        """The keys that vary besides cell, task and seed."""
        return varied(self.plan.jobs)

    def launch_round(
        self, jobs: list[Choices], launch_batch: Launched, *, quiet: bool
    ) -> tuple[Sequence[Any], list[Choices]]:
        """Launch jobs as the next round of the parent run, which is opened with the first one.

        Returns:
            What the launcher returned, and the jobs that were never begun, for want of time.
        """
        self.round += 1
        numbered = self.plan.numbered(jobs, self.launched)
        self.planned += numbered
        if self.launch.opened is None:
            sweep_id = self.store.open_sweep(self.plan.experiment, self.planned, self.params, key=self.sweep_key)
            self.launch.opened = Opened(self.store, sweep_id, self.plan.experiment)
        else:
            self.store.extend_sweep(self.launch.opened.sweep_id, self.planned)
        sweep = Sweep(
            self.launch.opened.sweep_id,
            self.launched + len(jobs),
            self.varied,
            round=self.round,
            deadline=self.deadline,
            quiet=quiet,
        )
        self.launch.hand_over(self.described(sweep, jobs))
        self.launch.tally.expect(self.launched, jobs, self.varied, self.workers)
        returned = launch_batch(
            [[*as_overrides(job), *self.launch.carried] for job in jobs], initial_job_idx=self.launched
        )
        self.launched += len(jobs)
        began = [job.return_value for job in returned]  # raises what a job raised
        if not all(began) and not (self.round == 1 and self.keeps_first_round):
            late = {job["job"] for job, did in zip(numbered, began, strict=True) if not did}
            self.planned = [job for job in self.planned if job["job"] not in late]
            self.store.extend_sweep(self.launch.opened.sweep_id, self.planned)
        return returned, [job for job, did in zip(jobs, began, strict=True) if not did]

    def end(self, why: str) -> None:
        """Keep why it ended."""
        self.launch.ended = why
        if self.launch.opened is not None:
            self.store.end_sweep_because(self.launch.opened.sweep_id, why)

    def keep_pace(self, seconds: float, elapsed: float) -> None:
        """Note how much longer a round took than its runs add up to: starts, cores that had nothing to do."""
        if seconds > 0:
            self.pace = min(max(1.0, elapsed / (seconds / self.workers)), HIGHEST_PACE)

    def seconds_left(self) -> float | None:
        """Until no run is started any more."""
        return None if self.deadline is None else self.deadline - time.time()
