"""When training ends before its limits: one class per choice of the config group ``stopping``."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from gru_bench.tasks.base import PositiveInt, Task


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation split.

    Attributes:
        step: Optimizer steps taken before it.
        score: Primary metric.
        is_best: Whether it was better than all before it; the first one always is.
    """

    step: int
    score: float
    is_best: bool


class Aim:
    """What a task is to reach, in its primary metric.

    Args:
        task: Loaded.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.goal = task.goal
        self.sign = 1 if task.primary_metric.higher_is_better else -1

    @functools.cached_property
    def trivial(self) -> float:
        """What a guess scores; computed when it is first asked for, since on some tasks it takes long."""
        return self.task.trivial()[self.task.primary]

    def solved(self, score: float) -> bool:
        """Whether a score has nothing left to gain."""
        return self.sign * (score - self.goal.ceiling) >= 0

    def useful(self, score: float) -> bool:
        """Whether a score beats the trivial guess by what a useful model does."""
        return self.sign * (score - self.trivial) >= self.goal.beats_trivial_by


@dataclass(frozen=True, kw_only=True)
class Stopping(ABC):
    """Decides after each evaluation whether training goes on."""

    @abstractmethod
    def reason(self, history: Sequence[Evaluation], aim: Aim, /) -> str | None:
        """Why training ends now, as the run records it; None if it goes on.

        Args:
            history: All evaluations, the one just made last; never empty.
            aim: What the task is to reach.
        """


@dataclass(frozen=True, kw_only=True)
class Never(Stopping):
    """Only the trainer's limits end training."""

    def reason(self, history: Sequence[Evaluation], aim: Aim, /) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Patience(Stopping):
    """Ends training once the primary score has not become better for so many evaluations and so many steps, both.

    Evaluations alone would end a run on few data almost at once: where an epoch is 10 steps, two epochs without a
    better score are 20 steps, in which nothing can be learned.

    Attributes:
        evaluations: Evaluations in a row without a better score.
        steps: Optimizer steps since the best score; 0 counts evaluations alone.
    """

    evaluations: PositiveInt
    steps: Annotated[int, Ge(0)]

    def reason(self, history: Sequence[Evaluation], aim: Aim, /) -> str | None:
        best = max(index for index, evaluation in enumerate(history) if evaluation.is_best)
        without_gain = len(history) - 1 - best
        if without_gain < self.evaluations or history[-1].step - history[best].step < self.steps:
            return None
        return f"patience: {self.evaluations} evaluations and {self.steps} steps without a better score"


@dataclass(frozen=True, kw_only=True)
class Solved(Stopping):
    """Ends training once the task is solved, or once a run looks hopeless.

    For questions of all or nothing: whether a seed solves the task, and after how many steps. A score that is compared
    by its size must not be stopped so.

    Attributes:
        hopeless_after: Optimizer steps after which a run must have beaten the trivial guess by what a useful model
            does; None for as long as the limits allow. A run that would have begun to learn later counts as not solved,
            so the rule is a part of what "solved" means and must be the same for all cells.
    """

    hopeless_after: PositiveInt | None

    def reason(self, history: Sequence[Evaluation], aim: Aim, /) -> str | None:
        if aim.solved(history[-1].score):
            return f"solved: {history[-1].score:.4g} at step {history[-1].step}"
        if self.hopeless_after is None or history[-1].step < self.hopeless_after:
            return None
        if any(aim.useful(evaluation.score) for evaluation in history):
            return None
        return f"hopeless: {self.hopeless_after} steps without a useful score"
