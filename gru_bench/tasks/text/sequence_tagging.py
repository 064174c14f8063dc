"""Sequence tagging: one tag for each word of a sentence, from any data set of rows of words and tags."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Unpack

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from gru_bench.data import buckets
from gru_bench.data.digest import digest
from gru_bench.data.encode import Fitted, learn_and_encode
from gru_bench.data.prepared import Prepared, cached, ragged_arrays
from gru_bench.data.ragged import Ragged, smallest
from gru_bench.data.rows import SPLITS, Loaded, Rows, contents
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.metrics import accuracy
from gru_bench.tasks.base import TRAIN_DATA_SEED, Batch, Common, Part, PositiveInt, Split, parts_by
from gru_bench.tasks.objectives.class_weights import ClassWeights
from gru_bench.tasks.objectives.samples import spread
from gru_bench.tasks.objectives.tag import ACCURACY, CHUNK_F1, LOSS, NUM_SAMPLES, Tag, chunks_of
from gru_bench.tasks.reading.sequence_tagging import TagReader, read_words

CHUNK_TAG = re.compile(r"O|[BIES](-.+)?")


class SequenceTagging(Tag):
    """Predict a tag for each word of a sentence.

    One example of English EWT's parts of speech, and one of CoNLL-2000's chunks::

        What   if     Google  Morphed  Into  GoogleOS  ?
        PRON   SCONJ  PROPN   VERB     ADP   PROPN     PUNCT

        He     reckons  the   current  account  deficit  will  narrow  .
        B-NP   B-VP     B-NP  I-NP     I-NP     I-NP     B-VP  I-VP    O

    The vocabulary is that of all training rows, whatever part of them is used; other words are ``<unk>``, and
    their accuracy is shown separately (slice ``word``): only the sentence around an unknown word gives a clue to its
    tag. Rows without a word are not used; in a row with more than ``max_length`` words the rest is neither read nor
    scored. Both are counted and recorded; see :class:`~gru_bench.data.rows.Rows` for what else is.

    Two guesses to compare with: the trivial one looks at no word and is always the tag that most test words
    have; ``baseline_word_tag_accuracy`` among the facts is that of giving each word its own most frequent tag in
    training (and a word that training lacks the tag that ``<unk>`` had most often there, or else the trivial one).

    Args:
        score: Primary metric: ``accuracy``, the share of words that are right; or ``chunk_f1``, of the chunks that
            tags ``B-TYPE``, ``I-TYPE`` and ``O`` stand for (:func:`gru_bench.metrics.chunk_f1`), with the accuracy
            beside it.
        lowercase: Whether upper case is read as lower case.
        max_length: Words of a row that are read; null for all.
        max_vocab_size: Most entries of the vocabulary, ``<pad>`` and ``<unk>`` included; null for no limit.
        min_count: Words that are rarer in the training rows become ``<unk>``. With 1 no model would ever train on
            ``<unk>``: refused where validation or test have any.
        class_weights: See :class:`~gru_bench.tasks.objectives.class_weights.WeightedTask`.
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
        class_weights: ClassWeights = None,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, class_weights=class_weights, **common)
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
        facts = self.prepared.facts
        self.vocabulary = Vocabulary(facts["vocabulary"])
        self.classes: list[str] = facts["classes"]
        self.words = {split: self.prepared.ragged(split) for split in SPLITS}
        self.tags = {
            split: Ragged(self.prepared.arrays[f"{split}.tags"], self.words[split].offsets) for split in SPLITS
        }
        self._lengths = {split: torch.from_numpy(self.words[split].lengths) for split in SPLITS}
        shared = torch.Generator().manual_seed(TRAIN_DATA_SEED)
        padding = buckets.padding_share(self._lengths["train"], self._shuffled(shared))
        self.notes = [*facts["notes"], f"padding is {padding:.1%} of the steps of a training epoch"]
        self.findings = facts["findings"]
        self.facts = facts["counts"] | {"padding_share": round(padding, 4)}
        self.weights_C = self.weights()

    def _prepare(self) -> Prepared:
        loaded = self.data.load()
        assert loaded.classes is not None
        if self.has_chunks:
            check_chunk_tags(self.data.columns["tags"], loaded.classes)
        words = {split: contents(loaded.tables[split], "tokens") for split in SPLITS}
        vocabulary, fitted, notes = learn_and_encode(
            words,
            None if loaded.whole is None else contents(loaded.whole, "tokens"),
            self._read,
            max_length=self.max_length,
            max_vocab_size=self.max_vocab_size,
            min_count=self.min_count,
        )
        found = loaded.findings
        found.add_lengths("words a sentence", {split: fit.lengths for split, fit in fitted.items()})
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
                *notes,
                *found.notes(),
                "the most frequent tag of each word in training, given to the test words, scores "
                + " and ".join(f"{name} {value:.3f}" for name, value in baseline.items()),
            ],
            "findings": found.as_facts(),
            "shown": {
                split: {
                    str(row): words[split][row][: self.max_length] for row in spread(len(words[split]), NUM_SAMPLES)
                }
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
        return read_words(row, self.lowercase)

    def fingerprint(self) -> str:
        return str(self.prepared.facts["fingerprint"])

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary), "num_classes": len(self.classes)}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        groups = self._shuffled(generator) if split == "train" else self._in_order(split)
        words = buckets.padded(self.words[split], groups, self.vocabulary.index[PAD])
        tags = buckets.padded(self.tags[split], groups, IGNORED)
        for inputs, targets in zip(words, tags, strict=True):
            yield Batch(inputs.ids, targets.ids, inputs.lengths, num_tokens=inputs.num_tokens)

    def _shuffled(self, generator: torch.Generator | None) -> list[Tensor]:
        return buckets.by_length(self._lengths["train"], self.batch_size, generator, buckets.LARGE_POOL_BATCHES)

    def _in_order(self, split: Split) -> list[Tensor]:
        return buckets.in_order(self._lengths[split], self.batch_size)

    def order(self, split: Split) -> Tensor:
        return torch.cat(self._in_order(split))

    def word_parts(self, split: Split) -> list[Part]:
        known_N = self.words[split].values != self.vocabulary.unk
        lengths_R = self.tags[split].lengths
        of_words = [
            Part(
                part.slice, part.value, np.flatnonzero(np.isin(np.arange(len(lengths_R)).repeat(lengths_R), part.rows))
            )
            for part in self.row_parts(split)
        ]
        return [*parts_by("word", np.where(known_N, "known", "unknown").tolist()), *of_words]

    def row_parts(self, split: Split) -> list[Part]:
        values = self.prepared.facts["slices"].get(split)
        return parts_by(self.data.columns["slice"], values) if values else []

    def reader(self) -> TagReader:
        return TagReader(self.vocabulary.tokens, self.classes, self.lowercase, self.max_length)

    def readable(self, split: Split, row: int) -> list[str]:
        words = self.prepared.facts["shown"][split][str(row)]
        return [UNK if word is None else word for word in words]


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


def check_chunk_tags(column: str, classes: list[str]) -> None:
    """Check that the tags' names stand for chunks.

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
    """Sentences about what the counts mean to a reader."""
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
