"""Objective: one tag for each word of a sequence."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.data.ragged import Ragged
from gru_bench.losses import IGNORED
from gru_bench.metrics import Chunks, chunk_f1, f1_from_statistics
from gru_bench.tasks.base import Batch, Counts, Metric, Part, Scores, SliceScore, Split
from gru_bench.tasks.objectives.class_weights import WeightedTask, weights_like
from gru_bench.tasks.objectives.confusion import confusion
from gru_bench.tasks.objectives.guesses import add_one_surprise, share_of_commonest
from gru_bench.tasks.objectives.samples import cut, spread

ACCURACY = Metric("accuracy", "share of words", higher_is_better=True)
CHUNK_F1 = Metric("chunk_f1", "F1 of chunks", higher_is_better=True)
LOSS = Metric("loss", "nats per word", higher_is_better=False)
NUM_SAMPLES = 20


def mean_nats(model: nn.Module, batch: Batch, weights_C: Tensor | None = None) -> Tensor:
    """Mean cross-entropy (a scalar) of the targets (T, B) that are not ignored.

    Args:
        model: Gives logits (T, B, C).
        batch: Of sequences.
        weights_C: How much each class counts; None: all alike.
    """
    logits_NC = model(batch.inputs, batch.lengths).flatten(0, 1)
    weights_C = weights_like(weights_C, logits_NC)
    return F.cross_entropy(logits_NC, batch.targets.flatten(), weights_C, ignore_index=IGNORED)


class Tag(WeightedTask):
    """Predict a tag for each word: tags are its classes, and words their examples.

    The model gives logits (T, B, C); the loss is their cross-entropy over the words without padding. Attribute
    after :meth:`load`: ``tags``, their ids by split. ``has_chunks``: whether tags stand for chunks (``B-TYPE``,
    ``I-TYPE``, ``O``), which are then scored too.
    """

    tags: dict[str, Ragged]
    has_chunks: bool
    _tried: list[Chunks] | None = None

    def class_counts(self) -> Tensor:
        return torch.from_numpy(np.bincount(self.tags["train"].values, minlength=len(self.classes)))

    @abstractmethod
    def order(self, split: Split) -> Tensor:
        """(R,) numbers of the rows in the order in which evaluation batches hold them."""

    @abstractmethod
    def word_parts(self, split: Split) -> list[Part]:
        """The parts of a split's words on which accuracy is also shown."""

    def row_parts(self, split: Split) -> list[Part]:
        """The parts of a split's rows on which the F1 of chunks is also shown."""
        return []

    @abstractmethod
    def readable(self, split: Split, row: int) -> list[str]:
        """The words of one of the rows that :func:`~gru_bench.tasks.objectives.samples.spread` picks."""

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        return mean_nats(model, batch, self.weights_C), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        nats: list[Tensor] = []
        predicted: list[Tensor] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            logits_BTC = model(batch.inputs, batch.lengths).double().transpose(0, 1)
            targets_BT = batch.targets.T
            real_BT = targets_BT != IGNORED
            nats.append(F.cross_entropy(logits_BTC[real_BT], targets_BT[real_BT], reduction="none").cpu())
            predicted.append(logits_BTC.argmax(dim=2)[real_BT].cpu())
        at_N = self._positions(split)
        nats_N, predicted_N = (torch.cat(values)[at_N] for values in (nats, predicted))
        truth = self.tags[split]
        guessed = Ragged(predicted_N.numpy(), truth.offsets)
        right_N = guessed.values == truth.values
        starts_R = truth.offsets[:-1].astype(np.int64)
        examples: dict[str, list[Any]] = {
            "words": truth.lengths.tolist(),
            "correct": np.add.reduceat(right_N.astype(np.int64), starts_R).tolist(),
            "nats": np.add.reduceat(nats_N.numpy(), starts_R).tolist(),
        }
        metrics = {"accuracy": float(right_N.mean()), "loss": float(nats_N.mean())}
        chunks = chunks_of(guessed, truth, self.classes) if self.has_chunks else None
        if chunks is not None:
            metrics["chunk_f1"] = chunks.f1
            examples |= chunks.statistics
        return Scores(
            metrics=metrics,
            slices=self._slices(split, right_N, chunks),
            examples=examples,
            samples=self._samples(split, guessed),
            confusion=confusion(truth.values, guessed.values, self.classes) if split == "test" else {},
        )

    def _positions(self, split: Split) -> Tensor:
        """Where each word of the rows, in their order, stands among the words of the batches."""
        rows_R = self.order(split)
        lengths_R = torch.from_numpy(self.tags[split].lengths)[rows_R]
        starts_R = torch.from_numpy(self.tags[split].offsets[:-1].astype(np.int64))[rows_R]
        begins_R = lengths_R.cumsum(0) - lengths_R
        to_N = torch.arange(int(lengths_R.sum())) + (starts_R - begins_R).repeat_interleave(lengths_R)
        return to_N.argsort()

    def _slices(self, split: Split, right_N: np.ndarray, chunks: Chunks | None) -> list[SliceScore]:
        slices = [part.score("accuracy", float(right_N[part.rows].mean())) for part in self.word_parts(split)]
        if chunks is not None:
            slices += [part.score("chunk_f1", f1_of(chunks, part)) for part in self.row_parts(split)]
            slices += by_type(chunks.number_by_type, chunks.by_type)
        return slices

    def _samples(self, split: Split, guessed: Ragged) -> dict[str, list[Any]]:
        samples: dict[str, list[Any]] = {"sentence": [], "tags": [], "prediction": [], "wrong": []}
        for row in spread(len(guessed), NUM_SAMPLES):
            words = self.readable(split, row)
            truth, guess = ([self.classes[i] for i in tags[row]] for tags in (self.tags[split], guessed))
            wrong = [f"{word}: {g}, not {t}" for word, t, g in zip(words, truth, guess, strict=True) if t != g]
            for name, values in (("sentence", words), ("tags", truth), ("prediction", guess)):
                samples[name].append(cut(values))
            samples["wrong"].append("; ".join(wrong))
        return samples

    def trivial(self) -> dict[str, float]:
        """Always the same tag: for each score the one that is best on the test split.

        ``accuracy``: the tag that most test words have; ``chunk_f1``: the best of all tags that occur there. ``loss``:
        the tags' frequencies in training, plus one, as probabilities.
        """
        tags_N = self.tags["test"].values
        scores = {
            "accuracy": share_of_commonest(tags_N),
            "loss": float(add_one_surprise(self.class_counts()).numpy()[tags_N].mean()),
        }
        return scores | ({"chunk_f1": max(chunks.f1 for chunks in self._constants())} if self.has_chunks else {})

    def trivial_slices(self) -> list[SliceScore]:
        tags_N = self.tags["test"].values
        slices = [part.score("accuracy", share_of_commonest(tags_N[part.rows])) for part in self.word_parts("test")]
        if self.has_chunks:
            tried = self._constants()
            slices += [
                part.score("chunk_f1", max(f1_of(chunks, part) for chunks in tried)) for part in self.row_parts("test")
            ]
            number = tried[0].number_by_type
            slices += by_type(number, {kind: max(chunks.by_type.get(kind, 0.0) for chunks in tried) for kind in number})
        return slices

    def _constants(self) -> list[Chunks]:
        """The chunks of always one and the same tag, for each tag of the test split."""
        if self._tried is None:
            truth = self.tags["test"]
            guesses = [Ragged(np.full_like(truth.values, tag), truth.offsets) for tag in np.unique(truth.values)]
            self._tried = [chunks_of(guess, truth, self.classes) for guess in guesses]
        return self._tried


def by_type(number: dict[str, int], f1: dict[str, float]) -> list[SliceScore]:
    """F1 of each type of chunk that a split has; types that are only predicted are no part of it."""
    return [SliceScore("chunk_f1", "chunk", kind, f1[kind], n) for kind, n in number.items() if n]


def f1_of(chunks: Chunks, part: Part) -> float:
    """F1 over the chunks of some of the rows."""
    return f1_from_statistics({name: [column[row] for row in part.rows] for name, column in chunks.statistics.items()})


def chunks_of(predicted: Ragged, truth: Ragged, classes: list[str]) -> Chunks:
    """F1 of chunks from ids of tags."""
    names_C = np.array(classes, dtype=object)
    guessed, real = (
        [row.tolist() for row in np.split(names_C[tags.values], tags.offsets[1:-1].astype(np.int64))]
        for tags in (predicted, truth)
    )
    return chunk_f1(guessed, real)
