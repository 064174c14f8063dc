"""Sentiment of generated sentences that have to be composed."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Unpack

import torch
from annotated_types import Ge, MinLen
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data.buckets import by_length
from gru_bench.data.digest import digest
from gru_bench.data.sentiment_grammar import Sentence, generator_version, make_sentences
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary
from gru_bench.tasks.base import SPLIT_SEEDS, Batch, Common, Part, PositiveInt, Split, parts_by
from gru_bench.tasks.objectives.classify import Classify, metrics_of
from gru_bench.tasks.reading.text_classification import ClassReader

CLASSES = ["negative", "positive"]


class Sentiment(Classify):
    """Predict whether a generated sentence is positive or negative.

    One example of each construction, with distance 4::

        plain            everybody in march all day said that the film was good            positive
        negation         nobody in march all day said that the film was good               negative
        double_negation  nobody in march all day said that the film was not good           positive
        contrast         the film was good in march all day but the hotel was bad          negative
        concession       the film was good in march all day although the hotel was bad     positive
        intensity        the film was barely good in march all day and the hotel was bad   negative

    The data is generated; only the ratings of the adjectives are people's (VADER's lexicon). The rules are those of
    :func:`gru_bench.data.sentiment_grammar.sentiment`. ``distance`` is the number of neutral words between the cue
    (or the first clause) and the verdict. No sentence stands in two splits, but all splits share their words: what is
    tested is composition of known words, not guessing unknown ones.

    Labels are balanced, and nearly so for each word: a plain sentence and its negation, ``but`` and ``although`` pull
    each word both ways. Only plain sentences are more than their mirror image, so a logistic regression on the bag of
    words gets 0.56 right of the sentences of ``conf/task/sentiment.yaml`` (``tests/tasks/generated/test_sentiment.py``
    measures it).

    Splits are drawn from their own fixed seeds, the test set first, so that it does not depend on the amount of
    training data.

    Args:
        distances: Neutral words between cue and verdict, in all splits.
        num_train: Training sentences.
        num_valid: Validation sentences.
        num_test: Test sentences.
    """

    metrics = metrics_of("sentences", "sentence")
    classes = CLASSES
    generated: ClassVar[bool] = True

    def __init__(
        self,
        data: None,
        /,
        *,
        distances: Annotated[list[Annotated[int, Ge(0)]], MinLen(1)],
        num_train: PositiveInt,
        num_valid: PositiveInt,
        num_test: PositiveInt,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        self.distances = sorted(set(distances))
        self.counts: dict[Split, int] = {"test": num_test, "valid": num_valid, "train": num_train}

    def source_id(self) -> str:
        return f"{generator_version()}:{self.distances}:{sorted(self.counts.items())}"

    def load(self) -> None:
        self.sentences: dict[Split, list[Sentence]] = {}
        seen: set[tuple[str, ...]] = set()
        for split, count in self.counts.items():
            generator = torch.Generator().manual_seed(SPLIT_SEEDS[split])
            made = make_sentences(count, self.distances, generator, exclude=seen)
            seen.update(sentence.words for sentence in made)
            if split != "train":  # in order of length, so that batches need little padding
                made.sort(key=lambda sentence: len(sentence.words))
            self.sentences[split] = made
        self.vocabulary = Vocabulary.build(
            (word for sentence in self.sentences["train"] for word in sentence.words), specials=(PAD, UNK)
        )
        self._ids = {split: [self.vocabulary.encode(s.words) for s in made] for split, made in self.sentences.items()}
        self._labels = {split: torch.tensor([s.label for s in made]) for split, made in self.sentences.items()}

    def fingerprint(self) -> str:
        return digest(
            *(f"{split} {s.label} {' '.join(s.words)}" for split, made in self.sentences.items() for s in made)
        )

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary), "num_classes": len(CLASSES)}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if split != "train":
            for rows in torch.arange(self.counts[split]).split(self.batch_size):
                yield self._batch(split, rows)
            return
        lengths = torch.tensor([len(ids) for ids in self._ids["train"]])
        for rows in by_length(lengths, self.batch_size, generator):
            yield self._batch("train", rows)

    def _batch(self, split: Split, rows: Tensor) -> Batch:
        chosen = [self._ids[split][i] for i in rows]
        lengths = torch.tensor([len(ids) for ids in chosen])
        padded_TB = pad_sequence(chosen, padding_value=self.vocabulary.index[PAD])
        return Batch(padded_TB, self._labels[split][rows], lengths, num_tokens=int(lengths.sum()))

    def labels(self, split: Split) -> Tensor:
        return self._labels[split]

    def parts(self, split: Split) -> list[Part]:
        return [part for name, values in self.columns(split).items() for part in parts_by(name, values)]

    def columns(self, split: Split) -> dict[str, list[Any]]:
        sentences = self.sentences[split]
        return {
            "distance": [sentence.distance for sentence in sentences],
            "construction": [str(sentence.construction) for sentence in sentences],
        }

    def reader(self) -> ClassReader:
        return ClassReader(self.vocabulary.tokens, CLASSES, "whitespace", lowercase=False, max_length=None)

    def readable(self, split: Split, row: int) -> str:
        return " ".join(self.sentences[split][row].words)
