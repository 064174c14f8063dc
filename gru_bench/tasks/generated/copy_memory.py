"""Copy memory: repeat a list of symbols after a delay."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from gru_bench.data.digest import digest, tensor_bytes
from gru_bench.tasks.base import (
    Batch,
    Common,
    Counts,
    MemoryScores,
    Metric,
    Part,
    PositiveInt,
    Scores,
    SliceScore,
    Split,
    Task,
)
from gru_bench.tasks.generated.levels import Levels
from gru_bench.tasks.objectives.guesses import share_of_commonest
from gru_bench.tasks.objectives.tag import mean_nats

GENERATOR_VERSION = "copy_memory/1"
BLANK, NUM_SYMBOLS, CUE = 0, 8, 9


class CopyMemory(Task):
    """Read M symbols, wait for T steps, then repeat them in order.

    One example with M = 3 and T = 5; 0 is blank and 9 is the cue to repeat::

        input   4  7  1  0  0  0  0  9  9  9  9
        target  0  0  0  0  0  0  0  0  4  7  1

    Symbols are uniform on 1..8. The whole has T + 2 M steps: the symbols, T - 1 blanks, M + 1 cues. Training data is
    drawn afresh at every step, each batch at one of ``lengths``. The loss is the mean cross-entropy over all steps;
    the score is recall, the share of the last M steps that are right, because the mean over all steps looks good
    even for a network that remembers nothing. Guessing gets 1/8. The score is that of the longest of ``lengths``; the
    others, and the test delays ``beyond`` them that training never sees, are slices.

    Source: Hochreiter and Schmidhuber (1997) in the form of Bai et al. (2018), arXiv:1803.01271.

    Args:
        lengths: Delays T, in training and in evaluation.
        beyond: Further delays, in the test split alone.
        num_symbols: M.
        num_eval: Validation and test examples of each delay.
    """

    metrics: tuple[Metric, ...] = (
        Metric("recall", "share of symbols", higher_is_better=True),
        Metric("loss", "nats per step", higher_is_better=False),
    )
    primary: str = "recall"
    generated: ClassVar[bool] = True
    endless: ClassVar[bool] = True

    def __init__(
        self,
        data: None,
        /,
        *,
        lengths: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)],
        num_symbols: PositiveInt,
        beyond: list[Annotated[int, Ge(1)]],
        num_eval: PositiveInt,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        self.num_symbols = num_symbols
        self.examples = Levels(self.draw, lengths, beyond, num_eval)
        self.trained_to = self.examples.levels[-1]
        self.notes.append(f"{num_symbols} symbols to copy")
        if unseen := self.examples.unseen:
            self.notes.append(f"delays {', '.join(map(str, unseen))} were never trained: they test extrapolation")

    def source_id(self) -> str:
        by_split, num_eval = self.examples.by_split, self.examples.num_eval
        return f"{GENERATOR_VERSION}:{by_split['valid']}:{by_split['test']}:{self.num_symbols}:{num_eval}"

    def load(self) -> None:
        self.examples.load()

    def draw(self, delay: int, count: int, generator: torch.Generator | None) -> Batch:
        """Draw examples of one delay."""
        return make_batch(delay, self.num_symbols, count, generator)

    def fingerprint(self) -> str:
        whole = self.examples.whole
        return digest(*(tensor_bytes(batch.inputs) for split in ("valid", "test") for batch in whole[split]))

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": NUM_SYMBOLS + 2, "num_classes": NUM_SYMBOLS + 1}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        return self.examples.batches(split, self.batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        return mean_nats(model, batch), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        M = self.num_symbols
        recalls: list[Tensor] = []
        losses: list[Tensor] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            logits_TBC = model(batch.inputs, batch.lengths)
            loss_TB = F.cross_entropy(logits_TBC.movedim(2, 1).double(), batch.targets, reduction="none")
            right_MB = logits_TBC[-M:].argmax(dim=2) == batch.targets[-M:]
            recalls.append(right_MB.double().mean(dim=0).cpu())
            losses.append(loss_TB.mean(dim=0).cpu())
        recall_N, loss_N = torch.cat(recalls), torch.cat(losses)
        longest = self.examples.hardest(split).rows
        return Scores(
            metrics={"recall": float(recall_N[longest].mean()), "loss": float(loss_N[longest].mean())},
            slices=[part.score("recall", float(recall_N[part.rows].mean())) for part in self.examples.parts(split)],
            examples={"length": self.examples.column(split), "recall": recall_N.tolist()},
        )

    def trivial(self) -> dict[str, float]:
        """Blank until the cue, then always the symbol that the test set has most.

        ``loss``: the place of the symbols is known, but not which they are: ln 8 for each of the M.
        """
        M, T = self.num_symbols, self.examples.levels[-1]
        loss = M * torch.tensor(float(NUM_SYMBOLS)).log().item() / (T + 2 * M)
        return {"recall": self._constant(self.examples.hardest("test")), "loss": loss}

    def trivial_slices(self) -> list[SliceScore]:
        return [part.score("recall", self._constant(part)) for part in self.examples.parts("test")]

    def memory_scores(self) -> list[MemoryScores]:
        """Without memory nothing is known of a symbol but that it is one."""
        return self.examples.memory_scores("recall", lambda _: 1 / NUM_SYMBOLS, lambda _: 1.0)

    def _constant(self, part: Part) -> float:
        symbols_NM = torch.cat([batch.targets[-self.num_symbols :].T for batch in self.examples.whole["test"]])
        return share_of_commonest(symbols_NM[part.rows].flatten().numpy())


def make_batch(delay: int, num_symbols: int, batch_size: int, generator: torch.Generator | None) -> Batch:
    """Draw examples of one delay: inputs and targets, each (delay + 2 * num_symbols, B)."""
    symbols_MB = torch.randint(1, NUM_SYMBOLS + 1, (num_symbols, batch_size), generator=generator)
    blanks = torch.full((delay - 1, batch_size), BLANK)
    cues = torch.full((num_symbols + 1, batch_size), CUE)
    silence = torch.full((delay + num_symbols, batch_size), BLANK)
    return Batch(torch.cat([symbols_MB, blanks, cues]), torch.cat([silence, symbols_MB]))
