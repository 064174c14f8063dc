"""Sequence tagging: one tag for each word of a sentence, from any data set of rows of words and tags."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from gru_bench.data import buckets
from gru_bench.data.encode import Fitted, encode, learn
from gru_bench.data.prepared import Prepared, cached, ragged_arrays
from gru_bench.data.ragged import Ragged, smallest
from gru_bench.data.rows import SPLITS, Loaded, Rows, contents
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.metrics import Chunks, accuracy, chunk_f1, f1_from_statistics
from gru_bench.tasks.base import (
    TRAIN_DATA_SEED,
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
from gru_bench.tasks.generated.sentiment import accuracy_by

ACCURACY = Metric("accuracy", "share of words", higher_is_better=True)
CHUNK_F1 = Metric("chunk_f1", "F1 of chunks", higher_is_better=True)
LOSS = Metric("loss", "nats per word", higher_is_better=False)
IGNORED = -100
"""Target of padding."""
CHUNK_TAG = re.compile(r"O|[BIES](-.+)?")
NUM_SAMPLES = 20
SAMPLE_WORDS = 60
"""Words of a sample that are shown."""


@dataclass
class TagBatch(Batch):
    """Word ids (T, B), tags (T, B) with -100 for padding, lengths (B,).

    Attributes:
        num_tokens: Words without padding.
    """

    num_tokens: int = field(kw_only=True)


class SequenceTagging(Task):
    """Say of each word in a sentence what it is.

    One example of English EWT's parts of speech, and one of CoNLL-2000's chunks::

        What   if     Google  Morphed  Into  GoogleOS  ?
        PRON   SCONJ  PROPN   VERB     ADP   PROPN     PUNCT

        He     reckons  the   current  account  deficit  will  narrow  .
        B-NP   B-VP     B-NP  I-NP     I-NP     I-NP     B-VP  I-VP    O

    The vocabulary is that of the training rows that are used; other words are ``<unk>``, and what is right of them
    is told apart (slice ``word``): only the sentence around an unknown word says anything about its tag. Rows without
    a word are not used; of a row with more than ``max_length`` words the rest is neither read nor scored. How many
    there are of either is counted and recorded; see :class:`~gru_bench.data.rows.Rows` for what else is.

    Two guesses to compare with: the trivial one looks at no word and always says the training words' most frequent
    tag; ``baseline_word_tag_accuracy`` among the facts is that of giving each word its own most frequent tag in
    training (and a word that training lacks the tag that ``<unk>`` had most often there, or else the trivial one).

    Args:
        score: Primary metric: ``accuracy``, the share of words that are right; or ``chunk_f1``, of the chunks that
            tags ``B-TYPE``, ``I-TYPE`` and ``O`` stand for (:func:`gru_bench.metrics.chunk_f1`), with the accuracy
            beside it.
        lowercase: Whether upper case is read as lower case.
        max_length: Words of a row that are read; null for all.
        max_vocab_size: Most entries of the vocabulary, ``<pad>`` and ``<unk>`` included; null for no limit.
        min_count: Words that are rarer in the training rows become ``<unk>``. With 1 no model ever trains on ``<unk>``.
    """

    def __init__(
        self,
        data: Rows,
        /,
        *,
        score: Literal["accuracy", "chunk_f1"],
        lowercase: bool,
        max_length: PositiveInt | None,
        max_vocab_size: Annotated[int, Gt(2)] | None,
        min_count: Annotated[int, Ge(1)],
        batch_size: PositiveInt,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
        data.require("tokens", "tags")
        self.primary: str = score
        self.has_chunks = score == "chunk_f1"
        self.metrics = (CHUNK_F1, ACCURACY, LOSS) if self.has_chunks else (ACCURACY, LOSS)
        self.lowercase = lowercase
        self.max_length = max_length
        self.max_vocab_size = max_vocab_size
        self.min_count = min_count

    def source_id(self) -> str:
        return self.data.source_id()

    def load(self) -> None:
        recipe = {
            "task": "sequence_tagging",
            "data": self.data.recipe(),
            "score": self.primary,
            "lowercase": self.lowercase,
            "limits": [self.max_length, self.max_vocab_size, self.min_count],
        }
        self.prepared = cached(recipe, self._prepare)
        told = self.prepared.facts
        self.vocabulary = Vocabulary(told["vocabulary"])
        self.classes: list[str] = told["classes"]
        self.words = {split: self.prepared.ragged(split) for split in SPLITS}
        self.tags = {
            split: Ragged(self.prepared.arrays[f"{split}.tags"], self.words[split].offsets) for split in SPLITS
        }
        self._lengths = {split: torch.from_numpy(self.words[split].lengths) for split in SPLITS}
        shared = torch.Generator().manual_seed(TRAIN_DATA_SEED)
        padding = buckets.padding_share(self._lengths["train"], self._shuffled(shared))
        self.notes = [*told["notes"], f"padding is {padding:.1%} of the steps of a training epoch"]
        self.facts = told["counts"] | {"padding_share": round(padding, 4)}

    def _prepare(self) -> Prepared:
        loaded = self.data.load()
        assert loaded.classes is not None
        if self.has_chunks:
            check_chunk_tags(self.data.columns["tags"], loaded.classes)
        words = {split: contents(loaded.tables[split], "tokens") for split in SPLITS}
        vocabulary, train = learn(
            words["train"],
            self._read,
            max_length=self.max_length,
            max_vocab_size=self.max_vocab_size,
            min_count=self.min_count,
        )
        fitted = {"train": train}
        for split in SPLITS[1:]:
            fitted[split] = encode(words[split], self._read, vocabulary, max_length=self.max_length)
        arrays: dict[str, np.ndarray] = {}
        for split in SPLITS:
            arrays |= ragged_arrays(split, fitted[split].sequences)
            tags_N = [tag for row in contents(loaded.tables[split], "tags") for tag in row[: self.max_length]]
            arrays[f"{split}.tags"] = np.array(tags_N).astype(smallest(len(loaded.classes)))
        tags = {split: Ragged(arrays[f"{split}.tags"], fitted[split].sequences.offsets) for split in SPLITS}
        counts = counts_of(loaded, words, fitted, vocabulary)
        counts["train_tags"] = len(np.unique(tags["train"].values))
        by_word = tags_by_word(fitted["train"].sequences.values, tags["train"].values, len(vocabulary))
        guesses = Ragged(by_word[fitted["test"].sequences.values], tags["test"].offsets)
        baseline = {"accuracy": accuracy(guesses.values.tolist(), tags["test"].values.tolist())}
        if self.has_chunks:
            baseline["chunk_f1"] = chunks_of(guesses, tags["test"], loaded.classes).f1
        facts = {
            "vocabulary": vocabulary.tokens,
            "classes": loaded.classes,
            "counts": counts | {f"baseline_word_tag_{name}": round(value, 6) for name, value in baseline.items()},
            "notes": [
                *loaded.notes,
                *notes_of(counts, fitted, vocabulary, self.max_length),
                "the most frequent tag of each word in training, given to the test words, scores "
                + " and ".join(f"{name} {value:.3f}" for name, value in baseline.items()),
            ],
            "shown": {
                split: {str(row): words[split][row][: self.max_length] for row in shown(len(words[split]))}
                for split in SPLITS[1:]
            },
            "slices": {split: contents(loaded.tables[split], "slice") for split in SPLITS[1:]}
            if "slice" in self.data.columns
            else {},
        }
        content = [part for name in sorted(arrays) for part in (name, arrays[name].tobytes())]
        facts["fingerprint"] = digest(*vocabulary.tokens, *loaded.classes, *content)
        return Prepared(arrays, facts)

    def _read(self, row: Any) -> list[str]:
        words = [UNK if word is None else word for word in row]
        return [word.lower() for word in words] if self.lowercase else words

    def fingerprint(self) -> str:
        return str(self.prepared.facts["fingerprint"])

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary), "num_classes": len(self.classes)}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[TagBatch]:
        if split == "train":
            groups = self._shuffled(generator)
        else:
            groups = buckets.in_order(self._lengths[split], self.batch_size)
        words = buckets.padded(self.words[split], groups, self.vocabulary.index[PAD])
        tags = buckets.padded(self.tags[split], groups, IGNORED)
        for inputs, targets in zip(words, tags, strict=True):
            yield TagBatch(inputs.ids, targets.ids, inputs.lengths, num_tokens=inputs.num_tokens)

    def _shuffled(self, generator: torch.Generator | None) -> list[Tensor]:
        return buckets.by_length(self._lengths["train"], self.batch_size, generator, buckets.LARGE_POOL_BATCHES)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        logits_TBC = model(batch.inputs, batch.lengths)
        loss = F.cross_entropy(logits_TBC.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        return loss, Counts(cast(TagBatch, batch).num_tokens, batch.targets.shape[1]), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        nats: list[Tensor] = []
        said: list[Tensor] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            logits_BTC = model(batch.inputs, batch.lengths).double().transpose(0, 1)
            targets_BT = batch.targets.T
            real_BT = targets_BT != IGNORED
            nats.append(F.cross_entropy(logits_BTC[real_BT], targets_BT[real_BT], reduction="none").cpu())
            said.append(logits_BTC.argmax(dim=2)[real_BT].cpu())
        at_N = self._positions(split)
        nats_N, predicted_N = (torch.cat(values)[at_N] for values in (nats, said))
        truth = self.tags[split]
        predicted = Ragged(predicted_N.numpy(), truth.offsets)
        right_N = predicted.values == truth.values
        starts_R = truth.offsets[:-1].astype(np.int64)
        examples: dict[str, list[Any]] = {
            "words": truth.lengths.tolist(),
            "correct": np.add.reduceat(right_N.astype(np.int64), starts_R).tolist(),
            "nats": np.add.reduceat(nats_N.numpy(), starts_R).tolist(),
        }
        metrics = {"accuracy": float(right_N.mean()), "loss": float(nats_N.mean())}
        chunks = chunks_of(predicted, truth, self.classes) if self.has_chunks else None
        if chunks is not None:
            metrics["chunk_f1"] = chunks.f1
            examples |= chunks.statistics
        return Scores(
            metrics=metrics,
            slices=self._slices(split, right_N, chunks),
            examples=examples,
            samples=self._samples(split, predicted),
        )

    def _positions(self, split: Split) -> Tensor:
        """Where each word of the rows, in their order, stands among the words of the batches."""
        rows_R = torch.cat(buckets.in_order(self._lengths[split], self.batch_size))
        starts_R = torch.from_numpy(self.words[split].offsets[:-1].astype(np.int64))[rows_R]
        lengths_R = self._lengths[split][rows_R]
        begins_R = lengths_R.cumsum(0) - lengths_R
        to_N = torch.arange(int(lengths_R.sum())) + (starts_R - begins_R).repeat_interleave(lengths_R)
        return to_N.argsort()

    def _slices(self, split: Split, right_N: np.ndarray, chunks: Chunks | None) -> list[SliceScore]:
        known_N = self.words[split].values != self.vocabulary.unk
        right = right_N.tolist()
        slices = accuracy_by("word", np.where(known_N, "known", "unknown").tolist(), right)
        values = self.prepared.facts["slices"].get(split)
        if values:
            name = self.data.columns["slice"]
            of_word = [value for value, n in zip(values, self.tags[split].lengths, strict=True) for _ in range(n)]
            slices += accuracy_by(name, of_word, right)
            if chunks is not None:
                for value in sorted(set(values)):
                    rows = [row for row, other in enumerate(values) if other == value]
                    part = {key: [column[row] for row in rows] for key, column in chunks.statistics.items()}
                    slices.append(SliceScore("chunk_f1", name, str(value), f1_from_statistics(part)))
        if chunks is not None:
            slices += [SliceScore("chunk_f1", "chunk", kind, f1) for kind, f1 in chunks.by_type.items()]
        return slices

    def _samples(self, split: Split, predicted: Ragged) -> dict[str, list[Any]]:
        samples: dict[str, list[Any]] = {"sentence": [], "tags": [], "prediction": [], "wrong": []}
        for key, given in self.prepared.facts["shown"].get(split, {}).items():
            words = [UNK if word is None else word for word in given]
            truth, said = ([self.classes[i] for i in tags[int(key)]] for tags in (self.tags[split], predicted))
            wrong = [f"{word}: {s}, not {t}" for word, t, s in zip(words, truth, said, strict=True) if t != s]
            for name, parts in (("sentence", words), ("tags", truth), ("prediction", said)):
                samples[name].append(" ".join(parts[:SAMPLE_WORDS]) + (" ..." if len(parts) > SAMPLE_WORDS else ""))
            samples["wrong"].append("; ".join(wrong))
        return samples

    def trivial(self) -> dict[str, float]:
        """Always the tag that most training words have, with the tags' frequencies in training as probabilities."""
        counts_C = np.bincount(self.tags["train"].values, minlength=len(self.classes)).astype(float)
        truth, guesses = self.tags["test"], self._guesses()
        surprise_C = -np.log((counts_C + 1) / (counts_C + 1).sum())
        scores = {
            "accuracy": float((guesses.values == truth.values).mean()),
            "loss": float(surprise_C[truth.values].mean()),
        }
        return scores | ({"chunk_f1": chunks_of(guesses, truth, self.classes).f1} if self.has_chunks else {})

    def trivial_slices(self) -> list[SliceScore]:
        truth, guesses = self.tags["test"], self._guesses()
        chunks = chunks_of(guesses, truth, self.classes) if self.has_chunks else None
        return self._slices("test", guesses.values == truth.values, chunks)

    def _guesses(self) -> Ragged:
        """The tag that most training words have, for each test word."""
        truth = self.tags["test"]
        commonest = np.bincount(self.tags["train"].values).argmax()
        return Ragged(np.full_like(truth.values, commonest), truth.offsets)


def shown(num_rows: int) -> list[int]:
    """Rows that are samples, spread over all."""
    return torch.linspace(0, num_rows - 1, min(NUM_SAMPLES, num_rows)).long().tolist()


def tags_by_word(words_N: np.ndarray, tags_N: np.ndarray, vocab_size: int) -> np.ndarray:
    """The most frequent tag of each word, (V,); for words that do not occur, the most frequent of all.

    Ties go to the tag with the smaller id.

    Args:
        words_N: Word ids.
        tags_N: Their tags.
        vocab_size: V.
    """
    C = int(tags_N.max()) + 1
    pairs, number = np.unique(words_N.astype(np.int64) * C + tags_N, return_counts=True)
    by_word = np.full(vocab_size, np.bincount(tags_N).argmax())
    # a later pair of the same word takes the place of an earlier one: the most frequent comes last
    order = np.lexsort((-pairs, number))
    by_word[pairs[order] // C] = pairs[order] % C
    return by_word


def chunks_of(predicted: Ragged, truth: Ragged, classes: list[str]) -> Chunks:
    """F1 of chunks from ids of tags."""
    names_C = np.array(classes, dtype=object)
    said, real = (
        [row.tolist() for row in np.split(names_C[tags.values], tags.offsets[1:-1].astype(np.int64))]
        for tags in (predicted, truth)
    )
    return chunk_f1(said, real)


def check_chunk_tags(column: str, classes: list[str]) -> None:
    """Hold the tags' names against what stands for chunks.

    Raises:
        UserError: One of them stands for none.
    """
    wrong = next((name for name in classes if not CHUNK_TAG.fullmatch(name)), None)
    if wrong is not None:
        raise UserError(
            f"data.tags={column}: the tag {wrong!r} stands for no chunk, and task.score=chunk_f1 counts chunks "
            "(B-TYPE, I-TYPE, O); task.score=accuracy takes any tags"
        )


def counts_of(
    loaded: Loaded, words: dict[str, list[Any]], fitted: dict[str, Fitted], vocabulary: Vocabulary
) -> dict[str, int]:
    """Counts for the run's record: ``train_rows``, ``test_empty``, ``test_unknown_words``, ``test_cut_words`` ..."""
    counts = {f"{split}_{name}": n for split, row in loaded.counts.items() for name, n in row.items()}
    for split, fit in fitted.items():
        values = fit.sequences.values
        counts |= {
            f"{split}_words": len(values),
            f"{split}_unknown_words": int((values == vocabulary.unk).sum()),
            f"{split}_missing_words": sum(word is None for row in words[split] for word in row),
            f"{split}_cut": fit.cut,
            f"{split}_cut_words": sum(map(len, words[split])) - len(values),
        }
    assert loaded.classes is not None
    return counts | {"vocab_size": len(vocabulary), "num_tags": len(loaded.classes)}


def notes_of(
    counts: dict[str, int], fitted: dict[str, Fitted], vocabulary: Vocabulary, max_length: int | None
) -> list[str]:
    """Sentences on what the counts mean to a reader."""
    sizes = ", ".join(f"{split} {len(fit.sequences):,}" for split, fit in fitted.items())
    unknown = counts["test_unknown_words"] / counts["test_words"]
    notes = [
        f"rows: {sizes}; vocabulary {len(vocabulary):,}, {unknown:.1%} of the test words are {UNK}; "
        f"{counts['train_tags']:,} tags"
    ]
    for split in fitted:
        if counts[f"{split}_missing_words"]:
            notes.append(f"{counts[f'{split}_missing_words']:,} {split} words are missing and are read as {UNK}")
        if counts[f"{split}_cut"]:
            notes.append(
                f"{counts[f'{split}_cut']:,} {split} rows are cut to their first {max_length} words: "
                f"{counts[f'{split}_cut_words']:,} words are neither read nor scored"
            )
    return notes
