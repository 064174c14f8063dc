"""Sentiment of generated sentences that have to be composed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, MinLen
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data.buckets import by_length
from gru_bench.data.sentiment_grammar import Sentence, generator_version, make_sentences
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary
from gru_bench.metrics import accuracy, macro_f1
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
)

CLASSES = ("negative", "positive")
NUM_SAMPLES = 10


@dataclass
class SentenceBatch(Batch):
    """Word ids (T, B), labels (B,), lengths (B,).

    Attributes:
        num_tokens: Words without padding.
    """

    num_tokens: int = field(kw_only=True)


class Sentiment(Task):
    """Say whether a generated sentence is positive or negative.

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
    words gets 0.56 right of the sentences of ``conf/task/sentiment.yaml`` (``tests/tasks/test_sentiment.py``
    measures it).

    Splits are drawn from their own fixed seeds, the test set first, so that it does not depend on the amount of
    training data.

    Args:
        distances: Neutral words between cue and verdict, in all splits.
        num_train: Training sentences.
        num_valid: Validation sentences.
        num_test: Test sentences.
    """

    metrics: tuple[Metric, ...] = (
        Metric("accuracy", "share of sentences", higher_is_better=True),
        Metric("macro_f1", "F1, mean of classes", higher_is_better=True),
        Metric("loss", "nats per sentence", higher_is_better=False),
    )
    primary: str = "accuracy"
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
        batch_size: PositiveInt,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
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

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[SentenceBatch]:
        if split != "train":
            for rows in torch.arange(self.counts[split]).split(self.batch_size):
                yield self._batch(split, rows)
            return
        lengths = torch.tensor([len(ids) for ids in self._ids["train"]])
        for rows in by_length(lengths, self.batch_size, generator):
            yield self._batch("train", rows)

    def _batch(self, split: Split, rows: Tensor) -> SentenceBatch:
        chosen = [self._ids[split][i] for i in rows]
        lengths = torch.tensor([len(ids) for ids in chosen])
        padded_TB = pad_sequence(chosen, padding_value=self.vocabulary.index[PAD])
        return SentenceBatch(padded_TB, self._labels[split][rows], lengths, num_tokens=int(lengths.sum()))

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        loss = F.cross_entropy(model(batch.inputs, batch.lengths), batch.targets)
        return loss, Counts(cast(SentenceBatch, batch).num_tokens, len(batch.targets)), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        nats: list[Tensor] = []
        said: list[Tensor] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            logits_BC = model(batch.inputs, batch.lengths)
            nats.append(F.cross_entropy(logits_BC.double(), batch.targets, reduction="none").cpu())
            said.append(logits_BC.argmax(dim=1).cpu())
        made, labels, predicted = self.sentences[split], self._labels[split], torch.cat(said)
        right = (predicted == labels).tolist()
        shown = torch.linspace(0, len(made) - 1, min(NUM_SAMPLES, len(made))).long().tolist()
        return Scores(
            metrics={
                "accuracy": accuracy(predicted, labels),
                "macro_f1": macro_f1(predicted, labels, len(CLASSES)),
                "loss": float(torch.cat(nats).mean()),
            },
            slices=self._slices(split, right),
            examples={
                "correct": [int(r) for r in right],
                "nats": torch.cat(nats).tolist(),
                "distance": [s.distance for s in made],
                "construction": [str(s.construction) for s in made],
            },
            samples={
                "sentence": [" ".join(made[i].words) for i in shown],
                "label": [CLASSES[made[i].label] for i in shown],
                "prediction": [CLASSES[int(predicted[i])] for i in shown],
            },
        )

    def trivial(self) -> dict[str, float]:
        """Always the class that training has most of, with the classes' frequencies in training as probabilities."""
        counts_C = self._labels["train"].bincount(minlength=len(CLASSES)).double()
        labels = self._labels["test"]
        guesses = self._guesses()
        surprise_C = -((counts_C + 1) / (counts_C + 1).sum()).log()
        return {
            "accuracy": accuracy(guesses, labels),
            "macro_f1": macro_f1(guesses, labels, len(CLASSES)),
            "loss": float(surprise_C[labels].mean()),
        }

    def trivial_slices(self) -> list[SliceScore]:
        return self._slices("test", (self._guesses() == self._labels["test"]).tolist())

    def _guesses(self) -> Tensor:
        """The class that training has most of, for each test sentence."""
        commonest = int(self._labels["train"].bincount(minlength=len(CLASSES)).argmax())
        return torch.full_like(self._labels["test"], commonest)

    def _slices(self, split: Split, right: list[bool]) -> list[SliceScore]:
        made = self.sentences[split]
        return [
            *accuracy_by("distance", [s.distance for s in made], right),
            *accuracy_by("construction", [str(s.construction) for s in made], right),
        ]


def accuracy_by(name: str, values: list[Any], right: list[bool]) -> list[SliceScore]:
    """Share of right answers for each value of a column, in order of the values."""
    groups: dict[Any, list[bool]] = {}
    for value, is_right in zip(values, right, strict=True):
        groups.setdefault(value, []).append(is_right)
    return [SliceScore("accuracy", name, str(value), sum(rs) / len(rs)) for value, rs in sorted(groups.items())]
