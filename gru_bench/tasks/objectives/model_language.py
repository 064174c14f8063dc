"""Objective: the next token of running text."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from gru_bench.data import streams
from gru_bench.data.streams import Level
from gru_bench.losses import CHUNK_BYTES, IGNORED, mean_nats, token_nats
from gru_bench.tasks.base import Batch, Counts, Metric, Scores, Split, Task
from gru_bench.tasks.objectives.guesses import add_one_surprise

EVAL_COLUMNS = 16
"""Columns of the evaluation stream, whatever the batch size. Also the number of tokens scored without left context."""
BLOCK_TOKENS = 200
"""Tokens of one block of the test stream: the unit in which per-example scores are kept."""

PRIMARY: dict[Level, Metric] = {
    "word": Metric("perplexity", "perplexity", higher_is_better=False),
    "char": Metric("bits_per_char", "bits/char", higher_is_better=False),
}


class Predictor(Protocol):
    """What training asks of ``models.language_model.LanguageModel``."""

    output: nn.Linear

    def features(self, tokens_TB: Tensor, state: Any) -> tuple[Tensor, Any]: ...


class ModelLanguage(Task):
    """Predict each token of a stream from all tokens before it.

    Training: the token stream is cut in ``batch_size`` columns, read side by side in pieces of ``seq_len`` steps;
    the state is carried from piece to piece and gradients stop at the border (truncated backpropagation through
    time). Each epoch starts the cut at another place of the stream, drawn by the generator, so that the at most
    ``batch_size - 1`` tokens that do not fill the columns differ from epoch to epoch. Every column starts an epoch
    with a zero state.

    Evaluation: the stream is cut in :data:`EVAL_COLUMNS` columns, the first ones longer by a token where it does not
    divide, and every token is scored once, the first and the last too. So neither ``batch_size`` nor ``seq_len``
    changes a score beyond rounding; only the tokens at the heads of the columns are scored without what
    came before them, alike for all cells.

    Attributes ``level`` and ``seq_len`` are set by the constructor that extends this one.
    """

    level: Level
    seq_len: int

    @abstractmethod
    def stream(self, split: Split) -> np.ndarray:
        """(N + 1,) ids of a split's N tokens and of what stands before the first one, without which it had no score."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """``vocab_size``."""

    def num_tokens(self, split: Split) -> int:
        """Tokens that are scored in one pass over a split."""
        return len(self.stream(split)) - 1

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        ids = self.stream(split)
        if split == "train" and generator is not None:
            pieces = streams.training_pieces(
                ids, num_columns=self.batch_size, seq_len=self.seq_len, generator=generator
            )
        else:
            # the logits of a piece are held as a whole, and twice, so over a large vocabulary it is shorter
            most = max(1, CHUNK_BYTES // (4 * EVAL_COLUMNS * self.sizes()["vocab_size"]))
            pieces = streams.evaluation_pieces(ids, num_columns=EVAL_COLUMNS, seq_len=min(self.seq_len, most))
        for inputs_TB, targets_TB in pieces:
            yield Batch(inputs_TB, targets_TB)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        predictor = cast(Predictor, model)
        h_TBE, state = predictor.features(batch.inputs, carry)
        return mean_nats(h_TBE, predictor.output, batch.targets), batch.counts(), state

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        num_tokens = self.num_tokens(split)
        num_columns = min(EVAL_COLUMNS, num_tokens)
        # made at once: small results that are kept between large logits would leave holes that malloc cannot use again
        nats_CB = torch.empty(-(-num_tokens // num_columns), num_columns, dtype=torch.float64)
        scored_CB = torch.empty(nats_CB.shape, dtype=torch.bool)
        state: Any = None
        step = 0
        for batch in self.batches(split):
            part = slice(step, step := step + len(batch.targets))
            scored_CB[part] = batch.targets != IGNORED
            batch = batch.to(*place)
            logits_TBV, state = model(batch.inputs, state)
            nats_CB[part] = token_nats(logits_TBV, batch.targets)
            del logits_TBV
        # column after column is the order of the stream
        nats_N = nats_CB.T[scored_CB.T]
        blocks = nats_N.split(BLOCK_TOKENS)
        return Scores(
            metrics=self._from_loss(float(nats_N.mean())),
            examples={
                "block": list(range(len(blocks))),
                "nats": [float(block.sum()) for block in blocks],
                "tokens": [len(block) for block in blocks],
            },
        )

    def trivial(self) -> dict[str, float]:
        """Every token with its frequency in the training text, each count one more."""
        surprise_V = add_one_surprise(np.bincount(self.stream("train")[1:], minlength=self.sizes()["vocab_size"]))
        return self._from_loss(float(surprise_V[torch.from_numpy(self.stream("test")[1:].astype(np.int64))].mean()))

    def _from_loss(self, nats: float) -> dict[str, float]:
        if self.level == "char":
            return {"bits_per_char": nats / math.log(2), "loss": nats}
        return {"perplexity": float(torch.tensor(nats, dtype=torch.float64).exp()), "loss": nats}
