"""What the jobs of one worker share: the data of a generated task, and what is known of it.

The runs of a sweep that differ in cell and seed alone read the same examples. Data that a generator makes depends on
nothing but the config, so it is made once for all of them; files may change, and are read again.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from gru_bench.config.check import Node
from gru_bench.run.build import make_task
from gru_bench.tasks.base import MemoryScores, SliceScore, Task

_kept: list[tuple[str, Task]] = []
"""The generated tasks that were loaded last, each with what its config was; the latest at the end."""
_keeps_all = False
MOST_KEPT = 8
"""A sweep goes seed by seed, so that its tasks take turns; more would be kept for nothing, and data may be large."""


@dataclass(frozen=True)
class Known:
    """What follows from a loaded task alone. Attributes: as the task's methods of these names give it."""

    fingerprint: str
    trivial: dict[str, float]
    trivial_slices: list[SliceScore]
    memory_scores: list[MemoryScores]


_known: WeakKeyDictionary[Task, Known] = WeakKeyDictionary()


def task_of(node: Node) -> Task:
    """The config's task: with its data if the job before it had the same, else not yet loaded."""
    made = make_task(node)
    for config, task in _kept:
        if config == config_of(node) and type(task) is type(made):
            return task
    return made


def load(task: Task, node: Node) -> None:
    """Load the task's data unless it is there.

    Raises:
        UserError: What the task finds wrong.
    """
    if any(kept is task for _, kept in _kept):
        return
    task.load()
    if task.generated or _keeps_all:
        _kept.append((config_of(node), task))
        del _kept[:-MOST_KEPT]


@contextmanager
def kept() -> Iterator[None]:
    """In the block, jobs that begin share the data of files too: they are open at once, and it may be large."""
    global _keeps_all
    _keeps_all = True
    try:
        yield
    finally:
        _keeps_all = False
        _kept[:] = [(config, task) for config, task in _kept if task.generated]


def known(task: Task) -> Known:
    """What follows from a loaded task, computed once."""
    if task not in _known:
        _known[task] = Known(task.fingerprint(), task.trivial(), task.trivial_slices(), task.memory_scores())
    return _known[task]


def config_of(node: Node) -> str:
    """All that a generated task is made of."""
    return json.dumps([node["task"], node["data"]], sort_keys=True, default=str)
