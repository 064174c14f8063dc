"""Examples that are drawn by how hard they are: what the tasks of long range and the formal languages share."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch

from gru_bench.tasks.base import SPLIT_SEEDS, Batch, MemoryScores, Part, Split

Draw = Callable[[int, int, torch.Generator | None], Batch]
"""Draws so many examples of one level: ``draw(level, count, generator)``."""

AHEAD, TOGETHER = 128, 32
"""Training batches that are drawn in one go: one after the other, or as one of each level. The second is a part of what
the stream is."""


class Levels:
    """Training data drawn afresh at every step, each batch at one level; validation and test data drawn once.

    Train, validation and test have streams of their own: a run's seed, and two fixed seeds that no run has. The streams
    are disjoint, the examples need not be: at a low level there are so few different ones that training sees all of the
    test split. So the level whose score is the task's must be long enough; those beyond are never trained.

    Args:
        draw: Draws examples, all with equally many steps T.
        levels: In all splits.
        beyond: Further levels, in the test split alone.
        num_eval: Validation and test examples of each level.
        difficulty: What a level counts, which is also the name of the slice: ``length``, ``lag``, ``pairs`` ...
        together: Draw the training batches of one level among the next ones as one, since a small batch costs hardly
            more than the calls that draw it. It makes another stream.
    """

    def __init__(
        self,
        draw: Draw,
        levels: list[int],
        beyond: list[int],
        num_eval: int,
        *,
        difficulty: str = "length",
        together: bool = False,
    ) -> None:
        self.draw = draw
        self.levels = sorted(set(levels))
        self.by_split: dict[Split, list[int]] = {"valid": self.levels, "test": sorted({*levels, *beyond})}
        self.unseen = sorted({*beyond} - {*levels})
        self.num_eval = num_eval
        self.difficulty = difficulty
        self.together = together

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
        while True:
            yield from self._ahead(batch_size, generator)

    def _ahead(self, batch_size: int, generator: torch.Generator | None) -> list[Batch]:
        """The next training batches: between steps the caches are cold, and one batch costs as much as three here."""
        if not self.together:
            choices = (int(torch.randint(len(self.levels), (), generator=generator)) for _ in range(AHEAD))
            return [self.draw(self.levels[choice], batch_size, generator) for choice in choices]
        choice_N = torch.randint(len(self.levels), (TOGETHER,), generator=generator)
        batches: dict[int, Batch] = {}
        for choice, level in enumerate(self.levels):
            places = (choice_N == choice).nonzero().flatten().tolist()
            if not places:
                continue
            whole = self.draw(level, len(places) * batch_size, generator)
            batches |= zip(places, pieces(whole, batch_size), strict=True)
        return [batches[place] for place in range(TOGETHER)]

    def parts(self, split: Split) -> list[Part]:
        """One part for each level of a split, in the order of :meth:`batches`."""
        rows = np.arange(self.num_eval)
        return [
            Part(self.difficulty, str(level), rows + i * self.num_eval) for i, level in enumerate(self.by_split[split])
        ]

    def hardest(self, split: Split) -> Part:
        """The part whose score is the task's: the highest level that training sees."""
        return self.parts(split)[self.by_split[split].index(self.levels[-1])]

    def memory_scores(
        self, metric: str, without: Callable[[int], float], perfect: Callable[[int], float]
    ) -> list[MemoryScores]:
        """What no memory and perfect memory score in a metric, from functions of the level."""

        def scores(name: Literal["without_memory", "with_memory"], of: Callable[[int], float]) -> MemoryScores:
            parts = self.parts("test")
            slices = [part.score(metric, of(level)) for part, level in zip(parts, self.by_split["test"], strict=True)]
            return MemoryScores(name, of(self.levels[-1]), slices)

        return [scores("without_memory", without), scores("with_memory", perfect)]

    def column(self, split: Split) -> list[int]:
        """The level of each example."""
        return [level for level in self.by_split[split] for _ in range(self.num_eval)]


def pieces(whole: Batch, batch_size: int) -> Iterator[Batch]:
    """A batch in smaller ones, in order."""
    # targets are (B,) or (T, B)
    parts = zip(whole.inputs.split(batch_size, dim=1), whole.targets.split(batch_size, dim=-1), strict=True)
    for inputs, targets in parts:
        yield Batch(inputs, targets)
