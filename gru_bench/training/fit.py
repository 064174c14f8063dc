"""What training measures and announces: the record of one fit, the events that hooks get, and a lost run."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import nn

from gru_bench.tasks.base import Scores, Task

WARM_UP_STEPS = 5
"""Steps left out of the throughput: the first ones allocate, compile and fill caches."""


class Clock(Protocol):
    """Times training steps; see ``measure/timing.py``."""

    def __call__(self) -> AbstractContextManager[Any]: ...
    def seconds(self, skip: int = 0) -> list[float]: ...


@dataclass(frozen=True)
class Event:
    """What a hook gets. ``kind`` is start, middle, end or evaluation; the model carries its live weights."""

    kind: Literal["start", "middle", "end", "evaluation"]
    step: int
    model: nn.Module
    task: Task
    scores: Scores | None = None
    train_loss: float | None = None


Hook = Callable[[Event], None]


@dataclass
class Progress:
    """What a progress display gets after each check of the losses."""

    step: int
    total_steps: int | None
    loss: float
    score: float | None
    tokens_per_s: float


@dataclass
class Fit:
    """What training measured.

    Attributes:
        steps: Optimizer steps taken.
        epochs: Passes over the training data begun.
        best_step: Step of the best validation score.
        valid: Validation scores at the best step.
        step_seconds: Seconds of each training step (forward, backward, clipping, update), in order.
        step_tokens: Tokens of each step.
        step_examples: Examples of each step.
        stopped: Why training ended.
        together: Sessions that took their steps together, each with an equal share of a step's seconds; 1 alone.
    """

    steps: int = 0
    epochs: int = 0
    best_step: int = 0
    valid: Scores | None = None
    step_seconds: list[float] = field(default_factory=list)
    step_tokens: list[int] = field(default_factory=list)
    step_examples: list[int] = field(default_factory=list)
    stopped: str = ""
    together: int = 1

    def per_second(self, amounts: list[int]) -> float:
        """Total amount over total seconds of the timed steps after the warm-up; never a mean of ratios."""
        skip = WARM_UP_STEPS if len(self.step_seconds) > 2 * WARM_UP_STEPS else 0
        seconds = sum(self.step_seconds[skip:])
        # a step that was interrupted has no time, so its amount does not count either
        return sum(amounts[skip : len(self.step_seconds)]) / seconds if seconds > 0 else math.nan
