"""Translation of sentences: from any data set of rows with a source and a target text."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Unpack

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from gru_bench.data import buckets
from gru_bench.data.bpe import NUM_BYTES
from gru_bench.data.digest import digest
from gru_bench.data.parallel import SIDES, SPECIALS, Codec, Kind, Limits, padding_share, pair_keys, prepare
from gru_bench.data.prepared import Prepared, cached
from gru_bench.data.rows import SPLITS, Rows
from gru_bench.data.vocabulary import PAD, Vocabulary
from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.metrics import Bleu, bleu_from_statistics, corpus_bleu, corpus_chrf
from gru_bench.tasks.base import TRAIN_DATA_SEED, Batch, Common, Metric, Part, PositiveInt, SliceScore, Split
from gru_bench.tasks.objectives.samples import spread
from gru_bench.tasks.objectives.translate import (
    SPARE_WORDS,
    TRIVIAL_CANDIDATES,
    TRIVIAL_REFERENCES,
    Statistics,
    Translate,
)
from gru_bench.tasks.reading.translation import TranslationReader

SMALLEST_BPE = len(SPECIALS) + NUM_BYTES
LENGTH_BINS = (9, 12, 15, 20, 30)
"""Most words of a source in each of the slices; longer ones are one more."""


class Translation(Translate):
    """Translate a sentence.

    One example of Multi30k, lower case and ``words``::

        two men are cooking .  ->  zwei männer kochen .

    The vocabulary of each side is that of all training rows, whatever part of them is used; other words are ``<unk>``,
    also in translations. All translations are decoded greedily, with at most five words more than the longest training
    target, and are held against the raw text of the data set: ``bleu`` (sacrebleu, its tokenizer ``13a``) and ``chrf``
    (chrF2), both without regard to case where the task has none. ``loss``, ``perplexity`` and ``token_accuracy`` are
    measured given the right words before, ``<eos>`` included, and depend on the vocabulary: they compare cells, not
    vocabularies.

    Training rows with more than ``max_length`` words on either side are left out; those of validation and test are all
    kept and read whole. Each of these is counted and recorded, as are rows that lack a side (not used) and rows whose
    source also occurs in the training split (kept); see :class:`~gru_bench.data.rows.Rows`.

    The trivial guess is always the same training target, for each score the best of 30; see :func:`best_constants`.

    Args:
        vocabulary: What a sentence is taken apart into: ``words`` of raw text (words and runs of one punctuation
            mark), ``whitespace`` for text that was tokenized before, or ``bpe``: pieces of words, learned from each
            side's training texts, which leave nothing unknown.
        lowercase: Whether upper case is read as lower case.
        max_length: Words of either side of a training row, whatever the vocabulary; null for no limit.
        max_vocab_size: Most entries of each side's vocabulary, the four special ones included; null for no limit,
            which ``bpe`` does not have.
        min_count: Words that are rarer in the training texts become ``<unk>``; pairs of pieces that are rarer are not
            joined.
    """

    metrics: tuple[Metric, ...] = (
        Metric("bleu", "BLEU, 0 to 100", higher_is_better=True),
        Metric("chrf", "chrF2, 0 to 100", higher_is_better=True),
        Metric("token_accuracy", "share of target tokens", higher_is_better=True),
        Metric("perplexity", "perplexity of target tokens", higher_is_better=False),
        Metric("loss", "nats per target token", higher_is_better=False),
    )
    primary: str = "bleu"

    def __init__(
        self,
        data: Rows,
        /,
        *,
        vocabulary: Kind,
        lowercase: bool,
        max_length: PositiveInt | None,
        max_vocab_size: Annotated[int, Gt(4)] | None,
        min_count: Annotated[int, Ge(1)],
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
        data.require("source", "target")
        if vocabulary == "bpe" and (max_vocab_size is None or max_vocab_size < SMALLEST_BPE):
            asked = "null" if max_vocab_size is None else max_vocab_size
            raise UserError(
                f"task.max_vocab_size={asked}: task.vocabulary=bpe needs {SMALLEST_BPE} or more, such as 8000: "
                f"{len(SPECIALS)} special entries and {NUM_BYTES} bytes are always there"
            )
        self.limits = Limits(vocabulary, lowercase, max_length, max_vocab_size, min_count)

    def source_id(self) -> str:
        return self.data.source_id()

    def load(self) -> None:
        recipe = {"task": "translation", "data": self.data.recipe(), "limits": list(vars(self.limits).values())}
        self.prepared = cached(recipe, self._prepare)
        facts = self.prepared.facts
        self.source_codec, self.target_codec = (Codec(facts["codecs"][side]) for side in SIDES)
        self.sources = {split: self.prepared.ragged(f"{split}.source") for split in SPLITS}
        self.targets = {split: self.prepared.ragged(f"{split}.target") for split in SPLITS}
        self._most_words = int(self.targets["train"].lengths.max()) + SPARE_WORDS
        self._keys = {split: pair_keys(self.sources[split], self.targets[split]) for split in SPLITS}
        groups = self._shuffled(torch.Generator().manual_seed(TRAIN_DATA_SEED))
        padding = padding_share((self.sources["train"], self.targets["train"]), groups)
        bleu = corpus_bleu(["a"], ["a"], tokenize="13a", lowercase=self.limits.lowercase).signature
        chrf = corpus_chrf(["a"], ["a"], lowercase=self.limits.lowercase).signature
        self.notes = [
            *facts["notes"],
            f"BLEU: {bleu}",
            f"chrF2: {chrf}",
            f"padding is {padding:.1%} of the steps of a training epoch",
        ]
        self.findings = facts["findings"]
        self.facts = facts["counts"] | {"padding_share": round(padding, 4)}

    def _prepare(self) -> Prepared:
        prepared, texts = prepare(self.data.load(), self.limits)
        arrays, facts = prepared.arrays, prepared.facts
        facts["trivial"], facts["trivial_by_length"] = best_constants(
            texts["train"]["target"],
            texts["test"]["target"],
            by_source_length(arrays["test.words"]),
            lowercase=self.limits.lowercase,
        )
        codec, targets = Codec(facts["codecs"]["target"]), prepared.ragged("test.target")
        written = [codec.text(targets[row][:-1].tolist()) for row in range(len(targets))]
        best = corpus_bleu(written, texts["test"]["target"], tokenize="13a", lowercase=self.limits.lowercase).score
        facts["counts"]["bleu_of_references"] = round(best, 2)
        facts["notes"].append(f"the test references, written with this vocabulary, score BLEU {best:.1f}")
        content = [part for name in sorted(arrays) for part in (name, arrays[name].tobytes())]
        references = [*facts["references"]["valid"], *facts["references"]["test"]]
        tokens = [token for side in SIDES for token in Codec(facts["codecs"][side]).vocabulary.tokens]
        facts["fingerprint"] = digest(*tokens, *references, *content)
        return prepared

    def fingerprint(self) -> str:
        return str(self.prepared.facts["fingerprint"])

    def sizes(self) -> dict[str, int]:
        return {
            "source_vocab_size": len(self.source_codec.vocabulary),
            "target_vocab_size": len(self.target_codec.vocabulary),
        }

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        groups = self._shuffled(generator) if split == "train" else self._in_order(split)
        sources = buckets.padded(self.sources[split], groups, self.source_codec.vocabulary.index[PAD])
        targets = buckets.padded(self.targets[split], groups, IGNORED)
        for source, target in zip(sources, targets, strict=True):
            yield Batch(source.ids, target.ids, source.lengths, num_tokens=source.num_tokens + target.num_tokens)

    def _shuffled(self, generator: torch.Generator | None) -> list[Tensor]:
        return buckets.by_length(self._keys["train"], self.batch_size, generator, buckets.LARGE_POOL_BATCHES)

    def _in_order(self, split: Split) -> list[Tensor]:
        return buckets.in_order(self._keys[split], self.batch_size)

    def reader(self) -> TranslationReader:
        codecs = self.prepared.facts["codecs"]
        return TranslationReader(codecs, self.limits.kind, self.limits.lowercase, self.most_words)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.target_codec.vocabulary

    @property
    def most_words(self) -> int:
        return self._most_words

    def target_ids(self, split: Split) -> Tensor:
        return torch.from_numpy(self.targets[split].values.astype(np.int64))

    def target_lengths(self, split: Split) -> Tensor:
        return torch.from_numpy(self.targets[split].lengths)

    def order(self, split: Split) -> Tensor:
        return torch.cat(self._in_order(split))

    def text(self, ids: list[int]) -> str:
        return self.target_codec.text(ids)

    def references(self, split: Split) -> list[str]:
        return list(self.prepared.facts["references"][split])

    def source(self, split: Split, row: int) -> str:
        return self.source_codec.text(self.sources[split][row].tolist())

    def parts(self, split: Split) -> list[Part]:
        return by_source_length(self.prepared.arrays[f"{split}.words"])

    def columns(self, split: Split) -> dict[str, list[Any]]:
        return {"source_words": self.prepared.arrays[f"{split}.words"].tolist()}

    def judge(self, hypotheses: list[str], references: list[str]) -> tuple[dict[str, float], Statistics]:
        lowercase = self.limits.lowercase
        bleu = corpus_bleu(hypotheses, references, tokenize="13a", lowercase=lowercase)
        chrf = corpus_chrf(hypotheses, references, lowercase=lowercase)
        return {"bleu": bleu.score, "chrf": chrf.score}, {**bleu.statistics, "chrf": chrf.sentences}

    def judge_part(self, statistics: Statistics, part: Part) -> SliceScore:
        return part.score("bleu", bleu_of(statistics, part))

    def from_loss(self, loss: float) -> dict[str, float]:
        return {"perplexity": perplexity(loss), "loss": loss}

    def trivial(self) -> dict[str, float]:
        """Always the same translation, and always the same word.

        ``bleu`` and ``chrf``: of 30 training targets the best one; see :func:`best_constants`. ``token_accuracy``: the
        commonest word of the test targets. ``loss`` and ``perplexity``: every word with its frequency in training,
        plus one.
        """
        return self.prepared.facts["trivial"] | self.guess_words()

    def trivial_slices(self) -> list[SliceScore]:
        scores = self.prepared.facts["trivial_by_length"]
        return [part.score("bleu", score) for part, score in zip(self.parts("test"), scores, strict=True)]


def perplexity(loss: float) -> float:
    """``exp(loss)``; infinite where that is no number any more."""
    return math.exp(loss) if loss < 700 else math.inf


def best_constants(
    train: list[str], references: list[str], parts: list[Part], *, lowercase: bool
) -> tuple[dict[str, float], list[float]]:
    """What always the same translation scores: of 30 training targets the best, overall and on each part.

    All sentences would take minutes, so 100 of the references choose: overall, and those of a part for that part. The
    chosen ones are held against all references, and the best of them counts.

    Returns:
        ``bleu`` and ``chrf``, and the BLEU of each part.
    """
    candidates = [train[row] for row in spread(len(train), TRIVIAL_CANDIDATES)]
    rows = np.array(spread(len(references), TRIVIAL_REFERENCES))
    few = [references[row] for row in rows]

    def bleu(text: str, of: list[str]) -> Bleu:
        return corpus_bleu([text] * len(of), of, tokenize="13a", lowercase=lowercase)

    def chrf(text: str, of: list[str]) -> float:
        return corpus_chrf([text] * len(of), of, lowercase=lowercase).score

    tried = {text: bleu(text, few) for text in candidates}
    seen = [Part("", "", np.flatnonzero(np.isin(rows, part.rows))) for part in parts]
    chosen = {max(tried, key=lambda text: tried[text].score)}
    chosen |= {max(tried, key=lambda text: bleu_of(tried[text].statistics, part)) for part in seen if len(part.rows)}
    judged = [bleu(text, references) for text in chosen]
    best_chrf = chrf(max(candidates, key=lambda text: chrf(text, few)), references)
    by_part = [max(bleu_of(one.statistics, part) for one in judged) for part in parts]
    return {"bleu": max(one.score for one in judged), "chrf": best_chrf}, by_part


def by_source_length(words_R: np.ndarray) -> list[Part]:
    """The sentences whose source has so many words, in bins; each is a corpus of its own."""
    parts = []
    for low, high in pairwise([0, *LENGTH_BINS, math.inf]):
        # a source without a word is read as one <unk>
        rows = np.flatnonzero((words_R <= high) & ((words_R > low) | (low == 0)))
        if len(rows):
            parts.append(Part("source_length", f"{low + 1}-{high}" if high < math.inf else f"{low + 1}+", rows))
    return parts


def bleu_of(statistics: Statistics, part: Part) -> float:
    """BLEU of some of the sentences."""
    return bleu_from_statistics({name: [column[row] for row in part.rows] for name, column in statistics.items()})
