"""What is known of a run before its data is loaded."""

import functools
from pathlib import Path
from typing import Any

import gru_bench
from gru_bench.config.check import Node, Settings, family
from gru_bench.config.rates import rate_facts
from gru_bench.measure.environment import environment, git_state, machine_id, shared_machine
from gru_bench.run.launch import Sweep
from gru_bench.store.schema import TRIAL
from gru_bench.tasks.base import Task


@functools.cache
def code_of_this_process() -> tuple[str | None, bool | None]:
    """As :func:`git_state`, of the code that this process imported: asked once, about when it did."""
    return git_state(Path(gru_bench.__file__).parent)


@functools.cache
def environment_of_this_process() -> dict[str, str]:
    """As :func:`environment`, asked once."""
    return environment()


def facts_before(
    settings: Settings, node: Node, choices: dict[str, str], task: Task, threads: int, workers: int
) -> dict[str, Any]:
    """Everything about a run that is known before its data is loaded, named as in :mod:`gru_bench.store.schema`.

    A machine that is shared already is on record at once. One that is not may be so later: that waits for the end of
    training, :meth:`gru_bench.run.record.Recorder.company`.
    """
    commit, dirty = code_of_this_process()
    metric = task.primary_metric
    return {
        "cell": choices["cell"],
        "family": family(node),
        "backend": choices["backend"],
        "task": choices["task"],
        "budget": choices["budget"],
        "seed": settings.seed,
        "hidden_size_asked": settings.hidden_size,
        "num_layers": settings.num_layers,
        "device": settings.device,
        "dtype": settings.dtype,
        "threads": threads,
        "machine": machine_id(),
        **({"shared": True} if shared_machine(workers) else {}),
        **{part: part_name(part, node, choices) for part in ("optimizer", "schedule", "stopping")},
        "learning_rate": node["trainer"]["learning_rate"],
        **rate_facts(node),
        "batch_size": task.batch_size,
        "role": "",
        "looks": 1,
        "primary_metric": metric.name,
        "primary_unit": metric.unit,
        "primary_higher_is_better": metric.higher_is_better,
        "margin": task.goal.margin,
        "beats_trivial_by": task.goal.beats_trivial_by,
        "ceiling": task.goal.ceiling,
        "trained_to": "" if task.trained_to is None else task.trained_to,
        "data_source": task.source_id(),
        "test_selection": task.test_selection,
        "generated": task.generated,
        "git_commit": commit or "",
        "dirty": "" if dirty is None else dirty,
        **{f"env_{name}": value for name, value in environment_of_this_process().items()},
    }


def facts_of_sweep(sweep: Sweep, number: int | None) -> dict[str, Any]:
    """What a run's sweep knows of it, in the place of what :func:`facts_before` has.

    Args:
        sweep: To which the run belongs.
        number: Its job's.
    """
    role = "" if number is None else sweep.roles.get(number, "")
    facts: dict[str, Any] = {"looks": sweep.looks, "role": role}
    if sweep.tried is not None and role != TRIAL:
        rates, seeds = sweep.tried
        facts |= {"learning_rate_from": "trials", "learning_rate_trials": rates, "learning_rate_trial_seeds": seeds}
    if number is not None and number in sweep.searched:
        facts |= {"search_seeds": sweep.searched[number], "search_share": sweep.share, "search_key": sweep.search_key}
    return facts


def part_name(part: str, node: Node, choices: dict[str, str]) -> str:
    """The yaml name of a part of the trainer; its class where the command line gave another one than the yaml does."""
    choice, of_class = choices.get(part, ""), str(node["trainer"][part]["_target_"]).rpartition(".")[2].lower()
    return choice if choice.partition("_")[0] == of_class else of_class
