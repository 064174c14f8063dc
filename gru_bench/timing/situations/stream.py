"""Inference as data comes in: one step a call."""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge

from gru_bench.timing.situations.base import Situation, Sizes
from gru_bench.timing.subjects import Subject


class Stream(Situation):
    """One time step a call; the caller carries the state from call to call.

    Of a model its first recurrent layers alone: what comes before and after them (embeddings, a head, a second encoder)
    has no place in the step of a layer.

    Args:
        batch: B where neither a key nor a grid sets it.
        latencies: Single steps of each arm that are timed one by one, for percentiles.
    """

    name: ClassVar[str] = "stream"

    def __init__(self, *, batch: Sizes, latencies: Annotated[int, Ge(1000)]) -> None:
        super().__init__(steps=1, batch=batch)
        self.latencies = latencies

    def sizes(self, steps: Sequence[int] | None, batch: Sequence[int] | None) -> list[tuple[int, int]]:
        return super().sizes(None, batch)  # a step is a step, however long the sequences of other situations are

    def refusal(self, *, bidirectional: bool) -> str | None:
        if bidirectional:
            return "situation=stream: layers in both directions have no single step; valid: bidirectional=false"
        return None

    def call(self, subject: Subject) -> Callable[[], None]:
        return subject.single_step()
