"""Objective: one label for a whole sequence."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.metrics import accuracy, balanced_accuracy, macro_f1
from gru_bench.tasks.base import Batch, Counts, Metric, Part, Scores, SliceScore, Split
from gru_bench.tasks.objectives.class_weights import WeightedTask, weights_like
from gru_bench.tasks.objectives.confusion import confusion
from gru_bench.tasks.objectives.guesses import add_one_surprise, share_of_commonest
from gru_bench.tasks.objectives.samples import spread

NUM_SAMPLES = 20


def metrics_of(examples: str, example: str) -> tuple[Metric, ...]:
    """The metrics, with the examples' names in their units: ``texts``, ``text``."""
    return (
        Metric("accuracy", f"share of {examples}", higher_is_better=True),
        Metric("balanced_accuracy", f"share of {examples}, mean of classes", higher_is_better=True),
        Metric("macro_f1", "F1, mean of classes", higher_is_better=True),
        Metric("loss", f"nats per {example}", higher_is_better=False),
    )


class Classify(WeightedTask):
    """Predict to which class a sequence belongs.

    The model gives logits (B, C); its loss is their cross-entropy.
    """

    metrics: tuple[Metric, ...] = metrics_of("sequences", "sequence")
    primary: str = "accuracy"

    def class_counts(self) -> Tensor:
        return self.labels("train").bincount(minlength=len(self.classes))

    @abstractmethod
    def labels(self, split: Split) -> Tensor:
        """(N,) int64 labels of a split's examples, in the order in which examples are reported."""

    def order(self, split: Split) -> Tensor:
        """(N,) numbers of the examples in the order in which evaluation batches hold them."""
        return torch.arange(len(self.labels(split)))

    def parts(self, split: Split) -> list[Part]:
        """The parts of a split on which accuracy is also shown."""
        return []

    def columns(self, split: Split) -> dict[str, list[Any]]:
        """What else a row of the table of test examples holds."""
        return {}

    def readable(self, split: Split, row: int) -> str | None:
        """One example as a text; None where it is none."""
        return None

    def answers(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The nats (B,) of a batch's examples in 64 bits, and the classes (B,) that the model predicts."""
        logits_BC = model(batch.inputs, batch.lengths).double()
        return F.cross_entropy(logits_BC, batch.targets, reduction="none"), logits_BC.argmax(dim=1)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        logits_BC = model(batch.inputs, batch.lengths)
        weights_C = weights_like(self.weights_C, logits_BC)
        return F.cross_entropy(logits_BC, batch.targets, weights_C), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        answers = [self.answers(model, batch.to(*place)) for batch in self.batches(split)]
        back_N = self.order(split).argsort()
        nats_N, predicted_N = (
            torch.cat([values.cpu() for values in column])[back_N] for column in zip(*answers, strict=True)
        )
        labels_N = self.labels(split)
        right_N = predicted_N == labels_N
        return Scores(
            metrics=self.judge(predicted_N, labels_N) | {"loss": float(nats_N.mean())},
            slices=[part.score("accuracy", float(right_N.numpy()[part.rows].mean())) for part in self.parts(split)],
            examples={
                "correct": right_N.long().tolist(),
                "nats": nats_N.tolist(),
                "label": labels_N.tolist(),
                "prediction": predicted_N.tolist(),
                **self.columns(split),
            },
            samples=self._samples(split, predicted_N, labels_N),
            confusion=confusion(labels_N.numpy(), predicted_N.numpy(), self.classes) if split == "test" else {},
        )

    def judge(self, predicted_N: Tensor, labels_N: Tensor) -> dict[str, float]:
        """All metrics but the loss, of classes (N,) that were predicted."""
        return {
            "accuracy": accuracy(predicted_N, labels_N),
            "balanced_accuracy": balanced_accuracy(predicted_N, labels_N),
            "macro_f1": macro_f1(predicted_N, labels_N, len(self.classes)),
        }

    def _samples(self, split: Split, predicted_N: Tensor, labels_N: Tensor) -> dict[str, list[Any]]:
        rows = spread(len(labels_N), NUM_SAMPLES)
        texts = [self.readable(split, row) for row in rows]
        if None in texts:
            return {}
        return {
            "text": texts,
            "label": [self.classes[int(labels_N[row])] for row in rows],
            "prediction": [self.classes[int(predicted_N[row])] for row in rows],
        }

    def trivial(self) -> dict[str, float]:
        """Always the class that most of the test labels have: no constant has a higher accuracy or macro F1.

        ``loss``: the classes' frequencies in training, plus one, as probabilities.
        """
        labels_N = self.labels("test")
        surprise_C = add_one_surprise(self.class_counts())
        guesses_N = torch.full_like(labels_N, int(labels_N.bincount().argmax()))
        return self.judge(guesses_N, labels_N) | {"loss": float(surprise_C[labels_N].mean())}

    def trivial_slices(self) -> list[SliceScore]:
        labels_N: np.ndarray = self.labels("test").numpy()
        return [part.score("accuracy", share_of_commonest(labels_N[part.rows])) for part in self.parts("test")]
