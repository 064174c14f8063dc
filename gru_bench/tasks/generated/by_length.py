"""Examples that are drawn by length: what tasks of long range share."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from gru_bench.tasks.base import SPLIT_SEEDS, Batch, Part, Split

Draw = Callable[[int, int, torch.Generator | None], Batch]
"""Draws so many examples of one length: ``draw(length, count, generator)``."""


class ByLength:
    """Training data drawn afresh at every step, each batch at one length; validation and test data drawn once.

    Args:
        draw: Draws examples.
        lengths: Lengths in all splits.
        beyond: Further lengths, in the test split alone.
        num_eval: Validation and test examples of each length.
    """

    def __init__(self, draw: Draw, lengths: list[int], beyond: list[int], num_eval: int) -> None:
        self.draw = draw
        self.lengths = sorted(set(lengths))
        self.by_split: dict[Split, list[int]] = {"valid": self.lengths, "test": sorted({*lengths, *beyond})}
        self.unseen = sorted({*beyond} - {*lengths})
        self.num_eval = num_eval

    def load(self) -> None:
        """Draw validation and test data."""
        self.whole: dict[Split, list[Batch]] = {}
        for split, lengths in self.by_split.items():
            generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
            self.whole[split] = [self.draw(length, self.num_eval, generator) for length in lengths]

    def batches(self, split: Split, batch_size: int, generator: torch.Generator | None) -> Iterator[Batch]:
        """One pass over validation or test, length after length; training without end."""
        if split != "train":
            for whole in self.whole[split]:
                for part in torch.arange(self.num_eval).split(batch_size):
                    # targets are (B,) or (T, B)
                    yield Batch(whole.inputs[:, part], whole.targets[..., part])
            return
        while True:
            choice = int(torch.randint(len(self.lengths), (), generator=generator))
            yield self.draw(self.lengths[choice], batch_size, generator)

    def parts(self, split: Split) -> list[Part]:
        """One part for each length of a split, in the order of :meth:`batches`."""
        rows = np.arange(self.num_eval)
        return [Part("length", str(length), rows + i * self.num_eval) for i, length in enumerate(self.by_split[split])]

    def longest(self, split: Split) -> Part:
        """The part whose score is the task's: the longest length that training sees."""
        return self.parts(split)[self.by_split[split].index(self.lengths[-1])]

    def column(self, split: Split) -> list[int]:
        """The length of each example."""
        return [length for length in self.by_split[split] for _ in range(self.num_eval)]
