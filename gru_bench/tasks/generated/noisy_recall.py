"""Noisy recall: pairs of key and value stand among noise; afterwards give the value of each key."""

from typing import Any, ClassVar, Unpack

import torch

from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Batch, PositiveInt
from gru_bench.tasks.generated.draws import distinct
from gru_bench.tasks.objectives.answer import Answer, AnswerArguments


class NoisyRecall(Answer):
    """Read pairs of key and value at random places among noise, then the keys again: give the value of each.

    One example with two pairs, lag 10, keys A to D, values 1 to 4 and noise w to z::

        input   w  C  2  x  x  z  A  4  w  y  A  C
        answer                                4  2

    A lag is the length of the stretch in which the pairs stand; the keys of an example differ, its values need not.
    Noise has an alphabet of its own, so that it can be told apart, but it must be kept out of the memory, and the
    questions come in any order. Values are uniform: without memory 1 / ``num_values`` are right. Symbols are the keys
    first, then the values, then the noise.

    Source: the noisy in-context recall of Poli et al. (2024), arXiv:2403.17844; there keys recur within the noise and
    are asked for where they recur.

    Args:
        num_pairs: Pairs of an example.
        num_keys: Different keys.
        num_values: Different values.
        num_noise: Different symbols of noise.
    """

    version: ClassVar[str] = "noisy_recall/1"
    difficulty: ClassVar[str] = "lag"

    def __init__(
        self,
        data: None,
        /,
        *,
        num_pairs: PositiveInt,
        num_keys: PositiveInt,
        num_values: PositiveInt,
        num_noise: PositiveInt,
        **common: Unpack[AnswerArguments],
    ) -> None:
        super().__init__(data, **common)
        if num_pairs > num_keys:
            raise UserError(f"task.num_keys={num_keys}: too few for task.num_pairs={num_pairs} pairs of different keys")
        if 2 * num_pairs > (shortest := self.easiest()):
            raise UserError(
                f"task.num_pairs={num_pairs}: do not fit a lag of {shortest}; every lag in task.levels and task.beyond "
                "must be at least 2 * task.num_pairs"
            )
        self.num_pairs = num_pairs
        self.num_keys = num_keys
        self.num_values = num_values
        self.num_noise = num_noise
        self.notes.append(f"{num_pairs} pairs of {num_keys} keys and {num_values} values")

    def parameters_id(self) -> str:
        return f"{self.num_pairs}:{self.num_keys}:{self.num_values}:{self.num_noise}"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": self.num_keys + self.num_values + self.num_noise, "num_classes": self.num_values}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        N, first_noise = self.num_pairs, self.num_keys + self.num_values
        keys_NB = distinct(N, self.num_keys, count, generator)
        values_NB = torch.randint(self.num_values, (N, count), generator=generator)
        inputs_TB = torch.randint(first_noise, first_noise + self.num_noise, (level + N, count), generator=generator)
        # N of the level - N places that are left where each pair takes one; the pairs before it take one more each
        places_NB = distinct(N, level - N, count, generator).sort(dim=0).values + torch.arange(N)[:, None]
        inputs_TB.scatter_(0, places_NB, keys_NB)
        inputs_TB.scatter_(0, places_NB + 1, values_NB + self.num_keys)
        order_NB = distinct(N, N, count, generator)
        inputs_TB[level:] = keys_NB.gather(0, order_NB)
        targets_TB = torch.full_like(inputs_TB, IGNORED)
        targets_TB[level:] = values_NB.gather(0, order_NB)
        return Batch(inputs_TB, targets_TB)

    def without_memory(self, level: int, /) -> float:
        return 1 / self.num_values
