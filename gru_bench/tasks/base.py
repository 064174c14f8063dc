"""What a task is: data and an objective.

A task's class defines where its examples come from and how they are taken apart; its base class, one of
:mod:`gru_bench.tasks.objectives`, has the loss, the score and the trivial guess.

Generators: the training stream depends on the run's seed alone, never on the cell; validation and test data are the
same for all cells and all seeds. A task that generates data draws them from the fixed seeds below.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self, TypedDict, Unpack

import numpy as np
import torch
from annotated_types import Gt
from torch import Tensor, nn

from gru_bench.data.slices import coded
from gru_bench.tasks.reader import Reader

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


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a reader expects of a task, fixed before any cell was tried. All are in the unit of the primary metric.

    Attributes:
        margin: Difference that is too small to matter to a user.
        beats_trivial_by: By how much a useful model beats the trivial guess.
        ceiling: Score at which the task has nothing left to tell cells apart.
    """

    margin: PositiveFloat
    beats_trivial_by: float
    ceiling: float


@dataclass(frozen=True)
class Counts:
    """What one training step worked on: ``tokens`` are time steps that carry data (padding does not count)."""

    tokens: int
    examples: int


@dataclass
class Batch:
    """Tensors of one step. :meth:`to` moves every tensor field, those of a subclass too.

    Attributes:
        inputs: Time first: token ids (T, B) or features (T, B, D).
        targets: Whatever the task's loss takes.
        lengths: (B,) on the CPU, or None where all sequences have T steps.
        num_tokens: Time steps that carry data, of both sides where there are two, counted before the batch goes to a
            device; None where all T * B do.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    num_tokens: int | None = field(default=None, kw_only=True)

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """A copy on ``device`` with floating tensors in ``dtype``; ``lengths`` stay on the CPU."""

        def move(name: str, value: Any) -> Any:
            if not isinstance(value, Tensor) or name == "lengths":
                return value
            return value.to(device, dtype if value.is_floating_point() else None)

        moved = {f.name: move(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)}
        return type(self)(**moved)

    def counts(self) -> Counts:
        """What a step on this batch works on."""
        T, B = self.inputs.shape[:2]
        return Counts(T * B if self.num_tokens is None else self.num_tokens, B)


@dataclass(frozen=True)
class SliceScore:
    """A score on a part of the test split, such as ``SliceScore("mse", "length", "50", 0.01, 1000)``.

    Attributes:
        metric: Name of the metric.
        slice: By what the split is taken apart.
        slice_value: Which part.
        value: The score.
        n: Test examples in that part, of the kind that the metric counts: texts, words, chunks.
    """

    metric: str
    slice: str
    slice_value: str
    value: float
    n: int


@dataclass(frozen=True)
class Part:
    """Examples of a split on which the score is also shown by itself.

    Attributes:
        slice: By what the split is taken apart, such as ``length``.
        value: Which part, such as ``50``.
        rows: (n,) numbers of its examples.
    """

    slice: str
    value: str
    rows: np.ndarray

    def score(self, metric: str, value: float) -> SliceScore:
        """A score on these examples."""
        return SliceScore(metric, self.slice, self.value, value, len(self.rows))


@dataclass(frozen=True)
class MemoryScores:
    """What models score that know a task but differ in what they remember: the bounds of what a cell can show.

    Attributes:
        name: ``without_memory``: the best that depends on the present step's input alone; or ``with_memory``: the best.
        scored: In the primary metric, on what the task's score is of.
        slices: The same on the parts of the test split.
    """

    name: Literal["without_memory", "with_memory"]
    scored: float
    slices: list[SliceScore]


def parts_by(name: str, values: Sequence[Any]) -> list[Part]:
    """The parts of a split by a column, in the order of its values, a missing one last.

    Args:
        name: What the column is called.
        values: One per example.
    """
    codes_N, names = coded(list(values))
    return parts_of(name, names, codes_N)


def parts_of(name: str, values: Sequence[str], codes_N: np.ndarray) -> list[Part]:
    """The same from numbers of values, as :func:`~gru_bench.data.slices.coded` gives them; empty parts left out."""
    parts = (Part(name, value, np.flatnonzero(codes_N == code)) for code, value in enumerate(values))
    return [part for part in parts if len(part.rows)]


@dataclass
class Scores:
    """Everything that one pass over a split measured.

    Attributes:
        metrics: Score by metric name; holds ``loss`` and the primary metric, and each name is in ``Task.metrics``.
        slices: Scores on parts of the split.
        examples: One list per column, one entry per test example, in the split's fixed order: what is needed to
            tell how uncertain the score is (correct or not, error, nats and tokens, BLEU statistics).
        samples: A few readable examples (such as translations), one list per column.
        confusion: Of a test split with classes, how many examples of each were taken for which: columns ``label``,
            ``prediction`` and ``count``.
    """

    metrics: dict[str, float]
    slices: list[SliceScore] = field(default_factory=list)
    examples: dict[str, list[Any]] = field(default_factory=dict)
    samples: dict[str, list[Any]] = field(default_factory=dict)
    confusion: dict[str, list[Any]] = field(default_factory=dict)


class Common(TypedDict):
    """What every task's yaml gives it, besides the task's own arguments; see :class:`Task`."""

    batch_size: PositiveInt
    goal: Goal


class Task(ABC):
    """Data, loss and score of one problem.

    The constructor is cheap: it checks its arguments and keeps them. :meth:`load` reads or makes the data.

    Args:
        data: The data source that the config's ``data`` node made, or None for a task that generates its data.
        batch_size: B of training and evaluation.
        goal: What a reader expects of the primary metric.

    Attributes:
        notes: What a reader of a score must know of how it was made, one sentence each.
        facts: Counts of the data by name (``train_rows``), known after :meth:`load`; each run records them.
        findings: What the rows of a data set were, as ``data.yaml`` shows it: classes with counts, lengths, repeated
            contents, remarks. Known after :meth:`load`; nothing for data that a generator makes.
        trained_to: The hardest level that training sees, of a task with levels of difficulty; None for others.
    """

    metrics: tuple[Metric, ...]
    primary: str
    generated: ClassVar[bool] = False
    """Whether a generator makes the data; reports say so wherever the task is shown."""
    endless: ClassVar[bool] = False
    """Whether one pass over the training data never ends, since it is drawn afresh."""
    test_selection: str = ""
    """How test examples were chosen, where differently from training and validation; else empty."""

    def __init__(self, data: Any, /, **common: Unpack[Common]) -> None:
        self.data = data
        self.batch_size = common["batch_size"]
        self.goal = common["goal"]
        self.notes: list[str] = []
        self.facts: dict[str, int | float | str] = {}
        self.findings: dict[str, Any] = {}
        self.trained_to: int | None = None

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
            UserError: The data cannot be used; names what is wrong and where.
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
        """What the best constant answer scores on the test split, by metric name. Available after load.

        Constant: one and the same answer at every step of every example, whatever it reads. Best: of all constants the
        one that scores highest on this very split, such as the class that most of its labels have, so that none beats
        it. Where there are too many to try (translations) it is the best of some. ``loss``, and perplexity with it, has
        no constant answer but probabilities: those of the training split, each count one more.
        """

    def trivial_slices(self) -> list[SliceScore]:
        """The same for each part of the test split on which :meth:`score` also scores: the best constant of that part.

        Without it nobody sees whether a part is hard for a cell or hard to guess. Available after load.
        """
        return []

    def memory_scores(self) -> list[MemoryScores]:
        """What no memory and perfect memory score, for tasks that are made to measure memory; nothing for others.

        In the primary metric: exact expectations over all examples, not scores on the test split.
        """
        return []

    def reader(self) -> Reader | None:
        """What a model of this task reads new input with; None where a generator draws the data: there is no new one.

        Available after load.
        """
        return None

    def place(self, model: nn.Module) -> tuple[torch.device, torch.dtype]:
        """Device and floating type of a model, for ``batch.to(*self.place(model))``."""
        parameter = next(model.parameters())
        return parameter.device, parameter.dtype
