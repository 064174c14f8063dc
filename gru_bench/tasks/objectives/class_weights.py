"""How much each class counts in the loss of training."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, Unpack

import torch
from annotated_types import Gt, MinLen
from pydantic import Field
from torch import Tensor

from gru_bench.errors import UserError
from gru_bench.tasks.base import Common, Task

Weight = Annotated[float, Gt(0), Field(allow_inf_nan=False)]
ClassWeights = Literal["balanced"] | Annotated[dict[str | int | bool | float, Weight], MinLen(1)] | None
"""None: every class counts alike. ``balanced``: each as much as every other, however rare. Else a weight for each class
that is named, and 1 for the others."""
MOST_NAMED = 10


class Weighted(Common):
    """What the yaml of a task gives whose classes may differ in weight; see :class:`WeightedTask`."""

    class_weights: NotRequired[ClassWeights]


class WeightedTask(Task):
    """A task whose classes may differ in weight in the loss of training.

    Attributes available after :meth:`load`: ``classes``, names of the C classes; ``weights_C``, their weights, None
    where all count alike.

    Args:
        data: As :class:`~gru_bench.tasks.base.Task` takes it, like all further arguments.
        class_weights: How much each class counts in the loss of training, as :func:`weights_of` reads it; its mean over
            a batch is over the sum of the weights. Scores, the metric ``loss`` among them, count every example alike
            whatever it is.
    """

    classes: list[str]

    def __init__(self, data: Any, /, *, class_weights: ClassWeights = None, **common: Unpack[Common]) -> None:
        super().__init__(data, **common)
        self.class_weights = class_weights
        self.weights_C: Tensor | None = None

    @abstractmethod
    def class_counts(self) -> Tensor:
        """(C,) training examples of each class. Available after load."""

    def weights(self) -> Tensor | None:
        """(C,) how much each class counts in training; None where all count alike. Available after load.

        Raises:
            UserError: A weight for what is no class.
        """
        return weights_of(self.class_weights, self.classes, self.class_counts())


def weights_of(asked: ClassWeights, classes: Sequence[str], counts_C: Tensor) -> Tensor | None:
    """(C,) weights in 64 bits, or None where all count alike.

    Balanced weights are N / (C' n) for a class of n among N examples, with C' the classes that training has: their mean
    over the examples is 1 (King and Zeng, *Logistic Regression in Rare Events Data*, 2001). A class that training lacks
    has the weight 1, which nothing uses.

    Args:
        asked: What the config says.
        classes: Names of the C classes.
        counts_C: Training examples of each.

    Raises:
        UserError: A weight for what is no class.
    """
    if asked is None:
        return None
    counts_C = counts_C.double()
    there_C = counts_C > 0
    if asked == "balanced":
        balanced_C = counts_C.sum() / (there_C.sum() * counts_C)
        return torch.where(there_C, balanced_C, torch.ones_like(counts_C))
    weights_C = torch.ones_like(counts_C)
    named = {label_text(label): weight for label, weight in asked.items()}
    for name, weight in named.items():
        if name not in classes:
            shown = ", ".join(map(repr, classes[:MOST_NAMED]))
            more = f" and {len(classes) - MOST_NAMED:,} more" if len(classes) > MOST_NAMED else ""
            raise UserError(f"task.class_weights: {name!r} is no class of this data; valid: {shown}{more}")
        weights_C[list(classes).index(name)] = weight
    return weights_C


def label_text(label: str | int | bool | float) -> str:
    """A label as data sets name it: yaml reads ``1`` and ``true`` as what they are in yaml."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def weights_like(weights_C: Tensor | None, logits: Tensor) -> Tensor | None:
    """The weights where the logits are and in their type; mixed precision takes its losses in 32 bits."""
    if weights_C is None:
        return None
    wide = logits.dtype if logits.dtype in (torch.float32, torch.float64) else torch.float32
    return weights_C.to(logits.device, wide)
