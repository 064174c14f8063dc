"""Cycle navigation: where steps forward and back on a ring lead."""

from typing import Any, ClassVar

import torch

from gru_bench.tasks.base import Batch
from gru_bench.tasks.generated.automata import Automaton
from gru_bench.tasks.objectives.answer import Answer

PLACES = 5
MOVES = torch.tensor([0, 1, -1])
"""Of the symbols 0, 1 and 2."""


class CycleNavigation(Answer):
    """Read moves on a ring of five places, starting at place 0; at each of them say where one is.

    One example of length 6; symbol 0 is a stay, 1 a step forward, 2 a step back::

        input   1  1  0  2  2  2
        answer  1  2  2  1  0  4

    The state is a number modulo 5, a cyclic group. Without memory the best answer is the place to which the present
    move leads from 0, since the walk is at 0 most often; for long sequences that is right 1 time in 5. The source asks
    for the last place alone; here each step asks.

    Source: Delétang et al. (2023), arXiv:2207.02098, a regular language.
    """

    version: ClassVar[str] = "cycle_navigation/1"
    difficulty: ClassVar[str] = "length"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": len(MOVES), "num_classes": PLACES}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        symbols_TB = torch.randint(len(MOVES), (level, count), generator=generator)
        return Batch(symbols_TB, MOVES[symbols_TB].cumsum(dim=0) % PLACES)

    def without_memory(self, level: int, /) -> float:
        places = torch.arange(PLACES)
        ring = Automaton((places[:, None] + MOVES) % PLACES, places, torch.arange(len(MOVES)))
        return ring.without_memory(level)
