"""Inference over many whole sequences at once."""

from collections.abc import Callable
from typing import ClassVar

from gru_bench.timing.situations.base import Situation
from gru_bench.timing.subjects import Subject


class Batch(Situation):
    """One forward pass over whole sequences a call, without gradients; of a model with the loss of the batch."""

    name: ClassVar[str] = "batch"

    def call(self, subject: Subject) -> Callable[[], None]:
        return subject.forward()
