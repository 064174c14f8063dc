"""Copy memory: repeat a list of symbols after a delay."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn

from gru_bench.tasks.base import (
    SPLIT_SEEDS,
    Batch,
    Counts,
    Metric,
    PositiveFloat,
    PositiveInt,
    Scores,
    SliceScore,
    Split,
    Task,
    digest,
    tensor_bytes,
)
from gru_bench.tasks.generated.adding import examples_by_length

GENERATOR_VERSION = "copy_memory/1"
BLANK, NUM_SYMBOLS, CUE = 0, 8, 9


class CopyMemory(Task):
    """Read M symbols, wait for T steps, then say them in order.

    One example with M = 3 and T = 5; 0 is blank and 9 is the cue to speak::

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
        batch_size: PositiveInt,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
        self.lengths = sorted(set(lengths))
        self.eval_lengths: dict[Split, list[int]] = {"valid": self.lengths, "test": sorted({*lengths, *beyond})}
        self.num_symbols = num_symbols
        self.num_eval = num_eval
        self.notes.append(f"{num_symbols} symbols to copy")
        if unseen := sorted({*beyond} - {*lengths}):
            self.notes.append(f"delays {', '.join(map(str, unseen))} were never trained: they test extrapolation")

    def source_id(self) -> str:
        return f"{GENERATOR_VERSION}:{self.lengths}:{self.eval_lengths['test']}:{self.num_symbols}:{self.num_eval}"

    def load(self) -> None:
        self._eval: dict[Split, list[Batch]] = {}
        for split in self.eval_lengths:
            generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
            self._eval[split] = [
                make_batch(T, self.num_symbols, self.num_eval, generator) for T in self.eval_lengths[split]
            ]

    def fingerprint(self) -> str:
        return digest(*(tensor_bytes(batch.inputs) for split in ("valid", "test") for batch in self._eval[split]))

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": NUM_SYMBOLS + 2, "num_classes": NUM_SYMBOLS + 1}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if split != "train":
            for whole in self._eval[split]:
                for part in torch.arange(self.num_eval).split(self.batch_size):
                    yield Batch(whole.inputs[:, part], whole.targets[:, part])
            return
        while True:
            choice = int(torch.randint(len(self.lengths), (), generator=generator))
            yield make_batch(self.lengths[choice], self.num_symbols, self.batch_size, generator)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        T, B = batch.inputs.shape
        logits_TBC = model(batch.inputs)
        return F.cross_entropy(logits_TBC.flatten(0, 1), batch.targets.flatten()), Counts(T * B, B), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        M = self.num_symbols
        recalls: dict[int, list[Tensor]] = {T: [] for T in self.eval_lengths[split]}
        losses: dict[int, list[Tensor]] = {T: [] for T in self.eval_lengths[split]}
        for batch in self.batches(split):
            batch = batch.to(*place)
            delay = batch.inputs.shape[0] - 2 * M
            logits_TBC = model(batch.inputs)
            loss_TB = F.cross_entropy(logits_TBC.movedim(2, 1).double(), batch.targets, reduction="none")
            right_MB = logits_TBC[-M:].argmax(dim=2) == batch.targets[-M:]
            recalls[delay].append(right_MB.double().mean(dim=0).cpu())
            losses[delay].append(loss_TB.mean(dim=0).cpu())
        by_length = {T: torch.cat(parts) for T, parts in recalls.items()}
        longest = self.lengths[-1]
        return Scores(
            metrics={"recall": float(by_length[longest].mean()), "loss": float(torch.cat(losses[longest]).mean())},
            slices=[SliceScore("recall", "length", str(T), float(r.mean())) for T, r in by_length.items()],
            examples=examples_by_length("recall", by_length),
        )

    def trivial(self) -> dict[str, float]:
        """Blank until the cue, then one and the same symbol: the one that the longest delay's test set has most."""
        M = self.num_symbols
        # a guess that knows the place of the symbols but not which they are pays ln 8 for each of the M
        loss = M * torch.tensor(float(NUM_SYMBOLS)).log().item() / (self.lengths[-1] + 2 * M)
        return {"recall": self._guess_one(self.lengths[-1]), "loss": loss}

    def trivial_slices(self) -> list[SliceScore]:
        return [SliceScore("recall", "length", str(T), self._guess_one(T)) for T in self.eval_lengths["test"]]

    def _guess_one(self, delay: int) -> float:
        """Share of the test symbols at one delay that are the one which the longest delay has most."""
        said_MB = self._test_symbols(delay)
        commonest = self._test_symbols(self.lengths[-1]).flatten().bincount().argmax()
        return float((said_MB == commonest).double().mean())

    def _test_symbols(self, delay: int) -> Tensor:
        at = self.eval_lengths["test"].index(delay)
        return self._eval["test"][at].targets[-self.num_symbols :]


def make_batch(delay: int, num_symbols: int, batch_size: int, generator: torch.Generator | None) -> Batch:
    """Draw examples of one delay: inputs and targets, each (delay + 2 * num_symbols, B)."""
    symbols_MB = torch.randint(1, NUM_SYMBOLS + 1, (num_symbols, batch_size), generator=generator)
    blanks = torch.full((delay - 1, batch_size), BLANK)
    cues = torch.full((num_symbols + 1, batch_size), CUE)
    silence = torch.full((delay + num_symbols, batch_size), BLANK)
    return Batch(torch.cat([symbols_MB, blanks, cues]), torch.cat([silence, symbols_MB]))
