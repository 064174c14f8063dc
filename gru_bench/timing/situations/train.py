"""Training: forward, backward, update."""

from collections.abc import Callable
from typing import ClassVar

from gru_bench.timing.situations.base import Situation
from gru_bench.timing.subjects import Subject


class Train(Situation):
    """One training step a call. Of layers alone: Adam, and a gradient of the input too, as a layer below would need."""

    name: ClassVar[str] = "train"
    trains: ClassVar[bool] = True

    def call(self, subject: Subject) -> Callable[[], None]:
        return subject.training_step()
