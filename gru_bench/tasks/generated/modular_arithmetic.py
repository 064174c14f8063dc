"""Modular arithmetic: the value of a sum of products, modulo 5."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Batch
from gru_bench.tasks.generated.automata import Automaton
from gru_bench.tasks.objectives.answer import Answer

MODULUS = 5
PLUS, MINUS, TIMES = range(MODULUS, MODULUS + 3)
OPERATORS = (PLUS, MINUS, TIMES)


class ModularArithmetic(Answer):
    """Read numbers and operators in turn; at each number give the value of the expression so far, modulo 5.

    One example of length 7; multiplication binds more strongly, as usual, and operators ask for nothing::

        input   2  +  3  *  4  -  1
        answer  2     0     4     3

    Symbols 0 to 4 are the numbers, 5, 6 and 7 are plus, minus and times. A length is the number of symbols, one more
    where it is even, since an expression ends with a number. The state is a pair: the sum of the finished products and
    the signed product that is still open. This is the variant without brackets, "modular arithmetic (simple)" of the
    source, which asks for the last value alone; here each number asks.

    Without memory only the present number is seen, which is the value itself at the first step and little afterwards.

    Source: Delétang et al. (2023), arXiv:2207.02098, a regular language.
    """

    version: ClassVar[str] = "modular_arithmetic/1"
    difficulty: ClassVar[str] = "length"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": MODULUS + len(OPERATORS), "num_classes": MODULUS}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        letters_NB = torch.randint(len(OPERATORS) * MODULUS, (level // 2 + 1, count), generator=generator)
        symbols_TB = torch.empty(2 * (level // 2) + 1, count, dtype=torch.long)
        symbols_TB[0::2] = letters_NB % MODULUS
        symbols_TB[1::2] = letters_NB[1:] // MODULUS + MODULUS
        values_TB = torch.full_like(symbols_TB, IGNORED)
        values_TB[0::2] = CALCULATOR.answers(letters_NB)
        return Batch(symbols_TB, values_TB)

    def without_memory(self, level: int, /) -> float:
        return CALCULATOR.without_memory(level // 2 + 1)


def make_calculator() -> Automaton:
    """The automaton of expressions.

    A letter is an operator and the number after it: 5 * operator + number. A state is 5 * sum + product; one more is
    the start, where the operator has no effect (and is not shown).
    """
    start = MODULUS * MODULUS
    letters = torch.arange(len(OPERATORS) * MODULUS)
    operator_A, number_A = letters // MODULUS + MODULUS, letters % MODULUS
    sum_S1, product_S1 = (states[:, None] for states in (torch.arange(start) // MODULUS, torch.arange(start) % MODULUS))
    closed_S1 = sum_S1 + product_S1
    next_sum_SA = torch.where(operator_A == TIMES, sum_S1, closed_S1) % MODULUS
    opened_A: Tensor = torch.where(operator_A == MINUS, -number_A, number_A)
    next_product_SA = torch.where(operator_A == TIMES, product_S1 * number_A, opened_A) % MODULUS
    next_SA = torch.cat([MODULUS * next_sum_SA + next_product_SA, number_A[None]])
    answer_S = torch.cat([(sum_S1 + product_S1).flatten() % MODULUS, torch.zeros(1, dtype=torch.long)])
    return Automaton(next_SA, answer_S, number_A, start)


CALCULATOR = make_calculator()
