"""What is known of a run before its data is loaded."""

from pathlib import Path
from typing import Any

import gru_bench
from gru_bench.config.check import Node, Settings, family
from gru_bench.measure.environment import environment, git_state, machine_id, shared_machine
from gru_bench.tasks.base import Task


def facts_before(
    settings: Settings, node: Node, choices: dict[str, str], task: Task, threads: int, workers: int
) -> dict[str, Any]:
    """Everything about a run that is known before its data is loaded, under the names of ``results.py``."""
    commit, dirty = git_state(Path(gru_bench.__file__).parent)
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
        "shared": shared_machine(workers),
        "learning_rate": node["trainer"]["learning_rate"],
        "learning_rate_trials": len(node["tuning"]["rates"]) if node.get("tuning") else 0,
        "batch_size": task.batch_size,
        "primary_metric": metric.name,
        "primary_unit": metric.unit,
        "primary_higher_is_better": metric.higher_is_better,
        "margin": task.goal.margin,
        "beats_trivial_by": task.goal.beats_trivial_by,
        "ceiling": task.goal.ceiling,
        "data_source": task.source_id(),
        "test_selection": task.test_selection,
        "generated": task.generated,
        "git_commit": commit or "",
        "dirty": "" if dirty is None else dirty,
        **{f"env_{name}": value for name, value in environment().items()},
    }
