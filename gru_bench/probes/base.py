"""The contract of a probe: a measurement on a model of any task, while it is trained or afterwards."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import nn

from gru_bench.tasks.base import Task

Moment = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Finding:
    """One measured number.

    Attributes:
        metric: Its name, with the unit last where it has one, and the moment after it: ``half_life_steps_end``.
        value: May be infinite or not a number.
        unit: In words; ``1`` where it has none.
        slice: By what it is taken apart, such as ``lag``; nothing for the whole.
        slice_value: Which part.
    """

    metric: str
    value: float
    unit: str
    slice: str = ""
    slice_value: str = ""


@dataclass
class Findings:
    """What a probe found at one moment: numbers, and tables that become artifacts of the run.

    Attributes:
        values: Numbers.
        tables: Equally long columns by name of the table, such as ``end``; the artifact is called
            ``probe_NAME_end.parquet`` with the probe's name.
    """

    values: list[Finding] = field(default_factory=list)
    tables: dict[str, dict[str, list[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What is probed.

    Attributes:
        model: With its live weights, in evaluation mode.
        task: Loaded.
        twin: Makes a copy of the model with the same weights whose layers run as a loop over the cell's own step, so
            that every state of every step can be seen and differentiated. A fused kernel hides them.
        seed: Of the probe's own random draws: the same for all cells.
    """

    model: nn.Module
    task: Task
    twin: Callable[[], nn.Module]
    seed: int


class Probe(ABC):
    """A measurement on a model.

    Attributes:
        name: As in its yaml; its tables are called ``probe_NAME_...``.
        moments: When it measures: at the start, in the middle or at the end of training. The end is the model that is
            tested, with the weights of the best validation step. A stored model has only its end. A run that stops
            early may have no middle.
    """

    name: ClassVar[str]
    moments: ClassVar[tuple[Moment, ...]] = ("end",)

    @abstractmethod
    def refusal(self, subject: Subject, /) -> str | None:
        """Why it cannot answer for this model and task (no gates, no text ...), in one line; None if it can."""

    @abstractmethod
    def measure(self, subject: Subject, moment: Moment, /) -> Findings:
        """Measure now. Leaves weights, gradients, mode and torch's own generator as they were."""
