"""Objective: one number for a whole sequence."""

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.tasks.base import Batch, Counts, Metric, Part, Scores, SliceScore, Split, Task


class Regress(Task):
    """Predict a number; the loss is its squared error."""

    metrics: tuple[Metric, ...] = (
        Metric("mse", "squared error", higher_is_better=False),
        Metric("loss", "squared error", higher_is_better=False),
    )
    primary: str = "mse"

    @abstractmethod
    def numbers(self, split: Split) -> Tensor:
        """(N,) numbers to predict for a split's examples, in the order of the evaluation batches."""

    @abstractmethod
    def parts(self, split: Split) -> list[Part]:
        """The parts of a split on which the error is also shown."""

    @abstractmethod
    def scored(self, split: Split) -> Part:
        """The part whose error is the score."""

    def columns(self, split: Split) -> dict[str, list[Any]]:
        """What else a row of the table of test examples holds."""
        return {}

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        return F.mse_loss(model(batch.inputs).squeeze(1), batch.targets), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        errors: list[Tensor] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            predicted_B = model(batch.inputs).squeeze(1)
            errors.append((predicted_B.double() - batch.targets.double()).square().cpu())
        errors_N = torch.cat(errors)
        mse = float(errors_N[self.scored(split).rows].mean())
        return Scores(
            metrics={"mse": mse, "loss": mse},
            slices=[part.score("mse", float(errors_N[part.rows].mean())) for part in self.parts(split)],
            examples={**self.columns(split), "squared_error": errors_N.tolist()},
        )

    def trivial(self) -> dict[str, float]:
        """Always the mean of the test numbers: no constant has a smaller squared error."""
        mse = self._constant(self.scored("test"))
        return {"mse": mse, "loss": mse}

    def trivial_slices(self) -> list[SliceScore]:
        return [part.score("mse", self._constant(part)) for part in self.parts("test")]

    def _constant(self, part: Part) -> float:
        return float(self.numbers("test")[part.rows].double().var(correction=0))
