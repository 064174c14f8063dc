"""How the learning rate changes while a model trains: one class per choice of the config group ``schedule``.

A schedule makes one of torch's own schedulers and defines what one of its steps counts: epochs, optimizer steps, or
evaluations on the validation split. ``trainer.learning_rate`` is the full rate; a schedule only scales it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from gru_bench.errors import UserError
from gru_bench.tasks.base import PositiveInt

Pace = Literal["step", "epoch", "evaluation"]
Fraction = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True)
class Limits:
    """The trainer's own limits; null for none."""

    max_steps: int | None = None
    max_epochs: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """How the learning rate changes."""

    @abstractmethod
    def pace(self, limits: Limits, /) -> Pace | None:
        """What the rate is set anew after; None where it never changes.

        Raises:
            UserError: The schedule needs a limit that is not set.
        """

    @abstractmethod
    def make(self, optimizer: Optimizer, limits: Limits, /, *, higher_is_better: bool) -> LRScheduler | None:
        """Set the optimizer's first rate, and give torch's scheduler of the rest; None where the rate never changes.

        Args:
            optimizer: Has the full rate.
            limits: When training will end.
            higher_is_better: Of the validation score that a schedule paced by evaluations gets.
        """


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The full rate from the first step to the last."""

    def pace(self, limits: Limits, /) -> None:
        return None

    def make(self, optimizer: Optimizer, limits: Limits, /, *, higher_is_better: bool) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Decay(Schedule):
    """Shrinks by the same factor each epoch: epoch e, from 1, has ``learning_rate * factor ** max(0, e - after)``.

    Attributes:
        factor: By which the rate is multiplied.
        after: Epochs at the full rate.
    """

    factor: Fraction
    after: Annotated[int, Ge(0)]

    def pace(self, limits: Limits, /) -> Pace:
        return "epoch"

    def make(self, optimizer: Optimizer, limits: Limits, /, *, higher_is_better: bool) -> LRScheduler:
        return LambdaLR(optimizer, lambda done: self.factor ** max(0, done + 1 - self.after))


@dataclass(frozen=True, kw_only=True)
class Warmup(Schedule):
    """Rises in equal parts to the full rate and stays there: step s, from 1, has ``learning_rate * min(1, s / steps)``.

    Attributes:
        steps: Optimizer steps, the last of them the first at the full rate.
    """

    steps: PositiveInt

    def pace(self, limits: Limits, /) -> Pace:
        return "step"

    def make(self, optimizer: Optimizer, limits: Limits, /, *, higher_is_better: bool) -> LRScheduler:
        return LambdaLR(optimizer, lambda done: min(1.0, (done + 1) / self.steps))


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Falls along half a cosine from the full rate (Loshchilov and Hutter, 2017, without restarts).

    Of N optimizer steps, the first has the full rate, and the one after the last would have ``final`` of it:
    ``learning_rate * (final + (1 - final) * (1 + cos(pi * (s - 1) / N)) / 2)`` at step s, from 1. N is ``steps``, or
    ``trainer.max_steps`` where that is null. Where both are null, N is ``trainer.max_epochs`` and s counts epochs,
    since nobody knows beforehand how many steps an epoch has.

    Attributes:
        steps: Optimizer steps of the whole fall; null for the trainer's own limit.
        warmup_steps: Before that the rate rises in equal parts, as in :class:`Warmup`; counted in optimizer steps, so
            only where N is too.
        final: Part of the full rate at the end and after it.
    """

    steps: PositiveInt | None
    warmup_steps: Annotated[int, Ge(0)]
    final: Annotated[float, Ge(0), Lt(1)]

    def pace(self, limits: Limits, /) -> Pace:
        if (self.steps or limits.max_steps) is not None:
            return "step"
        if limits.max_epochs is None:
            raise UserError(
                "trainer.schedule: cosine must know when it ends: set trainer.schedule.steps, trainer.max_steps or "
                "trainer.max_epochs"
            )
        if self.warmup_steps:
            raise UserError(
                f"trainer.schedule.warmup_steps={self.warmup_steps}: needs an end in steps too: set "
                "trainer.schedule.steps or trainer.max_steps"
            )
        return "epoch"

    def make(self, optimizer: Optimizer, limits: Limits, /, *, higher_is_better: bool) -> LRScheduler:
        total = self.steps or limits.max_steps if self.pace(limits) == "step" else limits.max_epochs
        return LambdaLR(optimizer, self._part(total or 1))

    def _part(self, total: int) -> Callable[[int], float]:
        fall = max(1, total - self.warmup_steps)

        def part(done: int) -> float:
            if done < self.warmup_steps:
                return (done + 1) / (self.warmup_steps + 1)
            progress = min(1.0, (done - self.warmup_steps) / fall)
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2

        return part


@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """Shrinks whenever the primary validation score has not become better for a while.

    Attributes:
        factor: By which the rate is then multiplied.
        evaluations: Evaluations in a row without a better score after which that happens.
        smallest: A rate that it never falls below.
    """

    factor: Fraction
    evaluations: PositiveInt
    smallest: Annotated[float, Ge(0)]

    def pace(self, limits: Limits, /) -> Pace:
        return "evaluation"

    def make(self, optimizer: Optimizer, limits: Limits, /, *, higher_is_better: bool) -> LRScheduler:
        return ReduceLROnPlateau(
            optimizer,
            mode="max" if higher_is_better else "min",
            factor=self.factor,
            patience=self.evaluations - 1,  # torch counts how many are let pass
            threshold=0.0,  # any better score counts, as for the best step
            threshold_mode="abs",
            min_lr=self.smallest,
            eps=0.0,
        )
