"""A sweep that searches, for all of its rows at once: for each the best learning rate, or the longest lag it solves."""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from gru_bench.config.check import check
from gru_bench.config.keys import run_keys
from gru_bench.config.running import Until
from gru_bench.config.search import Horizon, Trials, check_search
from gru_bench.errors import UserError
from gru_bench.run.build import make_task
from gru_bench.run.growing import Growing, Launched
from gru_bench.run.launch import Launch, Sweep
from gru_bench.run.plan import Choices, Plan, as_overrides, by_combination, combination, varied
from gru_bench.run.search import FAILED, Attempt, Design, Wanted, Went, search
from gru_bench.run.search_board import SearchBoard, Standing, horizon_text
from gru_bench.store.write import Store

RATE = "trainer.learning_rate"


@dataclass(frozen=True)
class Row:
    """What one search is about.

    Attributes:
        name: What tells it from the other rows.
        choices: The overrides of its jobs, without seed, rate and lag.
        design: What is tried.
        config: As composed for it, without Hydra's own part.
        chosen: The choice in each config group.
        key: That of the lag; nothing without lags.
    """

    name: str
    choices: Choices
    design: Design
    config: DictConfig
    chosen: dict[str, str]
    key: str = ""
    _keys: dict[tuple[int | None, float], str] = field(default_factory=dict)

    @property
    def ceiling(self) -> float:
        """The score from which a run counts as solved."""
        return float(self.config.task.goal.ceiling)

    def lag_value(self, lag: int) -> int | list[int]:
        """A lag as its key takes it."""
        return [lag] if isinstance(OmegaConf.select(self.config, self.key), ListConfig) else lag

    def values(self, lag: int | None, rate: float) -> dict[str, Any]:
        """The keys that a job sets besides its row's own."""
        return ({} if lag is None else {self.key: self.lag_value(lag)}) | {RATE: rate}

    def job(self, wanted: Wanted) -> Choices:
        """The overrides of a job."""
        values = {key: str(value).replace(" ", "") for key, value in self.values(wanted.lag, wanted.rate).items()}
        return self.choices | values | {"seed": str(wanted.seed)}

    def group_key(self, lag: int | None, rate: float) -> str:
        """The ``group_key`` of such runs.

        Raises:
            UserError: The lag or the rate does not fit.
        """
        if (lag, rate) not in self._keys:
            config = copy.deepcopy(self.config)
            for key, value in self.values(lag, rate).items():
                OmegaConf.update(config, key, value, merge=False)
            _, node = check(config, self.chosen["cell"])
            self._keys[lag, rate] = run_keys(node, self.chosen, make_task(node).source_id())[1]
        return self._keys[lag, rate]


def make_rows(config: DictConfig, plan: Plan, trials: Trials, horizon: Horizon | None) -> list[Row]:
    """One row for each combination that the sweep lists, composed and checked.

    Args:
        config: As composed for the whole sweep.
        plan: Of the sweep.
        trials: What each row tries first.
        horizon: Over which lags, if any.

    Raises:
        UserError: A value does not fit, or the sweep itself lists what the search is to choose.
    """
    kind = "tried" if horizon is None else "horizon"
    taken = {RATE: "trials.rates"} | ({} if horizon is None else {horizon.key: "horizon.lags"})
    for key, instead in taken.items():
        if any(key == name.lstrip("+") for job in plan.jobs for name in job):
            raise UserError(f"{key}: until={kind} sets it, from hydra.sweeper.{instead}; valid: leave it out")
    seeds: dict[Any, list[int]] = {}
    for job in plan.jobs:
        seeds.setdefault(combination(job), []).append(int(job.get("seed", config.seed)))
    rows = []
    apart = varied(plan.jobs) | {"cell", "task"}
    jobs = by_combination(plan.jobs)
    for job in jobs:
        own = tuple(sorted(seeds[combination(job)]))
        if common := set(own) & set(trials.seeds):
            raise UserError(
                f"hydra.sweeper.trials.seeds: {min(common)} is a seed of the sweep itself; valid: others, such as 100"
            )
        choices = {key: value for key, value in job.items() if key != "seed"}
        composed = GlobalHydra.instance().config_loader().load_sweep_config(config, as_overrides(choices))
        chosen = {key: str(value) for key, value in composed.hydra.runtime.choices.items() if value is not None}
        lags, share = ((), 1.0) if horizon is None else (tuple(horizon.lags), horizon.share)
        design = Design(tuple(map(float, trials.rates)), tuple(trials.seeds), own, lags, share)
        own_part = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        differing = [k for k in choices if k in apart and len({other.get(k) for other in jobs}) > 1]
        name = " ".join(choices[key] for key in differing) or chosen["cell"]
        row = Row(name, choices, design, own_part, chosen, horizon.key if horizon else "")
        if horizon is not None and OmegaConf.select(own_part, horizon.key) is None:
            raise UserError(f"hydra.sweeper.horizon.key={horizon.key}: task={chosen['task']} has no such key")
        for lag in (lags[0], lags[-1]) if lags else (None,):
            row.group_key(lag, design.rates[0])
        rows.append(row)
    return rows


class Searching(Growing):
    """What a call with ``until=tried`` or ``until=horizon`` does.

    Args:
        config: As composed for the whole sweep.
        launch: The call.
        plan: Of the sweep.
        until: When it ends.
        store: Where its runs go.
        params: Facts of the parent run.
        workers: Runs at once.

    Raises:
        UserError: A value does not fit.
    """

    keeps_first_round: ClassVar[bool] = False

    def __init__(
        self,
        config: DictConfig,
        launch: Launch,
        plan: Plan,
        until: Until,
        store: Store,
        params: dict[str, str],
        workers: int,
    ) -> None:
        super().__init__(launch, plan, store, params, workers, until.max_hours)
        trials, self.horizon = check_search(config.hydra.sweeper, until)
        self.rows = make_rows(config, plan, trials, self.horizon)
        self.num_tried = (len(trials.rates), len(trials.seeds))
        self.went: Went = {}
        self.began: set[tuple[str, int]] = set()
        self.roles: dict[int, str] = {}
        self.num_seeds: dict[int, int] = {}

    @property
    def varied(self) -> frozenset[str]:
        return super().varied | {RATE} | ({self.horizon.key} if self.horizon else set())

    def described(self, sweep: Sweep, jobs: list[Choices]) -> Sweep:
        if self.horizon is None:
            return replace(sweep, roles=self.roles, tried=self.num_tried)
        return replace(
            sweep,
            roles=self.roles,
            tried=self.num_tried,
            searched=self.num_seeds,
            share=self.horizon.share,
            search_key=self.horizon.key,
        )

    def run(self, launch_batch: Launched) -> list[Sequence[Any]]:
        """See what is known, launch what each row needs next, look again."""
        self.went = self.read()
        standings = self.look()
        self.launch.went_on = any(standing.num_known for standing in standings)
        all_returned = []
        with SearchBoard(self.horizon is not None) as board:
            self.launch.board, board.tally = board, self.launch.tally
            if not any(standing.wanted for standing in standings):
                board.look(standings, self.seconds_left())
            while wanted := self.in_order(standings):
                left = self.seconds_left()
                if left is not None and left <= 0:
                    break
                board.round(standings, len(wanted), self.seconds(wanted, standings), left)
                all_returned.append(self.launch_wanted(wanted, launch_batch, quiet=board.live))
                standings = self.look()
                board.look(standings, self.seconds_left())
        self.end(self.why(standings))
        return all_returned

    def launch_wanted(self, wanted: list[tuple[Row, Wanted]], launch_batch: Launched, *, quiet: bool) -> Sequence[Any]:
        """One round; what was begun is not run again by this call, however it went."""
        jobs = [row.job(run) for row, run in wanted]
        self.roles = {number: run.role for number, (_, run) in enumerate(wanted, self.launched) if run.role}
        self.num_seeds = {number: len(row.design.seeds) for number, (row, _) in enumerate(wanted, self.launched)}
        started = time.monotonic()
        returned, late = self.launch_round(jobs, launch_batch, quiet=quiet)
        elapsed = time.monotonic() - started
        began = [pair for pair, job in zip(wanted, jobs, strict=True) if job not in late]
        self.began |= {(row.group_key(run.lag, run.rate), run.seed) for row, run in began}
        self.went = self.read()
        if began and not self.began & self.went.keys():
            raise RuntimeError(f"none of the {len(self.began)} runs is in the store under the key that it was to have")
        took = [attempt.seconds for row, run in began if (attempt := self.known(row, run))]
        self.keep_pace(sum(seconds for seconds in took if seconds == seconds), elapsed)
        return returned

    def read(self) -> Went:
        """The runs that have ended."""
        assert self.launch.read is not None
        return self.launch.read(self.store.uri, self.plan.experiment)

    def look(self) -> list[Standing]:
        """How each row stands, by what was last read."""
        return [self.standing(row) for row in self.rows]

    def standing(self, row: Row) -> Standing:
        """How one row stands."""
        known: list[Attempt] = []
        refused: list[str] = []

        def of_run(wanted: Wanted) -> Attempt | None:
            attempt = self.known(row, wanted)
            stored = self.went.get((row.group_key(wanted.lag, wanted.rate), wanted.seed))
            if stored is not None and stored.status == "unsupported":
                refused.append(stored.error)
            if attempt is not None:
                known.append(attempt)
            return attempt

        found = search(row.design, of_run)
        seconds = [attempt.seconds for attempt in known if attempt.seconds == attempt.seconds]
        mean = sum(seconds) / len(seconds) if seconds else math.nan
        return Standing(row.name, row.design, found, len(known), mean, refused[0] if refused else "")

    def known(self, row: Row, wanted: Wanted) -> Attempt | None:
        """How a run went.

        One that failed, other than by diverging, is tried again by the next call; one that was to reach another ceiling
        does not count, since it may have ended there.
        """
        key = (row.group_key(wanted.lag, wanted.rate), wanted.seed)
        stored = self.went.get(key)
        if key in self.began:
            return FAILED if stored is None else stored.attempt
        if stored is None or stored.ceiling != row.ceiling or (stored.status == "failed" and stored.error):
            return None
        return stored.attempt

    def in_order(self, standings: list[Standing]) -> list[tuple[Row, Wanted]]:
        """What all rows need next, the longest runs first: so the last ones of a round end at about the same time."""
        found = [
            (row, run, standing) for row, standing in zip(self.rows, standings, strict=True) for run in standing.wanted
        ]
        found.sort(key=lambda one: (-(one[1].lag or 0), -one[2].seconds if one[2].seconds > 0 else 0.0))
        return [(row, run) for row, run, _ in found]

    def seconds(self, wanted: list[tuple[Row, Wanted]], standings: list[Standing]) -> float | None:
        """About how long a round will take; None where that is not known."""
        by_row = {row.name: standing.seconds for row, standing in zip(self.rows, standings, strict=True)}
        known = [seconds for row, _ in wanted if (seconds := by_row[row.name]) > 0]
        return self.pace * sum(known) * len(wanted) / len(known) / self.workers if known else None

    def why(self, standings: list[Standing]) -> str:
        """Why the sweep ends, and what it found."""
        unfinished = [standing for standing in standings if standing.wanted]
        if self.horizon is not None:
            found = "; ".join(f"{standing.name} {horizon_text(standing)}" for standing in standings)
            ended = f"longest {self.horizon.key} solved: {found}"
        else:
            ended = f"{len(standings) - len(unfinished)} of {len(standings)} rows have their rate and their seeds"
        if failed := sum(
            self.went[key].status == "failed" and bool(self.went[key].error) for key in self.began & self.went.keys()
        ):
            runs = "1 run failed and counts" if failed == 1 else f"{failed} runs failed and count"
            ended += f" ({runs} as not solved until the same command is run again)"
        if not unfinished:
            return ended
        open_rows = f"{len(unfinished)} of {len(standings)} rows unfinished"
        return f"max_hours={self.max_hours:g} is over with {open_rows}, and the same command goes on; {ended}"
