"""The adding problem: remember two numbers over a distance and add them."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Unpack

import torch
from annotated_types import Ge, MinLen
from torch import Tensor

from gru_bench.data.digest import digest, tensor_bytes
from gru_bench.tasks.base import Batch, Common, MemoryScores, Part, PositiveInt, Split
from gru_bench.tasks.generated.levels import Levels
from gru_bench.tasks.objectives.regress import Regress

GENERATOR_VERSION = "adding/1"


class Adding(Regress):
    """Predict the sum of the two marked numbers.

    One example with T = 6; the target is 0.9 + 0.3::

        value   0.2  0.9  0.5  0.1  0.3  0.7
        marker  0    1    0    0    1    0       ->  1.2

    Values are uniform on [0, 1]; the two markers stand at distinct positions drawn uniformly. Training data is drawn
    afresh at every step, each batch at one of ``lengths``. The best constant answer, about 1, has a mean
    squared error of about 2 * Var(U[0, 1]) = 1/6. The score is that of the longest of ``lengths``; the others, and the
    test lengths ``beyond`` them that training never sees, are slices.

    Source: Hochreiter and Schmidhuber (1997); markers anywhere as in Bai et al. (2018).

    Args:
        lengths: Sequence lengths T, in training and in evaluation.
        beyond: Further lengths, in the test split alone.
        num_eval: Validation and test examples of each length.
    """

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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        self.examples = Levels(make_batch, lengths, beyond, num_eval)
        self.trained_to = self.examples.levels[-1]
        if unseen := self.examples.unseen:
            self.notes.append(f"lengths {', '.join(map(str, unseen))} were never trained: they test extrapolation")

    def source_id(self) -> str:
        by_split, num_eval = self.examples.by_split, self.examples.num_eval
        return f"{GENERATOR_VERSION}:{by_split['valid']}:{by_split['test']}:{num_eval}"

    def load(self) -> None:
        self.examples.load()

    def fingerprint(self) -> str:
        batches = self.examples.whole["valid"] + self.examples.whole["test"]
        return digest(*(tensor_bytes(t) for batch in batches for t in (batch.inputs, batch.targets)))

    def sizes(self) -> dict[str, int]:
        return {"input_size": 2, "num_outputs": 1}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        return self.examples.batches(split, self.batch_size, generator)

    def numbers(self, split: Split) -> Tensor:
        return torch.cat([batch.targets for batch in self.examples.whole[split]])

    def parts(self, split: Split) -> list[Part]:
        return self.examples.parts(split)

    def scored(self, split: Split) -> Part:
        return self.examples.hardest(split)

    def without_memory(self, length: int, /) -> float:
        """The mean squared error of a model that sees the last step alone.

        With probability 2 / T that step is marked: then one number is known, and only the other one varies, by 1/12.
        Else both do: 1/6.
        """
        return (1 - 1 / length) / 6

    def memory_scores(self) -> list[MemoryScores]:
        return self.examples.memory_scores(self.primary, self.without_memory, lambda _: 0.0)

    def columns(self, split: Split) -> dict[str, list[Any]]:
        return {"length": self.examples.column(split)}


def make_batch(seq_len: int, batch_size: int, generator: torch.Generator | None) -> Batch:
    """Draw examples of one length: inputs (T, B, 2) with values and markers, targets (B)."""
    inputs_TB2 = torch.empty(seq_len, batch_size, 2)
    values_TB, markers_TB = inputs_TB2.unbind(dim=2)
    values_TB.uniform_(generator=generator)
    # the places of the two smallest of so many random numbers: two that differ, each pair of places equally likely
    marked_2B = markers_TB.uniform_(generator=generator).topk(2, dim=0, largest=False).indices
    markers_TB.zero_().scatter_(0, marked_2B, 1.0)
    return Batch(inputs_TB2, values_TB.gather(0, marked_2B).sum(dim=0))
