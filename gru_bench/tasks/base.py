"""What a task is: data, loss and score of one problem.

Generators: the training stream depends on the run's seed alone, never on the cell; validation and test data are the
same for all cells and all seeds. A task that generates data draws them from the fixed seeds below.
"""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from annotated_types import Gt
from torch import Tensor, nn

Split = Literal["train", "valid", "test"]
PositiveInt = Annotated[int, Gt(0)]
PositiveFloat = Annotated[float, Gt(0)]

TRAIN_DATA_SEED, VALID_DATA_SEED, TEST_DATA_SEED = 1_000_000_007, 1_000_000_009, 1_000_000_021
"""Seeds of generated data that all runs share. A run's own seed lies far below them."""

SPLIT_SEEDS: dict[Split, int] = {"train": TRAIN_DATA_SEED, "valid": VALID_DATA_SEED, "test": TEST_DATA_SEED}


@dataclass(frozen=True)
class Metric:
    """What a score means. ``name`` carries its unit last where it has one (``bits_per_char``)."""

    name: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Counts:
    """What one training step worked on: ``tokens`` are time steps that carry data (padding does not count)."""

    tokens: int
    examples: int


@dataclass
class Batch:
    """Tensors of one step. Subclass it to add fields; :meth:`to` moves every tensor field.

    Attributes:
        inputs: Time first: token ids (T, B) or features (T, B, D).
        targets: Whatever the task's loss takes.
        lengths: (B,) on the CPU, or None where all sequences have T steps.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """A copy on ``device`` with floating tensors in ``dtype``; ``lengths`` stay on the CPU."""

        def move(name: str, value: Any) -> Any:
            if not isinstance(value, Tensor) or name == "lengths":
                return value
            return value.to(device, dtype if value.is_floating_point() else None)

        moved = {f.name: move(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)}
        return type(self)(**moved)


@dataclass(frozen=True)
class SliceScore:
    """A score on a part of a split, such as ``Slice("mse", "length", "50", 0.01)``."""

    metric: str
    slice: str
    slice_value: str
    value: float


@dataclass
class Scores:
    """Everything that one pass over a split measured.

    Attributes:
        metrics: Score by metric name; holds ``loss`` and the primary metric, and each name is in ``Task.metrics``.
        slices: Scores on parts of the split.
        examples: One list a column, one entry a test example, in the split's fixed order: what is needed to say
            how uncertain the score is (correct or not, error, nats and tokens, BLEU statistics).
        samples: A few readable examples (such as translations), one list a column.
    """

    metrics: dict[str, float]
    slices: list[SliceScore] = field(default_factory=list)
    examples: dict[str, list[Any]] = field(default_factory=dict)
    samples: dict[str, list[Any]] = field(default_factory=dict)


class Task(ABC):
    """Data, loss and score of one problem.

    The constructor is cheap: it checks its arguments and keeps them. :meth:`load` reads or makes the data.

    Args:
        data: The data source that the config's ``data`` node made, or None for a task that generates its data.
        batch_size: B of training and evaluation.
        margin: Difference in the primary metric under which a user would not care, in its own unit.
        beats_trivial_by: By how much, in the primary metric, a useful model beats the trivial guess.
        ceiling: Primary metric at which the task has nothing left to tell cells apart.

    Attributes:
        notes: What a reader of a score must know of how it was made, one sentence each.
        facts: Counts of the data by name (``train_rows``), known after :meth:`load`; each run records them.
    """

    metrics: tuple[Metric, ...]
    primary: str
    generated: ClassVar[bool] = False
    """Whether a generator makes the data; reports say so wherever the task is shown."""
    endless: ClassVar[bool] = False
    """Whether one pass over the training data never ends, since it is drawn afresh."""

    def __init__(
        self, data: Any, /, *, batch_size: PositiveInt, margin: PositiveFloat, beats_trivial_by: float, ceiling: float
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.margin = margin
        self.beats_trivial_by = beats_trivial_by
        self.ceiling = ceiling
        self.notes: list[str] = []
        self.facts: dict[str, int | float | str] = {}

    @property
    def primary_metric(self) -> Metric:
        return next(metric for metric in self.metrics if metric.name == self.primary)

    @abstractmethod
    def source_id(self) -> str:
        """What the data will be, known before loading: a content hash, or the generator's name and version.

        Raises:
            UserError: The data is not there, or is not what the task needs.
        """

    @abstractmethod
    def load(self) -> None:
        """Read or generate all splits.

        Raises:
            UserError: The data cannot be used; says what and where.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (first 16 digits) of the rows that are used, all splits. Available after :meth:`load`."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """What the model must know: ``vocab_size``, ``num_classes``, ``input_size`` ... Available after load."""

    @abstractmethod
    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """One pass over a split, on the CPU. May be endless for ``train`` where data is generated afresh.

        Args:
            split: Which part.
            generator: Orders or draws the training data; None for evaluation, whose order is fixed.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        """Mean loss of one batch (a scalar tensor), what it worked on, and the state for the next batch.

        ``carry`` is None at the start of a pass; only a language model returns anything else. The trainer
        detaches it.
        """

    @abstractmethod
    def score(self, model: nn.Module, split: Split) -> Scores:
        """Evaluate on one split. Called in evaluation mode without gradients."""

    @abstractmethod
    def trivial(self) -> dict[str, float]:
        """What a guess that looks at no input scores on the test split, by metric name. Available after load."""

    def trivial_slices(self) -> list[SliceScore]:
        """What that same guess scores on each part of the test split that :meth:`score` tells apart.

        Without it nobody sees whether a part is hard for a cell or hard to guess. Available after load.
        """
        return []

    def place(self, model: nn.Module) -> tuple[torch.device, torch.dtype]:
        """Device and floating type of a model, for ``batch.to(*self.place(model))``."""
        parameter = next(model.parameters())
        return parameter.device, parameter.dtype


def digest(*parts: bytes | str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the parts, each set apart from the next by its length."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        sha.update(len(raw).to_bytes(8, "little") + raw)
    return sha.hexdigest()[:16]


def tensor_bytes(tensor: Tensor) -> bytes:
    """The raw values of a CPU tensor, for :func:`digest`."""
    return tensor.contiguous().numpy().tobytes()
