"""Brackets, as a formal language: Dyck-1, a counter, and Dyck-2 of bounded depth, a stack."""

from typing import Annotated, Any, ClassVar, Unpack

import numpy as np
import torch
from annotated_types import Ge

from gru_bench.errors import UserError
from gru_bench.tasks.base import Batch, PositiveInt
from gru_bench.tasks.objectives.answer import Answer, AnswerArguments

LARGEST_STACK = 2**62
"""The open brackets are kept as the digits of one 64-bit number."""


class Dyck(Answer):
    """Read balanced brackets; at each of them say which symbols may come next.

    What may come next is one of a few sets, and its number is the answer. One example of length 8 with two kinds of
    brackets, at most two open at a time::

        input   (    [    ]    [    ]    )    [    ]
        may     ([)  ]    ([)  ]    ([)  ([$  ([]  ([$
        answer  1    4    1    4    1    0    2    0

    ``$`` is the end. Answer 0: nothing is open, so any bracket may open, or the string may end. 1 to k: the bracket of
    that kind, the last of those still open, may be closed, or another one opened. k + 1 to 2 k: it must be closed,
    since ``depth`` brackets are open; there is no such answer without a bound. Inputs 0 to k - 1 open, k to 2 k - 1
    close.

    All strings of a length are equally likely: each bracket opens with the share of the strings that go on so. The
    length is exact, so it is even, and the last answer is always 0. The score is the share of strings in which all
    answers are right.

    Without memory, opening brackets are answered by themselves where there is no bound, but a closing one does not
    say what stands open below it: at best the strings are right in which no bracket lies in another.

    Source: Suzgun et al. (2019), arXiv:1911.03329, for the answers (there a set is k + 1 separate yes or no) and for
    counting a string only where all are right; Hewitt et al. (2020), arXiv:2010.07515, for the bound on the depth.
    They draw from a grammar with probabilities, where short strings are commonest; here the length is the level.

    Args:
        kinds: k, how many kinds of brackets.
        depth: Most brackets that are open at a time; null for no bound.
    """

    version: ClassVar[str] = "dyck/1"
    difficulty: ClassVar[str] = "length"
    primary: str = "all_right"

    def __init__(
        self,
        data: None,
        /,
        *,
        kinds: PositiveInt,
        depth: Annotated[int, Ge(1)] | None,
        **answers: Unpack[AnswerArguments],
    ) -> None:
        super().__init__(data, **answers)
        self.kinds = kinds
        self.depth = depth
        for level in self.examples.by_split["test"]:
            if level % 2:
                raise UserError(f"task.levels and task.beyond: {level} is odd, but balanced brackets come in pairs")
            if kinds ** self.most_open(level) > LARGEST_STACK:
                raise UserError(
                    f"task.depth: {kinds} kinds of brackets with up to {self.most_open(level)} open are too many; "
                    "name a smaller depth"
                )
        self.tables: dict[int, np.ndarray] = {}

    def parameters_id(self) -> str:
        return f"{self.kinds}:{self.depth}"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": 2 * self.kinds, "num_classes": 1 + self.kinds * (1 if self.depth is None else 2)}

    def most_open(self, level: int, /) -> int:
        """The largest depth that a string of a length reaches."""
        return level // 2 if self.depth is None else min(self.depth, level // 2)

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        opens_TD = self.opening(level)
        chances_TB = torch.rand(level, count, generator=generator).numpy()
        kinds_TB = torch.randint(self.kinds, (level, count), generator=generator).numpy()
        is_open_TB = np.empty((level, count), dtype=bool)
        depth_TB, kind_TB, top_TB = (np.zeros((level, count), dtype=np.int64) for _ in range(3))
        # the kinds of the open brackets as the digits of a number, the last one lowest
        depth_B, stack_B = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for t in range(level):
            is_open_B = np.less(chances_TB[t], opens_TD[t].take(depth_B), out=is_open_TB[t])
            depth_B = np.add(depth_B, np.where(is_open_B, 1, -1), out=depth_TB[t])
            if self.kinds == 1:  # nothing to keep
                continue
            stack_B = np.where(is_open_B, stack_B * self.kinds + kinds_TB[t], stack_B // self.kinds)
            np.remainder(stack_B, self.kinds, out=top_TB[t])
        # a bracket that closes is of the kind that was on top before it
        kind_TB[1:] = np.where(is_open_TB[1:], kinds_TB[1:], top_TB[:-1])
        kind_TB[0] = kinds_TB[0]
        targets_TB = np.where(depth_TB > 0, 1 + top_TB, 0)
        if self.depth is not None:
            targets_TB += self.kinds * (depth_TB == self.depth)
        return Batch(torch.from_numpy(kind_TB + self.kinds * ~is_open_TB), torch.from_numpy(targets_TB))

    def without_memory(self, level: int, /) -> float:
        """The share of the strings of a length in which no bracket lies in another: one of all shapes."""
        return float(0.5**level / self.home(level)[level, 0])

    def home(self, level: int, /) -> np.ndarray:
        """The chance that a fair walk within 0 and the largest depth is at 0 after r steps, from each depth: (R, D).

        Times 2^r it is the number of ways in which so many brackets close a string of that depth.
        """
        home_RD = np.zeros((level + 1, self.most_open(level) + 1))
        home_RD[0, 0] = 1
        for r in range(level):
            home_RD[r + 1, 1:] = home_RD[r, :-1] / 2
            home_RD[r + 1, :-1] += home_RD[r, 1:] / 2
        return home_RD

    def opening(self, level: int, /) -> np.ndarray:
        """The probability that the bracket at step t opens, at each depth before it: (T, D); 0 where none is there."""
        if level not in self.tables:
            home_RD = self.home(level)
            up_TD = np.pad(home_RD[level - 1 :: -1, 1:], ((0, 0), (0, 1))) / 2
            both_TD = home_RD[:0:-1]
            opens_TD = np.divide(up_TD, both_TD, out=np.zeros_like(up_TD), where=both_TD > 0)
            self.tables[level] = opens_TD.astype(np.float32)  # as the random numbers are: nothing is converted then
        return self.tables[level]
