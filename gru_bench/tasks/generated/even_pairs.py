"""Even pairs: whether the bits have changed an even number of times."""

from typing import Any, ClassVar

import torch

from gru_bench.tasks.base import Batch
from gru_bench.tasks.objectives.answer import Answer


class EvenPairs(Answer):
    """Read bits; at each of them say whether 01 and 10 have occurred an even number of times so far.

    One example of length 6; the number of changes so far is 0 0 1 2 2 3::

        input   1  1  0  1  1  0
        answer  1  1  0  1  1  0

    It sounds like counting, but the number is even exactly where the bit is the first one again: it is enough to keep
    one bit, which nothing afterwards changes. So a cell that fails here fails to keep, where one that solves it but
    not ``parity`` fails to update.

    Without memory "even" is always right at the first step and half of the time at the others. The source asks for
    the last answer alone; here each step asks, which teaches more from a sequence.

    Source: Delétang et al. (2023), arXiv:2207.02098, a regular language.
    """

    version: ClassVar[str] = "even_pairs/1"
    difficulty: ClassVar[str] = "length"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": 2, "num_classes": 2}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        bits_TB = torch.randint(2, (level, count), generator=generator)
        return Batch(bits_TB, (bits_TB == bits_TB[0]).long())

    def without_memory(self, level: int, /) -> float:
        return (1 + (level - 1) / 2) / level
