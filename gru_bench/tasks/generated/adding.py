"""The adding problem: remember two numbers over a distance and add them."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from gru_bench.tasks.base import (
    SPLIT_SEEDS,
    Batch,
    Counts,
    Metric,
    PositiveFloat,
    PositiveInt,
    Scores,
    SliceScore,
    Split,
    Task,
    digest,
    tensor_bytes,
)

GENERATOR_VERSION = "adding/1"


class Adding(Task):
    """Predict the sum of the two marked numbers.

    One example with T = 6; the target is 0.9 + 0.3::

        value   0.2  0.9  0.5  0.1  0.3  0.7
        marker  0    1    0    0    1    0       ->  1.2

    Values are uniform on [0, 1]; the two markers stand at distinct positions drawn uniformly. Training data is drawn
    afresh at every step, each batch at one of ``lengths``. The guess that looks at nothing says 1 and has a mean
    squared error of 2 * Var(U[0, 1]) = 1/6. The score is that of the longest of ``lengths``; the others, and the test
    lengths ``beyond`` them that training never sees, are slices.

    Source: Hochreiter and Schmidhuber (1997); markers anywhere as in Bai et al. (2018).

    Args:
        lengths: Sequence lengths T, in training and in evaluation.
        beyond: Further lengths, in the test split alone.
        num_eval: Validation and test examples of each length.
    """

    metrics: tuple[Metric, ...] = (
        Metric("mse", "squared error", higher_is_better=False),
        Metric("loss", "squared error", higher_is_better=False),
    )
    primary: str = "mse"
    generated: ClassVar[bool] = True
    endless: ClassVar[bool] = True

    def __init__(
        self,
        data: None,
        /,
        *,
        lengths: Annotated[list[Annotated[int, Ge(2)]], MinLen(1)],
        beyond: list[Annotated[int, Ge(2)]],
        num_eval: PositiveInt,
        batch_size: PositiveInt,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
        self.lengths = sorted(set(lengths))
        self.eval_lengths: dict[Split, list[int]] = {"valid": self.lengths, "test": sorted({*lengths, *beyond})}
        self.num_eval = num_eval
        if unseen := sorted({*beyond} - {*lengths}):
            self.notes.append(f"lengths {', '.join(map(str, unseen))} were never trained: they test extrapolation")

    def source_id(self) -> str:
        return f"{GENERATOR_VERSION}:{self.lengths}:{self.eval_lengths['test']}:{self.num_eval}"

    def load(self) -> None:
        self._eval: dict[Split, list[Batch]] = {}
        for split in self.eval_lengths:
            generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
            self._eval[split] = [make_batch(T, self.num_eval, generator) for T in self.eval_lengths[split]]

    def _test_batch(self, length: int) -> Batch:
        return self._eval["test"][self.eval_lengths["test"].index(length)]

    def fingerprint(self) -> str:
        batches = self._eval["valid"] + self._eval["test"]
        return digest(*(tensor_bytes(t) for batch in batches for t in (batch.inputs, batch.targets)))

    def sizes(self) -> dict[str, int]:
        return {"input_size": 2, "num_outputs": 1}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if split != "train":
            for whole in self._eval[split]:
                for part in torch.arange(self.num_eval).split(self.batch_size):
                    yield Batch(whole.inputs[:, part], whole.targets[part])
            return
        while True:
            choice = int(torch.randint(len(self.lengths), (), generator=generator))
            yield make_batch(self.lengths[choice], self.batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        T, B = batch.inputs.shape[:2]
        return F.mse_loss(model(batch.inputs).squeeze(1), batch.targets), Counts(T * B, B), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        errors: dict[int, list[Tensor]] = {T: [] for T in self.eval_lengths[split]}
        for batch in self.batches(split):
            batch = batch.to(*place)
            predicted_B = model(batch.inputs).squeeze(1)
            errors[batch.inputs.shape[0]].append((predicted_B.double() - batch.targets.double()).square().cpu())
        by_length = {T: torch.cat(parts) for T, parts in errors.items()}
        mse = float(by_length[self.lengths[-1]].mean())
        return Scores(
            metrics={"mse": mse, "loss": mse},
            slices=[SliceScore("mse", "length", str(T), float(e.mean())) for T, e in by_length.items()],
            examples=examples_by_length("squared_error", by_length),
        )

    def trivial(self) -> dict[str, float]:
        mse = self._guess_one(self.lengths[-1])
        return {"mse": mse, "loss": mse}

    def trivial_slices(self) -> list[SliceScore]:
        return [SliceScore("mse", "length", str(T), self._guess_one(T)) for T in self.eval_lengths["test"]]

    def _guess_one(self, length: int) -> float:
        """Mean squared error of the sum's expected value, 1, on the test sequences of one length."""
        return float((self._test_batch(length).targets - 1.0).square().mean())


def examples_by_length(name: str, by_length: dict[int, Tensor]) -> dict[str, list[Any]]:
    """Per-example values of all lengths as two columns, ``length`` and ``name``."""
    return {
        "length": [T for T, values in by_length.items() for _ in range(len(values))],
        name: torch.cat(list(by_length.values())).tolist(),
    }


def make_batch(seq_len: int, batch_size: int, generator: torch.Generator | None) -> Batch:
    """Draw examples of one length: inputs (T, B, 2) with values and markers, targets (B)."""
    values_TB = torch.rand(seq_len, batch_size, generator=generator)
    # the order of random numbers is a random permutation: its first two entries are distinct positions
    marked_2B = torch.rand(seq_len, batch_size, generator=generator).argsort(dim=0)[:2]
    markers_TB = torch.zeros(seq_len, batch_size).scatter_(0, marked_2B, 1.0)
    return Batch(torch.stack([values_TB, markers_TB], dim=2), (values_TB * markers_TB).sum(dim=0))
