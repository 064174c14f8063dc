"""What a trained model reads new input with, once its data set is no longer there."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn


class Reader(ABC):
    """Vocabulary, label names and limits of a task: from a row of text to a model's input, and back to an answer.

    It is made from a loaded task (:meth:`gru_bench.tasks.base.Task.reader`), kept beside the weights as JSON, and read
    again without the data set.

    Attributes:
        kind: Under which name its JSON is read again, such as ``text_classification``.
        roles: What a row needs, by the names of the data's columns: ``("text",)``, ``("tokens",)``, ``("source",)``.
    """

    kind: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """All that it knows, as JSON takes it; ``kind`` is not among it."""

    @classmethod
    @abstractmethod
    def from_json(cls, known: Mapping[str, Any], /) -> "Reader":
        """What :meth:`as_json` gave.

        Raises:
            UserError: Something is missing, or of another type.
        """

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """As ``Task.sizes()`` of the task that it was made from."""

    @abstractmethod
    def predict(
        self, model: nn.Module, rows: Sequence[Mapping[str, Any]], /, *, batch_size: int
    ) -> list[dict[str, Any]]:
        """The model's answer to each row, in their order.

        Args:
            model: In evaluation mode.
            rows: By role; other keys are ignored. None, or no text, is an empty text.
            batch_size: Rows at once. It changes no answer by more than rounding.

        Returns:
            One flat dictionary a row, of texts, numbers and lists of these: what a line of CSV or JSON holds.

        Raises:
            UserError: A row without its roles, or of the wrong type; names the row, from 1.
        """

    def details(self) -> list[str]:
        """The keys of an answer that a table of answers leaves out unless they are asked for."""
        return []
