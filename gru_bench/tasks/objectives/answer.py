"""Objective: the right symbol at the steps of a sequence that ask for one."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from gru_bench.data.digest import digest, tensor_bytes
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import (
    Batch,
    Common,
    Counts,
    MemoryScores,
    Metric,
    Part,
    PositiveInt,
    Scores,
    SliceScore,
    Split,
    Task,
)
from gru_bench.tasks.generated.levels import Levels
from gru_bench.tasks.objectives.guesses import share_of_commonest
from gru_bench.tasks.objectives.tag import mean_nats

Level = Annotated[int, Ge(1)]


class AnswerArguments(Common):
    """What the yaml of every task of this kind gives, for the constructors of those with arguments of their own."""

    levels: Annotated[list[Level], MinLen(1)]
    beyond: list[Level]
    num_eval: PositiveInt


class Answer(Task):
    """Sequences of symbols by level of difficulty, with the symbol to give at some of their steps.

    A task of this kind defines the class attributes ``version`` and ``difficulty``, and :meth:`draw`, :meth:`sizes` and
    :meth:`without_memory`. The loss is the mean cross-entropy over the steps that ask; the score is the share of right
    answers at the hardest level that training sees. Other levels, and those ``beyond`` training, are slices. Examples
    of one level have equally many steps and equally many answers.

    Args:
        levels: Of difficulty, in training and in evaluation.
        beyond: Further levels, in the test split alone.
        num_eval: Validation and test examples of each level.

    Attributes:
        version: Name and version of the generator: another one wherever the same seed would give other data.
        difficulty: What a level counts; the name of the slice.
    """

    metrics: tuple[Metric, ...] = (
        Metric("accuracy", "share of answers", higher_is_better=True),
        Metric("all_right", "share of sequences", higher_is_better=True),
        Metric("loss", "nats per answer", higher_is_better=False),
    )
    primary: str = "accuracy"
    generated: ClassVar[bool] = True
    endless: ClassVar[bool] = True
    version: ClassVar[str]
    difficulty: ClassVar[str]

    def __init__(
        self,
        data: None,
        /,
        *,
        levels: Annotated[list[Level], MinLen(1)],
        beyond: list[Level],
        num_eval: PositiveInt,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        self.examples = Levels(self.draw, levels, beyond, num_eval, difficulty=self.difficulty, together=True)
        self.trained_to = self.examples.levels[-1]
        if unseen := self.examples.unseen:
            self.notes.append(f"{self.difficulty} {', '.join(map(str, unseen))}: never trained, tests extrapolation")

    @abstractmethod
    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        """Draw examples of one level: inputs and targets, each (T, B); targets are ``IGNORED`` where nothing is asked.

        Vectorized: drawing a batch must cost less than 3 % of a training step (``bench/probes.py``).
        """

    @abstractmethod
    def without_memory(self, level: int, /) -> float:
        """The primary score at a level of a model which knows the task but only sees the current step's input."""

    def with_memory(self, level: int, /) -> float:
        """The primary score of perfect memory."""
        return 1.0

    def easiest(self) -> int:
        """The lowest level of all splits, for a constructor that checks whether its arguments go with the levels."""
        return self.examples.by_split["test"][0]

    def parameters_id(self) -> str:
        """What else the data depends on, besides levels and number of examples."""
        return ""

    def scored(self, split: Split) -> Part:
        """The part whose score is the task's: the hardest level that training sees, unless a task says otherwise."""
        return self.examples.hardest(split)

    def source_id(self) -> str:
        by_split, num_eval = self.examples.by_split, self.examples.num_eval
        return f"{self.version}:{by_split['valid']}:{by_split['test']}:{num_eval}:{self.parameters_id()}"

    def load(self) -> None:
        self.examples.load()

    def fingerprint(self) -> str:
        batches = self.examples.whole["valid"] + self.examples.whole["test"]
        return digest(*(tensor_bytes(t) for batch in batches for t in (batch.inputs, batch.targets)))

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        return self.examples.batches(split, self.batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        return mean_nats(model, batch), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        right: list[Tensor] = []
        asked: list[Tensor] = []
        nats: list[Tensor] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            logits_TBC = model(batch.inputs, batch.lengths)
            nats_TB = F.cross_entropy(
                logits_TBC.movedim(2, 1).double(), batch.targets, reduction="none", ignore_index=IGNORED
            )
            asked_TB = batch.targets != IGNORED
            right_TB = (logits_TBC.argmax(dim=2) == batch.targets) & asked_TB
            right.append(right_TB.sum(dim=0).cpu())
            asked.append(asked_TB.sum(dim=0).cpu())
            nats.append(nats_TB.sum(dim=0).cpu())
        right_N, asked_N, nats_N = (torch.cat(values).numpy() for values in (right, asked, nats))
        scored = self.scored(split).rows
        return Scores(
            metrics={
                "accuracy": share(right_N, asked_N, scored),
                "all_right": float((right_N == asked_N)[scored].mean()),
                "loss": share(nats_N, asked_N, scored),
            },
            slices=[
                score
                for part in self.examples.parts(split)
                for score in (
                    part.score("accuracy", share(right_N, asked_N, part.rows)),
                    part.score("all_right", float((right_N == asked_N)[part.rows].mean())),
                )
            ],
            examples={
                self.difficulty: self.examples.column(split),
                "words": asked_N.tolist(),
                "correct": right_N.tolist(),
            },
        )

    def trivial(self) -> dict[str, float]:
        """Always the symbol that most of the scored answers of the test split are.

        ``loss``: the frequencies of those answers, as probabilities.
        """
        scored = self.scored("test")
        answers = self._answers("test")
        answers_N = torch.cat([answers[row] for row in scored.rows]).numpy()
        shares = np.bincount(answers_N) / len(answers_N)
        return self._constant(scored) | {"loss": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())}

    def trivial_slices(self) -> list[SliceScore]:
        return [
            part.score(metric, value)
            for part in self.examples.parts("test")
            for metric, value in self._constant(part).items()
        ]

    def memory_scores(self) -> list[MemoryScores]:
        return self.examples.memory_scores(self.primary, self.without_memory, self.with_memory)

    def _answers(self, split: Split) -> list[Tensor]:
        """The answers of each example, in the order of the rows."""
        columns = (column for batch in self.examples.whole[split] for column in batch.targets.unbind(dim=1))
        return [column[column != IGNORED] for column in columns]

    def _constant(self, part: Part) -> dict[str, float]:
        """What the best constant answer scores on a part."""
        answers = self._answers("test")
        rows = [answers[row].numpy() for row in part.rows]
        every = np.concatenate(rows)
        alike = [row[0] for row in rows if len(row) and (row == row[0]).all()]
        commonest = np.bincount(alike).max() if alike else 0
        return {"accuracy": share_of_commonest(every), "all_right": float(commonest / len(rows))}


def share(parts_N: np.ndarray, of_N: np.ndarray, rows: np.ndarray) -> float:
    """Sum of the parts over the sum of the wholes, on some rows."""
    return float(parts_N[rows].sum() / of_N[rows].sum())
