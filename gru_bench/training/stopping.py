"""When training ends before its limits: one class per choice of the config group ``stopping``."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from gru_bench.tasks.base import PositiveInt


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


@dataclass(frozen=True, kw_only=True)
class Stopping(ABC):
    """Decides after each evaluation whether training goes on."""

    @abstractmethod
    def reason(self, history: Sequence[Evaluation], /) -> str | None:
        """Why training ends now, as the run records it; None if it goes on.

        Args:
            history: All evaluations, the one just made last; never empty.
        """


@dataclass(frozen=True, kw_only=True)
class Never(Stopping):
    """Only the trainer's limits end training."""

    def reason(self, history: Sequence[Evaluation], /) -> None:
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

    def reason(self, history: Sequence[Evaluation], /) -> str | None:
        best = max(index for index, evaluation in enumerate(history) if evaluation.is_best)
        without_gain = len(history) - 1 - best
        if without_gain < self.evaluations or history[-1].step - history[best].step < self.steps:
            return None
        return f"patience: {self.evaluations} evaluations and {self.steps} steps without a better score"
