"""Whole models to be timed: those of the tasks of an experiment, as its runs trained them."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gru_bench.config.check import Node
from gru_bench.errors import UserError
from gru_bench.measure.threads import resolve_threads, set_threads, usable_cores
from gru_bench.run.rebuild import read_config
from gru_bench.run.timed import ArmJob
from gru_bench.run.timed_model import shape_of
from gru_bench.run.timing_plan import Asked
from gru_bench.store.connect import without_password
from gru_bench.store.find import fetched
from gru_bench.store.schema import CONFIG_FILE, HORIZON, KIND, RUN_KIND, TRIAL
from gru_bench.store.source import Source, StoredRun
from gru_bench.timing.pairs import Arm, Pair, pairs
from gru_bench.timing.subjects import Shape

ALIKE = (
    "backend",
    "budget",
    "hidden_size_asked",
    "num_layers",
    "device",
    "dtype",
    "optimizer",
    "batch_size",
    "data_fingerprint",
)
"""In what runs must agree whose models are timed against each other; how they were trained matters for scores alone."""


OWN = ("steps", "batch", "inputs", "hidden_size", "num_layers", "bidirectional", "dtype", "backends", "budget")
"""Keys that say nothing of models: each has its own."""


@dataclass(frozen=True)
class Models:
    """The models of one task that are comparable.

    Attributes:
        task: Name of its yaml.
        budget: What is equal between them.
        device: Where they were trained.
        dtype: In which type.
        arms: By cell and backend.
        shape: At which they are trained.
    """

    task: str
    budget: str
    device: str
    dtype: Literal["float32", "float64", "bfloat16"]
    arms: Mapping[Arm, ArmJob]
    shape: Shape

    def pairs(self, cells: Sequence[str]) -> list[Pair]:
        """The cells against each other."""
        return pairs(
            [cell for cell in cells if cell in {arm.cell for arm in self.arms}], [next(iter(self.arms)).backend]
        )


Group = Mapping[str, StoredRun]
"""Comparable runs, one a cell."""


def check_given(experiment: str, overrides: Sequence[str], asked: Asked) -> None:
    """Refuse keys that would be ignored, since models have their own sizes.

    Args:
        experiment: Whose models are timed.
        overrides: Of the command line, as ``key=value``.
        asked: The situations.

    Raises:
        UserError: There is such a key, or no situation says anything of models.
    """
    for text in overrides:
        if text.partition("=")[0].partition(".")[0] in OWN:
            raise UserError(f"{text}: models are timed as experiment={experiment} trained them; valid: without it")
    if not any(made.of_models for _, made in asked.situations.values()):
        names = ",".join(asked.situations)
        raise UserError(
            f"situation=[{names}]: of layers alone; valid with experiment={experiment}: train, batch, stream"
        )


def runs_of(source: Source, experiment: str, asked: Asked, given: Sequence[str]) -> list[Group]:
    """The runs whose models are comparable: a group for each combination of settings with at least two of the cells.

    Args:
        source: The store.
        experiment: Whose runs.
        asked: Cells, and what else the command line says.
        given: Keys that it sets: the device and the threads are otherwise those of the runs.

    Raises:
        UserError: No such experiment, or no two finished runs that can be held against each other.
    """
    if "threads" in given and isinstance(asked.keys.threads, list):
        raise UserError(f"threads={asked.keys.threads}: models of an experiment are timed with one number of threads")
    names = source.experiments()
    ids = [number for number, name in names.items() if name == experiment]
    if not ids:
        raise UserError(
            f"experiment={experiment}: neither a grid nor in {without_password(source.uri)}, which has: "
            f"{', '.join(sorted(names.values())) or 'none yet'}"
        )
    cells = [one.name for one in asked.cells]
    groups: dict[tuple[str, ...], dict[str, StoredRun]] = {}
    for run in source.runs(ids, {KIND: RUN_KIND}):
        facts = run.params
        usable = run.status == "FINISHED" and facts.get("role", "") not in (TRIAL, HORIZON)
        if usable and facts.get("cell") in cells:
            key = (facts.get("task", ""), *(facts.get(name, "") for name in ALIKE))
            groups.setdefault(key, {})[facts["cell"]] = run  # the latest of each cell
    found: list[Group] = [runs for _, runs in sorted(groups.items()) if len(runs) > 1]
    if not found:
        raise UserError(
            f"experiment={experiment}: no task with finished runs of two of {', '.join(cells)} at equal settings"
        )
    return found


def models_of(source: Source, groups: Sequence[Group], asked: Asked, given: Sequence[str]) -> list[Models]:
    """What :func:`runs_of` found as what is to be timed. Loads data and builds a model of each group."""
    return [models_in(source, runs, asked, given) for runs in groups]


def models_in(source: Source, runs: Group, asked: Asked, given: Sequence[str]) -> Models:
    """Comparable runs as what is to be timed."""
    arms: dict[Arm, ArmJob] = {}
    for cell, run in runs.items():
        node = config_of(source, run)
        if "device" in given:
            node["device"] = asked.keys.device
        backend = run.params["backend"]
        size = int(run.params["hidden_size"])
        arms[Arm(cell, backend)] = ArmJob(cell=cell, backend=backend, hidden_size=size, nodes=node)
    facts: Mapping[str, Any] = next(iter(runs.values())).params
    threads = min(int(facts["threads"]), usable_cores())
    if "threads" in given:
        threads = resolve_threads(asked.keys.threads, 1)  # type: ignore[arg-type]  # several were refused
    set_threads(threads)
    first = next(iter(arms.values()))
    shape = shape_of(copy.deepcopy(first.nodes), first.hidden_size, threads)
    return Models(facts["task"], facts["budget"], first.nodes["device"], first.nodes["dtype"], arms, shape)


def config_of(source: Source, run: StoredRun) -> Node:
    """A run's ``config.yaml``.

    Raises:
        UserError: It is not there, or damaged.
    """
    with fetched(source, run, (CONFIG_FILE,)) as files:
        if files is None:
            raise UserError(f"run {run.run_id}: its {CONFIG_FILE} is not at {run.artifact_uri}")
        try:
            return read_config(files[0])
        except UserError as error:
            raise UserError(f"run {run.run_id}: {error}") from error
