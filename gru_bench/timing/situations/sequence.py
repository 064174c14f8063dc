"""Inference over one whole sequence, by its length: where the lines cross."""

from collections.abc import Callable
from typing import ClassVar

from gru_bench.timing.situations.base import Situation
from gru_bench.timing.subjects import Subject


class Sequence(Situation):
    """As ``batch``, of few sequences and at many lengths. Of layers alone: a task has lengths of its own."""

    name: ClassVar[str] = "sequence"
    of_models: ClassVar[bool] = False

    def call(self, subject: Subject) -> Callable[[], None]:
        return subject.forward()
