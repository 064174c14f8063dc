"""Echo, the simplest memory: say at each step what was read one step before."""

from typing import Any, ClassVar

import torch

from gru_bench.tasks.base import Batch
from gru_bench.tasks.objectives.answer import Answer


class Echo(Answer):
    """Read bits; at each of them say which one came before; at the first, 0.

    One example of length 5::

        input   1  0  1  1  0
        answer  0  1  0  1  1
    """

    version: ClassVar[str] = "echo/1"
    difficulty: ClassVar[str] = "length"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": 2, "num_classes": 2}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        bits_TB = torch.randint(2, (level, count), generator=generator)
        return Batch(bits_TB, torch.cat([torch.zeros_like(bits_TB[:1]), bits_TB[:-1]]))

    def without_memory(self, level: int, /) -> float:
        return (1 + (level - 1) / 2) / level
