"""The word problem of a permutation group: the product of all permutations so far."""

import itertools
from typing import Any, ClassVar

import torch

from gru_bench.tasks.base import Batch
from gru_bench.tasks.generated.automata import Automaton
from gru_bench.tasks.objectives.answer import Answer

PERMUTATIONS = list(itertools.permutations(range(5)))
"""The 120 elements of S5 in lexicographic order; number 0 is the identity."""
LETTERS = ((0, 1, 2, 3, 4), (1, 0, 2, 3, 4), (1, 2, 3, 4, 0))
"""Of the symbols 0, 1 and 2: nothing moves, the first two change places, all move on by one."""


class WordProblem(Answer):
    """Read rearrangements of five things; at each of them say which of the 120 orders they are in.

    One example of length 4; symbol 0 leaves them, 1 swaps the first two, 2 moves the first to the end. Each order is
    written out; the answer is its number among all orders in lexicographic sequence::

        input        1      2      0      1
        order    10234  02341  02341  20341
        answer      24      9      9     51

    The orders are the permutations of five things, the group S5. It is not solvable, so that following its products
    is as hard as anything that bounded memory can do step by step. A linear recurrence of fixed depth whose factors act
    unit by unit (minGRU's, Mamba's), or do not depend on the input, cannot do it at all lengths (unless TC0 = NC1); one
    with a matrix that the input chooses can.

    The source reads any of the 120 elements at each step; here the three letters stand for two generators and the
    identity, so that there is less to learn by heart, and every element is still reached.

    Without memory the best answer is what the present letter leads to from the order that is most frequent over the
    sequence.

    Source: Merrill, Petty and Sabharwal (2024), arXiv:2404.08819; Barrington (1989).
    """

    version: ClassVar[str] = "word_problem/1"
    difficulty: ClassVar[str] = "length"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": len(LETTERS), "num_classes": len(PERMUTATIONS)}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        letters_TB = torch.randint(len(LETTERS), (level, count), generator=generator)
        return Batch(letters_TB, S5.answers(letters_TB))

    def without_memory(self, level: int, /) -> float:
        return S5.without_memory(level)


def make_s5() -> Automaton:
    """The automaton of products: a state is an order, a letter rearranges it."""
    number = {order: i for i, order in enumerate(PERMUTATIONS)}
    next_SA = [[number[tuple(order[place] for place in letter)] for letter in LETTERS] for order in PERMUTATIONS]
    return Automaton(torch.tensor(next_SA), torch.arange(len(PERMUTATIONS)), torch.arange(len(LETTERS)))


S5 = make_s5()
