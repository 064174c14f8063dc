"""Multi-query associative recall: a list of pairs of key and value, then the keys again at random places."""

from typing import Any, ClassVar, Unpack

import torch

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Batch, PositiveInt
from gru_bench.tasks.generated.draws import distinct
from gru_bench.tasks.objectives.answer import Answer, AnswerArguments

POWER = 0.01
"""Of the law of the gaps: a question i places after the pairs has weight i ** (POWER - 1)."""


class AssociativeRecall(Answer):
    """Read pairs of key and value; whenever a key comes again, give its value.

    One example with two pairs and length 12, keys A to D, values 1 to 4; a dot is any symbol, and asks for nothing::

        input   C  2  A  4  .  .  A  .  .  .  C  .
        answer                    4           2

    The keys of an example differ, and so do its values. Each is asked for once, at one of the places 0, 2, 4 ... after
    the pairs, near ones much more often than far ones. All other places hold symbols at random, keys and values alike,
    so that a key that comes again need not ask; with ``noise`` off they hold a symbol of their own, 0. A level is the
    number of pairs; the length stays the same. What a cell can hold is bounded by the floats of its state (H for a
    GRU, 2 H for an LSTM), which is what this task is to be plotted against.

    Only the key is seen without memory, which says nothing of its value: 1 / ``num_values`` are right.

    Source: Arora et al. (2023), arXiv:2312.04927 (MQAR), where 8,192 symbols are half keys, half values.

    Args:
        length: Of a sequence; at least four times the pairs, as in the source.
        num_keys: Different keys.
        num_values: Different values.
        noise: Whether the places that do not ask hold symbols at random.
    """

    version: ClassVar[str] = "associative_recall/1"
    difficulty: ClassVar[str] = "pairs"

    def __init__(
        self,
        data: None,
        /,
        *,
        length: PositiveInt,
        num_keys: PositiveInt,
        num_values: PositiveInt,
        noise: bool,
        **common: Unpack[AnswerArguments],
    ) -> None:
        super().__init__(data, **common)
        most = self.examples.by_split["test"][-1]
        if 4 * most > length:
            raise UserError(
                f"task.length={length}: too short for {most} pairs, which need at least 4 * {most} = {4 * most}"
            )
        for name, number in (("num_keys", num_keys), ("num_values", num_values)):
            if number < most:
                raise UserError(
                    f"task.{name}={number}: too few symbols for {most} pairs, which need {most} different ones"
                )
        self.length = length
        self.num_keys = num_keys
        self.num_values = num_values
        self.noise = noise
        self.notes.append(f"{num_keys} keys, {num_values} values, {length} steps")

    def parameters_id(self) -> str:
        return f"{self.length}:{self.num_keys}:{self.num_values}:{self.noise}"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": 1 + self.num_keys + self.num_values, "num_classes": self.num_values}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        N, B = level, count
        keys_NB = distinct(N, self.num_keys, B, generator)
        values_NB = distinct(N, self.num_values, B, generator)
        if self.noise:
            symbols = self.num_keys + self.num_values
            inputs_TB = torch.randint(1, 1 + symbols, (self.length, B), generator=generator)
        else:
            inputs_TB = torch.zeros(self.length, B, dtype=torch.long)
        inputs_TB[0 : 2 * N : 2] = keys_NB + 1
        inputs_TB[1 : 2 * N : 2] = values_NB + 1 + self.num_keys
        # the places whose waiting times with rates in proportion to the weights end first: a draw without replacement
        places = (self.length - 2 * N) // 2
        weights = torch.arange(1.0, places + 1).pow(POWER - 1)
        waits_PB = torch.empty(places, B).exponential_(generator=generator) / weights[:, None]
        asks_NB = 2 * N + 2 * waits_PB.topk(N, dim=0, largest=False).indices
        inputs_TB.scatter_(0, asks_NB, keys_NB + 1)
        targets_TB = torch.full_like(inputs_TB, IGNORED).scatter_(0, asks_NB, values_NB)
        return Batch(inputs_TB, targets_TB)

    def without_memory(self, level: int, /) -> float:
        return 1 / self.num_values
