"""Delayed recall: say at the end which cue was seen some random time before."""

from typing import Annotated, Any, ClassVar, Unpack

import torch
from annotated_types import Ge

from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Batch, PositiveInt
from gru_bench.tasks.objectives.answer import Answer, AnswerArguments

QUERY = 0


class DelayedRecall(Answer):
    """One cue among distractors; at the end, say which.

    One example with lag 7, cues A to D and distractors w to z; ? asks::

        input   x  w  z  B  w  w  y  x  ?
        answer                          B

    Between cue and question stand 1 to ``lag`` distractors, each number equally likely. The rest stands before the
    cue, so that all sequences of a lag have lag + 2 steps. Cues and distractors are alphabets of their own, both
    uniform: it is clear what to keep, and the difficulty is to keep it. Without memory 1 / ``num_cues`` are right.
    The question is symbol 0, then come the cues, then the distractors.

    Source: the T-maze of Bakker (2002), in the form of a sequence; there the cue is the first thing seen.

    Args:
        num_cues: Different cues.
        num_distractors: Different distractors.
    """

    version: ClassVar[str] = "delayed_recall/1"
    difficulty: ClassVar[str] = "lag"

    def __init__(
        self,
        data: None,
        /,
        *,
        num_cues: Annotated[int, Ge(2)],
        num_distractors: PositiveInt,
        **common: Unpack[AnswerArguments],
    ) -> None:
        super().__init__(data, **common)
        self.num_cues = num_cues
        self.num_distractors = num_distractors

    def parameters_id(self) -> str:
        return f"{self.num_cues}:{self.num_distractors}"

    def sizes(self) -> dict[str, Any]:
        return {"vocab_size": 1 + self.num_cues + self.num_distractors, "num_classes": self.num_cues}

    def draw(self, level: int, count: int, generator: torch.Generator | None, /) -> Batch:
        first = 1 + self.num_cues
        inputs_TB = torch.randint(first, first + self.num_distractors, (level + 2, count), generator=generator)
        cues_1B = torch.randint(self.num_cues, (1, count), generator=generator)
        places_1B = torch.randint(level, (1, count), generator=generator)
        inputs_TB.scatter_(0, places_1B, cues_1B + 1)
        inputs_TB[-1] = QUERY
        targets_TB = torch.full_like(inputs_TB, IGNORED)
        targets_TB[-1] = cues_1B[0]
        return Batch(inputs_TB, targets_TB)

    def without_memory(self, level: int, /) -> float:
        return 1 / self.num_cues
