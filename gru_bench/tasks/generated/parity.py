"""Parity, as a formal language: whether the number of ones so far is odd."""

from typing import Any, ClassVar

import torch

from gru_bench.tasks.base import Batch
from gru_bench.tasks.objectives.answer import Answer


class Parity(Answer):
    """Read bits; at each of them say whether the number of ones until then is odd.

    One example of length 6::

        input   1  0  1  1  0  1
        answer  1  1  0  1  1  0

    Bits are fair coins, so without memory half of the answers are right (the first bit alone is its own answer). One
    bit of state solves it, but each answer depends on every input: nothing may be forgotten, and no input is a
    distractor. A recurrence that is linear in its state with positive factors cannot do it.

    Source: Minsky and Papert (1969); as a test of state tracking Hahn (2020), doi:10.1162/tacl_a_00306.
    """

    version: ClassVar[str] = "parity/1"
    difficulty: ClassVar[str] = "length"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": 2, "num_classes": 2}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        bits_TB = torch.randint(2, (level, count), generator=generator)
        return Batch(bits_TB, bits_TB.cumsum(dim=0) % 2)

    def without_memory(self, level: int, /) -> float:
        return (1 + (level - 1) / 2) / level
