"""Language modeling: predict the next word or character of running text."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data.text import SPLITS, Text
from gru_bench.data.vocabulary import EOS, UNK, Vocabulary, whitespace, words
from gru_bench.errors import UserError
from gru_bench.tasks.base import (
    Batch,
    Counts,
    Metric,
    PositiveFloat,
    PositiveInt,
    Scores,
    Split,
    Task,
    digest,
    tensor_bytes,
)

EVAL_COLUMNS = 16
"""Columns of the evaluation stream, whatever the batch size. Also the number of tokens scored without left context."""
BLOCK_TOKENS = 200
"""Tokens of one block of the test stream: the unit in which per-example scores are kept."""
IGNORED = -100
"""Target of a position that is not scored; what ``F.cross_entropy`` ignores by default."""


class LanguageModeling(Task):
    """Predict each token of a text from all tokens before it.

    Word level, two columns of three steps; the first input is the end of a line that came before::

        text      the state is kept <eos>
        inputs    <eos> the  state  |  is    kept
        targets   the  state is     |  kept  <eos>

    Training: the token stream is cut in ``batch_size`` columns, read side by side in pieces of ``seq_len`` steps;
    the state is carried from piece to piece and gradients stop at the border (truncated backpropagation through
    time). Each epoch starts the cut at another place of the stream, drawn by the generator, so that the at most
    ``batch_size - 1`` tokens that do not fill the columns differ from epoch to epoch. Every column starts an epoch
    with a zero state.

    Evaluation: the stream is cut in :data:`EVAL_COLUMNS` columns, the first ones longer by a token where it does not
    divide, and every token is scored once, the first and the last too. So neither ``batch_size`` nor ``seq_len``
    changes a score beyond rounding; only the tokens at the heads of the columns are scored without what
    came before them, alike for all cells.

    The vocabulary is that of the training split; all else is ``<unk>`` and scored as such, so perplexities compare
    only over one vocabulary. The trivial guess is the training text's token frequencies, each count one more.

    Args:
        level: Tokens are words or characters. Sets the metrics: ``perplexity``, or ``bits_per_char``.
        tokenizer: Of the word level. ``words`` splits raw text in words and punctuation; ``whitespace`` is for text
            that is tokenized already, such as WikiText; ``auto`` takes ``whitespace`` where the training text
            holds ``<unk>``, else ``words``. A newline is ``<eos>`` in all of them.
        seq_len: T, steps of one training piece.
        max_vocab_size: Most entries of the vocabulary with ``<unk>``; null for no limit.
        min_count: Tokens that are rarer in the training text become ``<unk>``.
        max_train_tokens: Use only so many tokens from the head of the training stream; null for all.
        max_eval_tokens: Likewise for the validation and the test stream.
    """

    def __init__(
        self,
        data: Text,
        /,
        *,
        level: Literal["word", "char"],
        tokenizer: Literal["auto", "words", "whitespace"],
        seq_len: PositiveInt,
        batch_size: PositiveInt,
        max_vocab_size: Annotated[int, Gt(1)] | None,
        min_count: Annotated[int, Ge(1)],
        max_train_tokens: PositiveInt | None,
        max_eval_tokens: PositiveInt | None,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
        self.level = level
        self.tokenizer = tokenizer
        self.seq_len = seq_len
        self.max_vocab_size = max_vocab_size
        self.min_count = min_count
        self.max_train_tokens = max_train_tokens
        self.max_eval_tokens = max_eval_tokens
        score = (
            Metric("perplexity", "perplexity", higher_is_better=False)
            if level == "word"
            else Metric("bits_per_char", "bits/char", higher_is_better=False)
        )
        # the level decides the metrics, so here they belong to the instance
        self.metrics = (score, Metric("loss", "nats/token", higher_is_better=False))
        self.primary = score.name

    def source_id(self) -> str:
        return self.data.source_id()

    def load(self) -> None:
        texts = self.data.load()
        tokenizer = self.tokenizer
        if tokenizer == "auto":
            tokenizer = "whitespace" if UNK in texts["train"] else "words"
        split_tokens = list if self.level == "char" else words if tokenizer == "words" else whitespace
        tokens: dict[str, list[str]] = {}
        for split in SPLITS:
            limit = self.max_train_tokens if split == "train" else self.max_eval_tokens
            tokens[split] = split_tokens(texts[split])[:limit]
        if len(tokens["train"]) < self.batch_size:
            raise UserError(
                f"the training text has {len(tokens['train'])} tokens, too few for task.batch_size={self.batch_size}"
            )
        self.vocabulary = Vocabulary.build(tokens["train"], max_size=self.max_vocab_size, min_count=self.min_count)
        # what stands before the first token: without it that token could not be scored
        start = self.vocabulary.encode(["\n" if self.level == "char" else EOS])
        self._streams = {split: torch.cat([start, self.vocabulary.encode(tokens[split])]) for split in SPLITS}
        if self.max_vocab_size is not None or self.min_count > 1:
            unknown = self._streams["test"][1:].eq(self.vocabulary.unk).double().mean().item()
            self.notes.append(
                f"the vocabulary was cut to {len(self.vocabulary):,} entries, so {unknown:.1%} of the test tokens are "
                f"{UNK} and scores do not compare with those of a full vocabulary"
            )

    def fingerprint(self) -> str:
        return digest(*self.vocabulary.tokens, *(tensor_bytes(self._streams[split]) for split in SPLITS))

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary)}

    def num_tokens(self, split: Split) -> int:
        """Tokens that are scored in one pass over a split."""
        return len(self._streams[split]) - 1

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        stream = self._streams[split]
        if split == "train" and generator is not None:
            inputs_CB, targets_CB = self._training_columns(stream, generator)
        else:
            inputs_CB, targets_CB = evaluation_columns(stream)
        for inputs_TB, targets_TB in zip(inputs_CB.split(self.seq_len), targets_CB.split(self.seq_len), strict=True):
            yield Batch(inputs_TB.contiguous(), targets_TB.contiguous())

    def _training_columns(self, stream: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        num_tokens = len(stream) - 1
        shift = -int(torch.randint(num_tokens, (), generator=generator))
        num_used = num_tokens - num_tokens % self.batch_size
        inputs, targets = (part.roll(shift)[:num_used] for part in (stream[:-1], stream[1:]))
        return inputs.view(self.batch_size, -1).T, targets.view(self.batch_size, -1).T

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        logits_TBV, state = model(batch.inputs, carry)
        nats_TB = token_nats(logits_TBV, batch.targets)
        return nats_TB.sum() / (batch.targets != IGNORED).sum(), Counts(nats_TB.numel(), nats_TB.shape[1]), state

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        nats, scored = [], []
        state: Any = None
        for batch in self.batches(split):
            scored.append(batch.targets != IGNORED)
            batch = batch.to(*place)
            logits_TBV, state = model(batch.inputs, state)
            nats.append(token_nats(logits_TBV, batch.targets).double().cpu())
        # column after column is the order of the stream
        nats_N = torch.cat(nats).T[torch.cat(scored).T]
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
        size = len(self.vocabulary)
        counts_V = torch.bincount(self._streams["train"][1:], minlength=size).double() + 1
        log_probabilities_V = (counts_V / counts_V.sum()).log()
        return self._from_loss(-float(log_probabilities_V[self._streams["test"][1:]].mean()))

    def _from_loss(self, nats: float) -> dict[str, float]:
        if self.level == "char":
            return {"bits_per_char": nats / math.log(2), "loss": nats}
        return {"perplexity": float(torch.tensor(nats, dtype=torch.float64).exp()), "loss": nats}


def token_nats(logits_TBV: Tensor, targets_TB: Tensor) -> Tensor:
    """Negative log-probability of each target, (T, B), in 32 bits or more; 0 where the target is ignored."""
    wide_TBV = logits_TBV.to(torch.promote_types(logits_TBV.dtype, torch.float32))
    return F.cross_entropy(wide_TBV.flatten(0, 1), targets_TB.flatten(), reduction="none").view_as(targets_TB)


def evaluation_columns(stream: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a stream in at most EVAL_COLUMNS columns of inputs and targets (C, B) that hold every token once.

    Columns follow each other in the stream and differ in length by at most one. The shorter ones end with a position
    whose target is IGNORED; being the last step, it reaches no scored state.
    """
    num_columns = min(EVAL_COLUMNS, len(stream) - 1)
    inputs, targets = (part.tensor_split(num_columns) for part in (stream[:-1], stream[1:]))
    return pad_sequence(list(inputs)), pad_sequence(list(targets), padding_value=IGNORED)
