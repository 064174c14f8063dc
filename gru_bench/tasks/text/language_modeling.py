"""Language modeling: predict the next word or character of running text."""

from typing import Annotated, Unpack, cast

import numpy as np
from annotated_types import Ge, Gt
from torch import nn

from gru_bench.data import streams
from gru_bench.data.digest import digest
from gru_bench.data.prepared import Prepared, cached
from gru_bench.data.streams import Level, Stream, Tokenizer
from gru_bench.data.text import SPLITS, Text
from gru_bench.data.vocabulary import EOS, UNK, Vocabulary, check_unknown, untrained_note
from gru_bench.errors import UserError
from gru_bench.tasks.base import Common, Metric, PositiveInt, Scores, SliceScore, Split
from gru_bench.tasks.objectives.guesses import add_one_surprise
from gru_bench.tasks.objectives.model_language import PRIMARY, ModelLanguage, Predictor
from gru_bench.tasks.reading.language_modeling import LanguageReader
from gru_bench.tasks.text.minimal_pairs import METRIC, MinimalPairs, frequency_surprise, model_surprise


class LanguageModeling(ModelLanguage):
    """Predict each token of a text from all tokens before it.

    Word level, two columns of three steps; the first input is the end of a line that came before::

        text      the state is kept <eos>
        inputs    <eos> the  state  |  is    kept
        targets   the  state is     |  kept  <eos>

    How the stream is read and scored: :class:`~gru_bench.tasks.objectives.model_language.ModelLanguage`.

    The vocabulary is that of the whole training split, whatever part of it is used: over fewer words perplexity would
    fall as data shrinks. All else is ``<unk>`` and scored as such, so perplexities compare
    only over one vocabulary. The trivial guess is the training text's token frequencies, each count one more.

    Args:
        level: Tokens are words or characters. Sets the metrics: ``perplexity``, or ``bits_per_char``.
        tokenizer: Of the word level. ``words`` splits raw text in words and punctuation; ``whitespace`` is for text
            that is tokenized already, such as WikiText; ``auto`` takes ``whitespace`` where the training text
            holds ``<unk>``, else ``words``. A newline is ``<eos>`` in all of them.
        seq_len: T, steps of one training piece.
        max_vocab_size: Most entries of the vocabulary with ``<unk>``; null for no limit.
        min_count: Tokens that are rarer in the training text become ``<unk>``. With 1, and no ``<unk>`` in the text, no
            model would ever train on it: refused where validation or test meet it.
        max_train_tokens: Use only so many tokens from the head of the training stream; null for all.
        max_eval_tokens: Likewise for the validation and the test stream.
        minimal_pairs: Folder or file of pairs of sentences on which the model is scored too, after training; null for
            none. See :class:`~gru_bench.tasks.text.minimal_pairs.MinimalPairs`.
    """

    def __init__(
        self,
        data: Text,
        /,
        *,
        level: Level,
        tokenizer: Tokenizer,
        seq_len: PositiveInt,
        max_vocab_size: Annotated[int, Gt(1)] | None,
        min_count: Annotated[int, Ge(1)],
        max_train_tokens: PositiveInt | None,
        max_eval_tokens: PositiveInt | None,
        minimal_pairs: str | None = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        self.level = level
        self.tokenizer = tokenizer
        self.seq_len = seq_len
        self.max_vocab_size = max_vocab_size
        self.min_count = min_count
        self.max_train_tokens = max_train_tokens
        self.max_eval_tokens = max_eval_tokens
        # the level decides the metrics, so here they belong to the instance
        self.metrics = (PRIMARY[level], Metric("loss", "nats/token", higher_is_better=False))
        self.primary = PRIMARY[level].name
        self.pairs = None if minimal_pairs is None else MinimalPairs(minimal_pairs)
        if self.pairs is not None:
            if level != "word":
                raise UserError(
                    f"task.minimal_pairs: pairs are scored by words, and task.level={level}; set it to null"
                )
            self.metrics += (METRIC,)

    def source_id(self) -> str:
        return self.data.source_id() + ("" if self.pairs is None else f":{self.pairs.source_id()}")

    def load(self) -> None:
        recipe = {
            "task": "language_modeling",
            "data": self.data.recipe(),
            "tokenizer": [self.level, self.tokenizer],
            "limits": [self.max_vocab_size, self.min_count, self.max_train_tokens, self.max_eval_tokens],
        }
        self.prepared = cached(recipe, self._prepare)
        facts = self.prepared.facts
        self.vocabulary = Vocabulary(facts["vocabulary"])
        number = self.num_tokens("train")
        if number < self.batch_size:
            raise UserError(f"the training text has {number} tokens, too few for task.batch_size={self.batch_size}")
        self.data.notes = facts["source_notes"]
        self.notes = facts["notes"]
        self.facts = facts["counts"]
        if self.pairs is not None:
            self.pairs.load(self.vocabulary, self.vocabulary.index.get(EOS, self.vocabulary.unk))
            self.notes = [*self.notes, *self.pairs.notes]
            self.facts = self.facts | self.pairs.facts

    def _prepare(self) -> Prepared:
        texts = self.data.load()
        tokenizer = streams.decided(self.tokenizer, self.data.whole)
        take_apart = streams.make_take_apart(self.level, tokenizer)
        vocabulary, train = streams.learn(
            self.data.whole, take_apart, max_vocab_size=self.max_vocab_size, min_count=self.min_count
        )
        trained = int((train.ids == vocabulary.unk).sum())
        if texts["train"] is not self.data.whole or self.max_train_tokens is not None:
            train = streams.encode(texts["train"], take_apart, vocabulary, max_tokens=self.max_train_tokens)
        read = {"train": train}
        for split in SPLITS[1:]:
            read[split] = streams.encode(texts[split], take_apart, vocabulary, max_tokens=self.max_eval_tokens)
        others = np.concatenate([read[split].ids for split in SPLITS[1:]])
        met = int((others == vocabulary.unk).sum())
        unknown = check_unknown(trained, met, len(others), self.min_count, f"{self.level}s")
        unknown += untrained_note(train.ids, read["test"].ids, vocabulary.unk, f"{self.level}s")
        start = streams.start_id(self.level, vocabulary)
        arrays = {split: np.insert(stream.ids, 0, start) for split, stream in read.items()}
        facts = {
            "vocabulary": vocabulary.tokens,
            "tokenizer": tokenizer,
            "source_notes": self.data.notes,
            "notes": [*self._notes_of(read, vocabulary), *unknown],
            "counts": counts_of(read, vocabulary),
            # over 64-bit ids, whatever the type in which they are kept
            "fingerprint": digest(*vocabulary.tokens, *(arrays[split].astype(np.int64).tobytes() for split in SPLITS)),
        }
        return Prepared(arrays, facts)

    def _notes_of(self, read: dict[str, Stream], vocabulary: Vocabulary) -> list[str]:
        """Sentences about what a reader of the scores should know about the tokens."""
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
        own = str(self.prepared.facts["fingerprint"])
        return own if self.pairs is None else digest(own, self.pairs.source_id())

    def score(self, model: nn.Module, split: Split) -> Scores:
        scores = super().score(model, split)
        if self.pairs is not None and split == "test":
            device, _ = self.place(model)
            whole, *scores.slices = self.pairs.accuracy(model_surprise(cast(Predictor, model), device))
            scores.metrics[METRIC.name] = whole.value
        return scores

    def trivial(self) -> dict[str, float]:
        """As of every task of the kind; of minimal pairs, too, the word frequencies of the training text."""
        return super().trivial() | ({} if self.pairs is None else {METRIC.name: self._pairs_by_frequency()[0].value})

    def trivial_slices(self) -> list[SliceScore]:
        return [] if self.pairs is None else self._pairs_by_frequency()[1:]

    def _pairs_by_frequency(self) -> list[SliceScore]:
        assert self.pairs is not None
        counts_V = np.bincount(self.stream("train")[1:], minlength=len(self.vocabulary))
        return self.pairs.accuracy(frequency_surprise(add_one_surprise(counts_V)))

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary)}

    def reader(self) -> LanguageReader:
        return LanguageReader(self.vocabulary.tokens, self.level, self.prepared.facts["tokenizer"])

    def stream(self, split: Split) -> np.ndarray:
        return self.prepared.arrays[split]


def counts_of(read: dict[str, Stream], vocabulary: Vocabulary) -> dict[str, int | float | str]:
    """Counts for the run's record: ``train_tokens``, ``test_lines``, ``test_unknown_tokens`` ..."""
    counts: dict[str, int | float | str] = {}
    for split, stream in read.items():
        counts |= {f"{split}_tokens": len(stream.ids), f"{split}_lines": stream.lines}
        counts[f"{split}_unknown_tokens"] = int((stream.ids == vocabulary.unk).sum())
    return counts | {"vocab_size": len(vocabulary)}
