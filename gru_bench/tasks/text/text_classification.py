"""Classification of texts: one label for a whole text, from any data set of rows."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Unpack

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from gru_bench.data import buckets
from gru_bench.data.digest import digest
from gru_bench.data.encode import Fitted, Tokenizer, learn_and_encode, make_tokenize
from gru_bench.data.prepared import Prepared, cached, ragged_arrays
from gru_bench.data.ragged import smallest
from gru_bench.data.rows import SPLITS, Loaded, Rows, contents
from gru_bench.data.slices import coded
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary
from gru_bench.tasks.base import TRAIN_DATA_SEED, Batch, Part, PositiveInt, Split, parts_of
from gru_bench.tasks.objectives.class_weights import Weighted
from gru_bench.tasks.objectives.classify import Classify, metrics_of
from gru_bench.tasks.objectives.samples import cut
from gru_bench.tasks.reading.text_classification import ClassReader


class Texts(Weighted):
    """What the yaml of labeled texts gives; see :class:`TextClassification`."""

    tokenizer: Tokenizer
    lowercase: bool
    max_length: PositiveInt | None
    max_vocab_size: Annotated[int, Gt(2)] | None
    min_count: Annotated[int, Ge(1)]


class TextClassification(Classify):
    """Predict to which class a text belongs.

    One example of SST-2, tokenized by ``whitespace``::

        it 's a charming and often affecting journey .    ->  positive

    The vocabulary is that of all training texts, whatever part of them is used; other words are ``<unk>``. A text of
    more than ``max_length`` words loses its end, in all splits alike, so that no row of the test split is left out for
    its length. That is counted and recorded, as are rows without a text or a label (not used) and rows that also
    occur in the training split (kept); see
    :class:`~gru_bench.data.rows.Rows`.

    Args:
        tokenizer: ``words`` for raw text, ``whitespace`` for text that was tokenized before, ``chars`` for characters.
        lowercase: Whether upper case is read as lower case.
        max_length: Words of a text that are read; null for all.
        max_vocab_size: Most entries of the vocabulary, ``<pad>`` and ``<unk>`` included; null for no limit.
        min_count: Words that are rarer in the training texts become ``<unk>``. With 1 no model would ever train on
            ``<unk>``: refused where validation or test have any.
        class_weights: See :class:`~gru_bench.tasks.objectives.class_weights.WeightedTask`.
    """

    metrics = metrics_of("texts", "text")
    roles: ClassVar[tuple[str, ...]] = ("text", "label")
    """Columns that the data must name."""

    def __init__(self, data: Rows, /, **texts: Unpack[Texts]) -> None:
        weights = texts.get("class_weights")
        super().__init__(data, class_weights=weights, batch_size=texts["batch_size"], goal=texts["goal"])
        data.require(*self.roles)
        self.tokenizer = texts["tokenizer"]
        self.lowercase = texts["lowercase"]
        self.max_length = texts["max_length"]
        self.max_vocab_size = texts["max_vocab_size"]
        self.min_count = texts["min_count"]

    def source_id(self) -> str:
        return self.data.source_id()

    def load(self) -> None:
        recipe = {
            "task": "text_classification",
            "data": self.data.recipe(),
            "tokenizer": [self.tokenizer, self.lowercase],
            "limits": [self.max_length, self.max_vocab_size, self.min_count],
        }
        self.prepared = cached(recipe, self._prepare)
        facts = self.prepared.facts
        self.vocabulary = Vocabulary(facts["vocabulary"])
        self.classes: list[str] = facts["classes"]
        self.texts = {split: self.prepared.ragged(split) for split in SPLITS}
        self._lengths = {split: torch.from_numpy(self.texts[split].lengths) for split in SPLITS}
        self._labels = {split: self.prepared.arrays[f"{split}.label"] for split in SPLITS}
        shared = torch.Generator().manual_seed(TRAIN_DATA_SEED)
        padding = buckets.padding_share(self._lengths["train"], self._shuffled(shared))
        self.notes = [*facts["notes"], f"padding is {padding:.1%} of the steps of a training epoch"]
        self.findings = facts["findings"]
        self.facts = facts["counts"] | {"padding_share": round(padding, 4)}
        self.weights_C = self.weights()

    def _prepare(self) -> Prepared:
        loaded = self.data.load()
        assert loaded.classes is not None
        tokenize = make_tokenize(self.tokenizer, lowercase=self.lowercase)
        vocabulary, fitted, notes = learn_and_encode(
            {split: contents(loaded.tables[split], "text") for split in SPLITS},
            None if loaded.whole is None else contents(loaded.whole, "text"),
            tokenize,
            max_length=self.max_length,
            max_vocab_size=self.max_vocab_size,
            min_count=self.min_count,
        )
        found = loaded.findings
        what = "characters" if self.tokenizer == "chars" else "words"
        found.add_lengths(f"{what} a text", {split: fit.lengths for split, fit in fitted.items()})
        arrays: dict[str, np.ndarray] = {}
        for split in SPLITS:
            arrays |= ragged_arrays(split, fitted[split].sequences)
            label_R = np.array(contents(loaded.tables[split], "label"))
            arrays[f"{split}.label"] = label_R.astype(smallest(len(loaded.classes)))
        facts = {
            "vocabulary": vocabulary.tokens,
            "classes": loaded.classes,
            "counts": counts_of(loaded, fitted, vocabulary),
            "notes": [*loaded.notes, *notes_of(fitted, vocabulary, self.max_length), *notes, *found.notes()],
            "findings": found.as_facts(),
            "slice_values": {},
        }
        content = [part for name in sorted(arrays) for part in (name, arrays[name].tobytes())]
        facts["fingerprint"] = digest(*vocabulary.tokens, *loaded.classes, *content)
        if "slice" in self.data.columns:
            for split in SPLITS[1:]:
                slice_R, facts["slice_values"][split] = coded(contents(loaded.tables[split], "slice"))
                arrays[f"{split}.slice"] = slice_R
        return Prepared(arrays, facts)

    def fingerprint(self) -> str:
        return str(self.prepared.facts["fingerprint"])

    def sizes(self) -> dict[str, int]:
        return {"vocab_size": len(self.vocabulary), "num_classes": len(self.classes)}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        groups = self._shuffled(generator) if split == "train" else self._in_order(split)
        labels = self._labels[split]
        for batch in buckets.padded(self.texts[split], groups, self.vocabulary.index[PAD]):
            targets = torch.from_numpy(labels[batch.rows.numpy()].astype(np.int64))
            yield Batch(batch.ids, targets, batch.lengths, num_tokens=batch.num_tokens)

    def _shuffled(self, generator: torch.Generator | None) -> list[Tensor]:
        return buckets.by_length(self._lengths["train"], self.batch_size, generator, buckets.LARGE_POOL_BATCHES)

    def _in_order(self, split: Split) -> list[Tensor]:
        return buckets.in_order(self._lengths[split], self.batch_size)

    def order(self, split: Split) -> Tensor:
        return torch.cat(self._in_order(split))

    def labels(self, split: Split) -> Tensor:
        return torch.from_numpy(self._labels[split].astype(np.int64))

    def parts(self, split: Split) -> list[Part]:
        values = self.prepared.facts["slice_values"].get(split, [])
        return parts_of(self.data.columns["slice"], values, self.prepared.arrays[f"{split}.slice"]) if values else []

    def reader(self) -> ClassReader:
        return ClassReader(self.vocabulary.tokens, self.classes, self.tokenizer, self.lowercase, self.max_length)

    def readable(self, split: Split, row: int) -> str:
        words = self.vocabulary.decode(self.texts[split][row].tolist())
        return cut(words, "" if self.tokenizer == "chars" else " ")


def counts_of(loaded: Loaded, fitted: dict[str, Fitted], vocabulary: Vocabulary) -> dict[str, int]:
    """Counts for the run's record: ``train_rows``, ``test_empty``, ``test_cut`` ..."""
    counts = {f"{split}_{name}": n for split, row in loaded.counts.items() for name, n in row.items()}
    for split, fit in fitted.items():
        counts |= {f"{split}_empty": fit.empty, f"{split}_cut": fit.cut, f"{split}_tokens": len(fit.sequences.values)}
        counts[f"{split}_unknown_tokens"] = int((fit.sequences.values == vocabulary.unk).sum())
    return counts | {"vocab_size": len(vocabulary)}


def notes_of(fitted: dict[str, Fitted], vocabulary: Vocabulary, max_length: int | None) -> list[str]:
    """Sentences about what the counts mean to a reader."""
    sizes = ", ".join(f"{split} {len(fit.sequences):,}" for split, fit in fitted.items())
    values = fitted["test"].sequences.values
    unknown = float((values == vocabulary.unk).mean())
    notes = [f"rows: {sizes}; vocabulary {len(vocabulary):,}, {unknown:.1%} of the test words are {UNK}"]
    for split, fit in fitted.items():
        if fit.empty:
            notes.append(f"{fit.empty:,} {split} rows hold no word and are read as one {UNK}")
        if fit.cut:
            notes.append(
                f"{fit.cut:,} of {len(fit.sequences):,} {split} rows are cut to their first {max_length} words"
            )
    return notes
