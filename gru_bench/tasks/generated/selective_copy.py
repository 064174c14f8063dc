"""Selective copying: repeat the symbols that stand somewhere among blanks."""

from typing import Any, ClassVar, Unpack

import torch

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Batch, PositiveInt
from gru_bench.tasks.generated.draws import distinct
from gru_bench.tasks.objectives.answer import Answer, AnswerArguments

BLANK, CUE = 0, 1
FIRST = 2
"""The first of the symbols to remember."""


class SelectiveCopy(Answer):
    """Read M symbols that stand at random places of a stretch of blanks, then repeat them in order.

    One example with M = 3, lag 8 and four symbols a to d; a dot is blank, each ? asks::

        input   .  c  .  .  a  .  c  .  ?  ?  ?
        answer                          c  a  c

    A lag is the length of the stretch, in which each set of M places is equally likely. Since the gaps differ from
    example to example, no fixed delay is of use: a cell must let symbols in and keep blanks out. Symbols are uniform,
    so a model without memory gets 1 / ``num_symbols``. Blank is symbol 0, the cue that asks is 1.

    Source: Jing et al. (2019), arXiv:1706.02761, as the denoising task; Gu and Dao (2023), arXiv:2312.00752, where
    M = 16 of 14 symbols stand among 4,096 steps.

    Args:
        num_tokens: M.
        num_symbols: Different symbols to remember.
    """

    version: ClassVar[str] = "selective_copy/1"
    difficulty: ClassVar[str] = "lag"

    def __init__(
        self, data: None, /, *, num_tokens: PositiveInt, num_symbols: PositiveInt, **common: Unpack[AnswerArguments]
    ) -> None:
        super().__init__(data, **common)
        if num_tokens > (shortest := self.easiest()):
            raise UserError(
                f"task.num_tokens={num_tokens}: do not fit a lag of {shortest}; every lag in task.levels and "
                "task.beyond must be at least task.num_tokens"
            )
        self.num_tokens = num_tokens
        self.num_symbols = num_symbols
        self.notes.append(f"{num_tokens} of {num_symbols} symbols to remember")

    def parameters_id(self) -> str:
        return f"{self.num_tokens}:{self.num_symbols}"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": FIRST + self.num_symbols, "num_classes": self.num_symbols}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        M = self.num_tokens
        tokens_MB = torch.randint(self.num_symbols, (M, count), generator=generator)
        places_MB = distinct(M, level, count, generator).sort(dim=0).values
        inputs_TB = torch.full((level + M, count), CUE)
        inputs_TB[:level] = BLANK
        inputs_TB.scatter_(0, places_MB, tokens_MB + FIRST)
        targets_TB = torch.full_like(inputs_TB, IGNORED)
        targets_TB[level:] = tokens_MB
        return Batch(inputs_TB, targets_TB)

    def without_memory(self, level: int, /) -> float:
        return 1 / self.num_symbols
