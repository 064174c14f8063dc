"""Language modeling: predict the next word or character of running text."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Protocol, cast

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from gru_bench.data import streams
from gru_bench.data.prepared import Prepared, cached
from gru_bench.data.streams import Level, Stream, Tokenizer
from gru_bench.data.text import SPLITS, Text
from gru_bench.data.vocabulary import EOS, UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.losses import CHUNK_BYTES, IGNORED, mean_nats, token_nats
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
)

EVAL_COLUMNS = 16
"""Columns of the evaluation stream, whatever the batch size. Also the number of tokens scored without left context."""
BLOCK_TOKENS = 200
"""Tokens of one block of the test stream: the unit in which per-example scores are kept."""


class Predictor(Protocol):
    """What training asks of ``models.language_model.LanguageModel``."""

    output: nn.Linear

    def features(self, tokens_TB: Tensor, state: Any) -> tuple[Tensor, Any]: ...


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
        level: Level,
        tokenizer: Tokenizer,
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
        recipe = {
            "task": "language_modeling",
            "data": self.data.recipe(),
            "tokenizer": [self.level, self.tokenizer],
            "limits": [self.max_vocab_size, self.min_count, self.max_train_tokens, self.max_eval_tokens],
        }
        self.prepared = cached(recipe, self._prepare)
        told = self.prepared.facts
        self.vocabulary = Vocabulary(told["vocabulary"])
        # with what stands before the first token: without it that token could not be scored
        self._streams = {split: self.prepared.arrays[split] for split in SPLITS}
        number = self.num_tokens("train")
        if number < self.batch_size:
            raise UserError(f"the training text has {number} tokens, too few for task.batch_size={self.batch_size}")
        self.data.notes = told["source_notes"]
        self.notes = told["notes"]
        self.facts = told["counts"]

    def _prepare(self) -> Prepared:
        texts = self.data.load()
        take_apart = streams.make_take_apart(self.level, self.tokenizer, texts["train"])
        vocabulary, train = streams.learn(
            texts["train"],
            take_apart,
            max_tokens=self.max_train_tokens,
            max_vocab_size=self.max_vocab_size,
            min_count=self.min_count,
        )
        read = {"train": train}
        for split in SPLITS[1:]:
            read[split] = streams.encode(texts[split], take_apart, vocabulary, max_tokens=self.max_eval_tokens)
        start = vocabulary.index.get("\n" if self.level == "char" else EOS, vocabulary.unk)
        arrays = {split: np.insert(stream.ids, 0, start) for split, stream in read.items()}
        facts = {
            "vocabulary": vocabulary.tokens,
            "source_notes": self.data.notes,
            "notes": self._notes_of(read, vocabulary),
            "counts": counts_of(read, vocabulary),
            # over 64-bit ids, whatever the type in which they are kept
            "fingerprint": digest(*vocabulary.tokens, *(arrays[split].astype(np.int64).tobytes() for split in SPLITS)),
        }
        return Prepared(arrays, facts)

    def _notes_of(self, read: dict[str, Stream], vocabulary: Vocabulary) -> list[str]:
        """Sentences on what a reader of the scores should know of the tokens."""
        sizes = ", ".join(f"{split} {len(stream.ids):,}" for split, stream in read.items())
        unknown = float((read["test"].ids == vocabulary.unk).mean())
        notes = [f"tokens: {sizes}"]
        if self.max_vocab_size is None and self.min_count == 1:
            notes.append(f"vocabulary {len(vocabulary):,}, {unknown:.1%} of the test tokens are {UNK}")
        else:
            notes.append(
                f"the vocabulary was cut to {len(vocabulary):,} entries, so {unknown:.1%} of the test tokens are "
                f"{UNK} and scores do not compare with those of a full vocabulary"
            )
        for split, stream in read.items():
            if stream.cut:
                notes.append(f"the {split} text is cut to its first {len(stream.ids):,} tokens")
        return notes

    def fingerprint(self) -> str:
        return str(self.prepared.facts["fingerprint"])

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary)}

    def num_tokens(self, split: Split) -> int:
        """Tokens that are scored in one pass over a split."""
        return len(self._streams[split]) - 1

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        ids = self._streams[split]
        if split == "train" and generator is not None:
            pieces = streams.training_pieces(
                ids, num_columns=self.batch_size, seq_len=self.seq_len, generator=generator
            )
        else:
            # the logits of a piece are held as a whole, and twice, so over a large vocabulary it is shorter
            most = max(1, CHUNK_BYTES // (4 * EVAL_COLUMNS * len(self.vocabulary)))
            pieces = streams.evaluation_pieces(ids, num_columns=EVAL_COLUMNS, seq_len=min(self.seq_len, most))
        for inputs_TB, targets_TB in pieces:
            yield Batch(inputs_TB, targets_TB)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        predictor = cast(Predictor, model)
        h_TBE, state = predictor.features(batch.inputs, carry)
        loss = mean_nats(h_TBE, predictor.output, batch.targets)
        return loss, Counts(batch.targets.numel(), batch.targets.shape[1]), state

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
        size = len(self.vocabulary)
        counts_V = torch.from_numpy(np.bincount(self._streams["train"][1:], minlength=size)).double() + 1
        log_probabilities_V = (counts_V / counts_V.sum()).log()
        targets_N = torch.from_numpy(self._streams["test"][1:].astype(np.int64))
        return self._from_loss(-float(log_probabilities_V[targets_N].mean()))

    def _from_loss(self, nats: float) -> dict[str, float]:
        if self.level == "char":
            return {"bits_per_char": nats / math.log(2), "loss": nats}
        return {"perplexity": float(torch.tensor(nats, dtype=torch.float64).exp()), "loss": nats}


def counts_of(read: dict[str, Stream], vocabulary: Vocabulary) -> dict[str, int | float | str]:
    """Counts for the run's record: ``train_tokens``, ``test_lines``, ``test_unknown_tokens`` ..."""
    counts: dict[str, int | float | str] = {}
    for split, stream in read.items():
        counts |= {f"{split}_tokens": len(stream.ids), f"{split}_lines": stream.lines}
        counts[f"{split}_unknown_tokens"] = int((stream.ids == vocabulary.unk).sum())
    return counts | {"vocab_size": len(vocabulary)}
