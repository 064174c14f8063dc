"""The contract of a situation: at which sizes it is timed, and what one call of it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, MinLen

from gru_bench.timing.subjects import Subject

Size = Annotated[int, Gt(0)]
Sizes = Size | Annotated[list[Size], MinLen(1)]
"""One size, or several that are timed one after the other."""


def as_list(sizes: int | Sequence[int]) -> list[int]:
    """One size or several, as a list without repetitions."""
    return [sizes] if isinstance(sizes, int) else list(dict.fromkeys(sizes))


class Situation(ABC):
    """What is asked of a layer or a model while it is timed.

    Attributes:
        name: As in its yaml.
        trains: Whether gradients are computed.
        steps: T where neither a key nor a grid sets it.
        batch: Likewise B.
        latencies: How many single calls of each arm are timed for percentiles; 0 for none.
        of_models: Whether it says something of the whole model of a task.
    """

    name: ClassVar[str]
    trains: ClassVar[bool] = False
    of_models: ClassVar[bool] = True
    latencies: int = 0

    def __init__(self, *, steps: Sizes, batch: Sizes) -> None:
        self.steps, self.batch = as_list(steps), as_list(batch)

    def sizes(self, steps: Sequence[int] | None, batch: Sequence[int] | None) -> list[tuple[int, int]]:
        """(T, B) of each timing, given what was asked for; None: the situation's own."""
        return [(T, B) for B in batch or self.batch for T in steps or self.steps]

    def refusal(self, *, bidirectional: bool) -> str | None:
        """Why layers of that kind cannot be timed so; None where they can."""
        return None

    def mode(self) -> AbstractContextManager[object]:
        """What is held around all calls, so that none of them pays for entering it: inference mode, or nothing."""
        return nullcontext() if self.trains else torch.inference_mode()

    @abstractmethod
    def call(self, subject: Subject) -> Callable[[], None]:
        """What is timed: the same work at each call, under :meth:`mode`. Models are built outside it.

        Raises:
            UserError: The subject has no such thing.
        """
