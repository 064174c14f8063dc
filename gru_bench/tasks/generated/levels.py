"""Examples that are drawn by how hard they are: what the tasks of long range and the formal languages share."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from gru_bench.tasks.base import SPLIT_SEEDS, Batch, Part, Split

Draw = Callable[[int, int, torch.Generator | None], Batch]
"""Draws so many examples of one level: ``draw(level, count, generator)``."""


class Levels:
    """Training data drawn afresh at every step, each batch at one level; validation and test data drawn once.

    Train, validation and test have streams of their own: a run's seed, and two fixed seeds that no run has.

    Args:
        draw: Draws examples, all with equally many steps T.
        levels: In all splits.
        beyond: Further levels, in the test split alone.
        num_eval: Validation and test examples of each level.
        difficulty: What a level counts, which is also the name of the slice: ``length``, ``lag``, ``pairs`` ...
        ahead: Training batches of a level that are drawn at once, for a draw whose cost hardly grows with its count.
    """

    def __init__(
        self,
        draw: Draw,
        levels: list[int],
        beyond: list[int],
        num_eval: int,
        *,
        difficulty: str = "length",
        ahead: int = 1,
    ) -> None:
        self.draw = draw
        self.levels = sorted(set(levels))
        self.by_split: dict[Split, list[int]] = {"valid": self.levels, "test": sorted({*levels, *beyond})}
        self.unseen = sorted({*beyond} - {*levels})
        self.num_eval = num_eval
        self.difficulty = difficulty
        self.ahead = ahead

    def load(self) -> None:
        """Draw validation and test data."""
        self.whole: dict[Split, list[Batch]] = {}
        for split, levels in self.by_split.items():
            generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
            self.whole[split] = [self.draw(level, self.num_eval, generator) for level in levels]

    def batches(self, split: Split, batch_size: int, generator: torch.Generator | None) -> Iterator[Batch]:
        """One pass over validation or test, level after level; training without end."""
        if split != "train":
            for whole in self.whole[split]:
                yield from pieces(whole, batch_size)
            return
        drawn: dict[int, list[Batch]] = {level: [] for level in self.levels}
        while True:
            level = self.levels[int(torch.randint(len(self.levels), (), generator=generator))]
            if not drawn[level]:
                whole = self.draw(level, self.ahead * batch_size, generator)
                drawn[level] = [whole] if self.ahead == 1 else list(pieces(whole, batch_size))
            yield drawn[level].pop()

    def parts(self, split: Split) -> list[Part]:
        """One part for each level of a split, in the order of :meth:`batches`."""
        rows = np.arange(self.num_eval)
        return [
            Part(self.difficulty, str(level), rows + i * self.num_eval) for i, level in enumerate(self.by_split[split])
        ]

    def hardest(self, split: Split) -> Part:
        """The part whose score is the task's: the highest level that training sees."""
        return self.parts(split)[self.by_split[split].index(self.levels[-1])]

    def column(self, split: Split) -> list[int]:
        """The level of each example."""
        return [level for level in self.by_split[split] for _ in range(self.num_eval)]


def pieces(whole: Batch, batch_size: int) -> Iterator[Batch]:
    """A batch in smaller ones, in order."""
    for part in torch.arange(whole.inputs.shape[1]).split(batch_size):
        # targets are (B,) or (T, B)
        yield Batch(whole.inputs[:, part], whole.targets[..., part])
