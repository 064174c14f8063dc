"""What a sweep will run: its jobs in their order, how many seeds each cell gets, and what is checked beforehand."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gru_bench.config.annotations import adapter_of
from gru_bench.config.canonical import digest
from gru_bench.config.check import Node, Settings, check, first_line
from gru_bench.config.keys import CHOICES, decisive, run_keys
from gru_bench.config.running import SWEEP_KEYS
from gru_bench.config.shape import check_shape
from gru_bench.errors import UserError
from gru_bench.run.known import Known
from gru_bench.run.rounds import FIRST, SECOND, Pair

ADHOC = "adhoc"
"""Experiment of the runs that were started without a name."""

Choices = dict[str, str]
"""The overrides of one job, by key; a key has the sign in front, such as ``+``, that was given."""
Combination = frozenset[tuple[str, str]]
"""The overrides of a job without its seed."""

MANY = 30
"""Configs that take some seconds to compose."""
BAD_CONFIG = (UserError, HydraException, OmegaConfBaseException)
"""What a config raises that cannot be composed or does not fit."""

OWN_SWEEPER, BASIC_SWEEPER = ".RoundsSweeper", ".BasicSweeper"


@dataclass(frozen=True)
class Plan:
    """What a sweep will run.

    Attributes:
        jobs: In the order in which they are launched.
        shared: Choices of every job that has no other: cell, backend, task, budget and seed.
        keys: ``group_key`` of each combination; empty for a sweep that adds no seeds.
    """

    experiment: str
    jobs: list[Choices]
    shared: Choices
    keys: Mapping[Combination, str]

    def numbered(self, jobs: list[Choices], first: int = 0) -> list[Choices]:
        """The jobs as the sweep's parent run lists them: with their numbers, and with all of their choices."""
        named = [{key.lstrip("+"): value for key, value in job.items()} for job in jobs]
        return [{"job": str(number)} | self.shared | job for number, job in enumerate(named, first)]

    def pairs(self) -> list[Pair]:
        """The group keys of every two rows that differ in nothing but the cell, gru and lstm.

        Raises:
            UserError: There is none.
        """
        found = []
        for combination, key in self.keys.items():
            cell = dict(combination).get("cell")
            other = self.keys.get(combination - {("cell", FIRST)} | {("cell", SECOND)})
            if cell == FIRST and other is not None:
                found.append(Pair(key, other))
        if not found:
            raise UserError(
                f"until=decided: compares {FIRST} with {SECOND}, so the sweep needs both; valid: "
                f"cell={SECOND},{FIRST}, and further cells if you like, or until=null"
            )
        return found


def list_plan(config: DictConfig) -> Plan:
    """Plan a sweep without a look at the values that it takes.

    Raises:
        UserError: A sweeper that cannot be planned, or no job at all.
    """
    check_shape(config, "train")
    jobs, choices = planned_jobs(config), config.hydra.runtime.choices
    if not jobs:
        given = " ".join(config.hydra.overrides.task)
        raise UserError(f"-m {given}: lists no job; valid: at least one value for each key")
    shared = {key: str(choices[key]) for key in ("cell", "backend", "task", "budget")} | {"seed": str(config.seed)}
    return Plan(choices.get("experiment") or ADHOC, jobs, shared, {})


def make_plan(config: DictConfig, *, adds_seeds: bool) -> Plan:
    """Plan a sweep, and check every value that it takes.

    Args:
        config: As composed for the whole sweep.
        adds_seeds: Whether it goes on until it has decided: then every combination is composed and gets its key.

    Raises:
        UserError: A value that does not fit, or a sweeper that cannot be planned.
    """
    plan = list_plan(config)
    jobs, keys = plan.jobs, {}
    if adds_seeds:
        jobs = [job if "seed" in job else job | {"seed": str(config.seed)} for job in jobs]
        for job in jobs:
            if not job["seed"].isdecimal():
                check_job(config, job)
        keys = {combination(job): check_job(config, job) for job in by_combination(jobs)}
    else:
        check_values(config, jobs)
    return replace(plan, jobs=jobs, keys=keys)


def check_values(config: DictConfig, jobs: list[Choices]) -> None:
    """Compose and check a few jobs that have every value of the sweep among them.

    Raises:
        UserError: A value that does not fit.
    """
    several = {key for key in CHOICES if len({job.get(key) for job in jobs}) > 1}
    for job in covering(jobs):
        with in_job(job, several):
            check_job(config, job)


def check_folder(folder: str) -> None:
    """Make the folder in which Hydra notes its sweep: where it cannot be made, no sweep is opened.

    Raises:
        UserError: It cannot be made, or nothing can be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"hydra.sweep.dir={folder}: cannot be written to ({error.strerror}); choose another") from error


def as_overrides(job: Choices) -> list[str]:
    """As Hydra takes them."""
    return [f"{key}={value}" for key, value in job.items()]


def varied(jobs: list[Choices]) -> frozenset[str]:
    """The keys that vary between jobs besides cell, task and seed."""
    keys = {key for job in jobs for key in job} - {"cell", "task", "seed"}
    return frozenset(key for key in keys if len({job.get(key) for job in jobs}) > 1)


def combination(job: Choices) -> Combination:
    """A job's overrides without its seed."""
    return frozenset((key, value) for key, value in job.items() if key != "seed")


def by_combination(jobs: list[Choices]) -> list[Choices]:
    """The first job of each combination."""
    return list({combination(job): job for job in reversed(jobs)}.values())[::-1]


def planned_jobs(config: DictConfig) -> list[Choices]:
    """The overrides of each job, in the order in which they are numbered.

    Our own sweeper goes seed by seed, so that comparisons are complete early. Hydra's basic one has its own order.

    Raises:
        UserError: The sweep takes its experiments from a list, or its sweeper is neither ours nor Hydra's basic one.
    """
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith((OWN_SWEEPER, BASIC_SWEEPER)):
        raise UserError(
            f"hydra/sweeper={sweeper._target_}: only Hydra's basic sweeper and our own can be planned ahead; "
            "valid: rounds, basic"
        )
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    given = [o for o in parser.parse_overrides(list(config.hydra.overrides.task)) if o.key_or_group not in SWEEP_KEYS]
    params = parser.parse_overrides([f"{key}={value}" for key, value in (sweeper.params or {}).items()])
    if any(o.get_key_element() == "experiment" and o.is_sweep_override() for o in given):
        # Hydra would silently ignore the sweeps inside both files
        raise UserError("experiment: one at a time; each names a sweep of its own")
    if lists := [
        o.key_or_group
        for o in [*parser.parse_overrides(list(config.hydra.overrides.task)), *params]
        if o.is_sweep_override() and (o.key_or_group in SWEEP_KEYS or o.key_or_group.split(".")[0] == "tracking")
    ]:
        raise UserError(f"{lists[0]}: one value for the whole sweep")
    batch = sweeper.get("max_batch_size")
    if batch is not None and not (isinstance(batch, int) and batch > 0):
        raise UserError(f"hydra.sweeper.max_batch_size={batch}: must be a number of jobs, at least 1, or null for all")
    seeds = sweeper.get("seeds")
    if seeds is not None and any(override.key_or_group == "seed" for override in params):
        raise UserError("hydra.sweeper: has both params.seed, which seeds, and seeds, how many; valid: one of them")
    jobs = product([*params, *given])
    if seeds is not None and not any(override.key_or_group == "seed" for override in given):
        jobs = list(with_seeds(jobs, seeds, str(config.hydra.runtime.choices.cell)))
    return jobs if sweeper._target_.endswith(BASIC_SWEEPER) else seed_by_seed(jobs)


def product(overrides: list[Override]) -> list[Choices]:
    """Every combination of the values that the overrides list, as Hydra's basic sweeper has it.

    Raises:
        UserError: Values that cannot be listed.
    """
    try:
        batches = BasicSweeper.split_arguments(overrides, None)
    except ValueError as error:  # such as of range(0,3,0)
        raise UserError(f"-m {' '.join(str(o.input_line) for o in overrides)}: {first_line(error)}") from error
    return [dict(pair.split("=", 1) for pair in job) for batch in batches for job in batch]


def with_seeds(jobs: list[Choices], seeds: int | DictConfig, cell: str) -> Iterator[Choices]:
    """Each job once for every seed that its cell gets: 0, 1 ...

    Args:
        jobs: Without seeds.
        seeds: How many: one number, or a mapping by cell and ``default``.
        cell: The cell of a job that names none.

    Raises:
        UserError: Not a number of seeds, or none for one of the cells.
    """
    many = (
        {str(name): number for name, number in seeds.items()} if isinstance(seeds, DictConfig) else {"default": seeds}
    )
    for name, number in many.items():
        try:
            adapter_of(Annotated[int, Gt(0)]).validate_python(number, strict=True)
        except ValueError as error:
            where = "" if many.keys() == {"default"} and not isinstance(seeds, DictConfig) else f".{name}"
            raise UserError(f"hydra.sweeper.seeds{where}={number!r}: must be a number of seeds, at least 1") from error
    for job in jobs:
        own = job.get("cell", cell)
        number = many.get(own, many.get("default"))
        if number is None:
            raise UserError(f"hydra.sweeper.seeds: no number of seeds for cell={own}; valid: add {own}: or default:")
        yield from (job | {"seed": str(seed)} for seed in range(number))


def seed_by_seed(jobs: list[Choices]) -> list[Choices]:
    """The jobs of the first seed, then those of the next one; all else stays in the order of the yaml.

    So pairs of cells are complete early, and an experiment that lists its long tasks first ends on short ones.
    """
    places = {seed: place for place, seed in enumerate(dict.fromkeys(job.get("seed") for job in jobs))}
    return sorted(jobs, key=lambda job: places[job.get("seed")])


def covering(jobs: list[Choices]) -> list[Choices]:
    """A few jobs that have every value of the sweep among them; seeds that are plain numbers need no look.

    Not every combination: composing one takes more than a tenth of a second. An error that only a combination shows
    becomes a failed row.
    """
    values = [
        frozenset(pair for pair in job.items() if not (pair[0] == "seed" and pair[1].isdecimal())) for job in jobs
    ]
    left, chosen = set().union(*values), jobs[:1]
    left -= values[0] if values else set()
    while left:
        most = max(range(len(jobs)), key=lambda number: len(values[number] & left))
        chosen.append(jobs[most])
        left -= values[most]
    return chosen


@contextmanager
def in_job(job: Choices, several: set[str]) -> Iterator[None]:
    """Add to an error for which of a sweep's choices it came up, and the way on where only some have the key.

    Args:
        job: Its overrides.
        several: Groups of which the sweep takes several choices.
    """
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException) as error:
        key = re.match(r"(?:Could not override ')?([a-z_]+)\.", str(error))
        group = key[1] if key and key[1] in CHOICES else "task"  # whose yaml sets model, data and trainer too
        if key and group in several & job.keys():
            error.add_note(f"in this sweep with {group}={job[group]}")
            if str(error).startswith("Could not override") or "no such key" in str(error):
                error.add_note(
                    f"for a key that only some have: a yaml for each variant in --config-dir, or one {group} at a time"
                )
        raise


def check_job(config: DictConfig, job: Choices) -> str:
    """Compose and check one job before anything runs, and give its ``group_key``.

    Raises:
        UserError: A value that does not fit.
    """
    found = compose_job(config, job)
    check_place(found.settings, config)
    return run_keys(found.node, found.choices, found.source_id())[1]


@dataclass(frozen=True)
class Composed:
    """One job's config, composed and checked, with the choice in each config group."""

    config: DictConfig
    settings: Settings
    node: Node
    choices: dict[str, str]

    def source_id(self) -> str:
        """What its data will be.

        Raises:
            UserError: The task or its data cannot be made.
        """
        from gru_bench.run.build import make_task  # torch: a second that a sweep with nothing left to do is spared

        try:
            return make_task(self.node).source_id()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"task={self.choices['task']}: {first_line(error)}") from error


def compose_job(config: DictConfig, job: Choices) -> Composed:
    """Compose and check one job.

    Raises:
        UserError: A value that does not fit.
    """
    try:
        composed = GlobalHydra.instance().config_loader().load_sweep_config(config, as_overrides(job))
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:  # such as cell=null, which Hydra does not refuse as a config error, or a yaml's OSError
        raise UserError(f"{' '.join(as_overrides(job))}: {first_line(error)}") from error
    check_shape(composed, "train")
    choices = {key: str(value) for key, value in composed.hydra.runtime.choices.items() if value is not None}
    settings, node = check(composed, choices["cell"])
    return Composed(composed, settings, node, choices)


def keys_of(
    config: DictConfig, jobs: list[Choices], say: Callable[[str], None], known: Known | None = None
) -> list[str | None]:
    """``config_key`` of each job; None where its config does not compose, which its row will say.

    Args:
        config: As composed for the whole sweep.
        jobs: In any order.
        say: Told how many configs are to be composed, where that takes seconds.
        known: What is remembered of them; it learns what each is to keep.
    """
    known = known or Known(config.hydra.runtime.config_sources)
    keys = [known.key(job) for job in jobs]
    unknown = len({combination(job) for job, key in zip(jobs, keys, strict=True) if key is None})
    if unknown >= MANY:
        say(f"composing {unknown} configs, to see which runs are done: about {unknown / 10:.0f} s")
    for number, job in enumerate(jobs):
        if keys[number] is None:
            keys[number] = known.key(job) or composed_key(config, job, known)
    return keys


def composed_key(config: DictConfig, job: Choices, known: Known) -> str | None:
    """``config_key`` of a job by composing it; it is known from then on."""
    try:
        found = compose_job(config, job)
        kept = decisive(found.node, found.choices, found.source_id())
    except BAD_CONFIG:
        return None
    known.remember(job, found.config, found.node, kept)
    return digest(kept)


def check_place(settings: Settings, config: DictConfig) -> None:
    """Whether the device and the threads are there."""
    from gru_bench.measure.threads import num_workers, resolve_threads
    from gru_bench.run.build import make_place

    make_place(settings)
    resolve_threads(settings.threads, num_workers(config.hydra.launcher))
