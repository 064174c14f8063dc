"""Translation of sentences: from any data set of rows with a source and a target text."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, cast

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from gru_bench.data import buckets
from gru_bench.data.bpe import NUM_BYTES
from gru_bench.data.parallel import SIDES, SPECIALS, Codec, Kind, Limits, padding_share, pair_keys, prepare
from gru_bench.data.prepared import Prepared, cached
from gru_bench.data.rows import SPLITS, Rows
from gru_bench.data.vocabulary import PAD
from gru_bench.errors import UserError
from gru_bench.metrics import Bleu, bleu_from_statistics, corpus_bleu, corpus_chrf
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
from gru_bench.tasks.pairs import (
    IGNORED,
    SPARE_WORDS,
    PairBatch,
    Translator,
    greedy_ids,
    guess_words,
    mean_loss,
    teacher_forced,
)

SMALLEST_BPE = len(SPECIALS) + NUM_BYTES
NUM_SAMPLES = 20
TRIVIAL_CANDIDATES, TRIVIAL_REFERENCES = 30, 100
LENGTH_BINS = (9, 12, 15, 20, 30)
"""Most words of a source in each of the slices; longer ones are one more."""


class Translation(Task):
    """Translate a sentence.

    One example of Multi30k, lower case and ``words``::

        two men are cooking .  ->  zwei männer kochen .

    The vocabulary of each side is that of the training rows that are used; other words are ``<unk>``, also in what
    is said. All translations are decoded greedily, with at most five words more than the longest training target,
    and are held against the raw text of the data set: ``bleu`` (sacrebleu, its tokenizer ``13a``) and ``chrf``
    (chrF2), both without regard to case where the task has none. ``loss``, ``perplexity`` and ``token_accuracy`` are
    measured with the right words before, ``<eos>`` included, and depend on the vocabulary: they compare cells, not
    vocabularies.

    A source without a word is read as one ``<unk>``; a target without one is ``<eos>`` alone. Training rows with more
    than ``max_length`` words on either side are left out; those of validation and test are all kept and read whole.
    Each of these is counted and recorded, as are rows that lack a side (not used) and rows whose source also occurs
    in the training split (kept); see :class:`~gru_bench.data.rows.Rows`.

    The trivial guess is always the same training target, for each score the best of 30; see :meth:`trivial`.

    Args:
        vocabulary: What a sentence is taken apart into: ``words`` of raw text (words and runs of one punctuation
            mark), ``whitespace`` for text that was tokenized before, or ``bpe``: pieces of words, learned from each
            side's training texts, of which nothing is unknown.
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
        batch_size: PositiveInt,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
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
        told = self.prepared.facts
        self.source_codec, self.target_codec = (Codec(told["codecs"][side]) for side in SIDES)
        self.sources = {split: self.prepared.ragged(f"{split}.source") for split in SPLITS}
        self.targets = {split: self.prepared.ragged(f"{split}.target") for split in SPLITS}
        self.max_words = int(self.targets["train"].lengths.max()) + SPARE_WORDS
        self._keys = {split: pair_keys(self.sources[split], self.targets[split]) for split in SPLITS}
        groups = self._shuffled(torch.Generator().manual_seed(TRAIN_DATA_SEED))
        padding = padding_share((self.sources["train"], self.targets["train"]), groups)
        bleu = corpus_bleu(["a"], ["a"], tokenize="13a", lowercase=self.limits.lowercase).signature
        chrf = corpus_chrf(["a"], ["a"], lowercase=self.limits.lowercase).signature
        self.notes = [
            *told["notes"],
            f"BLEU: {bleu}",
            f"chrF2: {chrf}",
            f"padding is {padding:.1%} of the steps of a training epoch",
        ]
        self.facts = told["counts"] | {"padding_share": round(padding, 4)}

    def _prepare(self) -> Prepared:
        prepared, texts = prepare(self.data.load(), self.limits)
        arrays, facts = prepared.arrays, prepared.facts
        facts["trivial"], statistics = constant_scores(
            texts["train"]["target"], texts["test"]["target"], lowercase=self.limits.lowercase
        )
        parts = by_source_length(arrays["test.words"].tolist(), statistics)
        facts["trivial_by_length"] = {part.slice_value: part.value for part in parts}
        codec, targets = Codec(facts["codecs"]["target"]), prepared.ragged("test.target")
        written = [codec.text(targets[row][:-1].tolist()) for row in range(len(targets))]
        best = corpus_bleu(written, texts["test"]["target"], tokenize="13a", lowercase=self.limits.lowercase).score
        facts["counts"]["bleu_of_references"] = round(best, 2)
        facts["notes"].append(f"the test references, written with this vocabulary, score BLEU {best:.1f}")
        content = [part for name in sorted(arrays) for part in (name, arrays[name].tobytes())]
        told = [*facts["references"]["valid"], *facts["references"]["test"]]
        tokens = [token for side in SIDES for token in Codec(facts["codecs"][side]).vocabulary.tokens]
        facts["fingerprint"] = digest(*tokens, *told, *content)
        return prepared

    def fingerprint(self) -> str:
        return str(self.prepared.facts["fingerprint"])

    def sizes(self) -> dict[str, int]:
        return {
            "source_vocab_size": len(self.source_codec.vocabulary),
            "target_vocab_size": len(self.target_codec.vocabulary),
        }

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[PairBatch]:
        groups = self._shuffled(generator) if split == "train" else self._in_order(split)
        sources = buckets.padded(self.sources[split], groups, self.source_codec.vocabulary.index[PAD])
        targets = buckets.padded(self.targets[split], groups, IGNORED)
        for source, target in zip(sources, targets, strict=True):
            yield PairBatch(source.ids, target.ids, source.lengths, num_tokens=source.num_tokens + target.num_tokens)

    def _shuffled(self, generator: torch.Generator | None) -> list[Tensor]:
        return buckets.by_length(self._keys["train"], self.batch_size, generator, buckets.LARGE_POOL_BATCHES)

    def _in_order(self, split: Split) -> list[Tensor]:
        return buckets.in_order(self._keys[split], self.batch_size)

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        return mean_loss(cast(Translator, model), cast(PairBatch, batch), self.target_codec.vocabulary)

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        translator = cast(Translator, model)
        vocabulary = self.target_codec.vocabulary
        nats: list[Tensor] = []
        right: list[Tensor] = []
        said: list[str] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            batch_nats, batch_right = teacher_forced(translator, batch, vocabulary)
            nats.append(batch_nats)
            right.append(batch_right)
            said.extend(
                self.target_codec.text(ids)
                for ids in greedy_ids(translator, batch.inputs, batch.lengths, vocabulary, self.max_words)
            )
        # batches come by length; what is told of examples is in the order of the rows
        back_R = torch.cat(self._in_order(split)).argsort()
        nats_R = torch.cat(nats)[back_R]
        hypotheses = [said[at] for at in back_R.tolist()]
        references: list[str] = self.prepared.facts["references"][split]
        words = self.prepared.arrays[f"{split}.words"].tolist()
        tokens_R = torch.from_numpy(self.targets[split].lengths)
        lowercase = self.limits.lowercase
        bleu = corpus_bleu(hypotheses, references, tokenize="13a", lowercase=lowercase)
        chrf = corpus_chrf(hypotheses, references, lowercase=lowercase)
        loss = float(nats_R.sum() / tokens_R.sum())
        shown = torch.linspace(0, len(references) - 1, min(NUM_SAMPLES, len(references))).long().tolist()
        return Scores(
            metrics={
                "bleu": bleu.score,
                "chrf": chrf.score,
                "token_accuracy": float(torch.cat(right).sum() / tokens_R.sum()),
                "perplexity": perplexity(loss),
                "loss": loss,
            },
            slices=by_source_length(words, bleu.statistics),
            examples={
                "nats": nats_R.tolist(),
                "tokens": tokens_R.tolist(),
                "source_words": words,
                **bleu.statistics,
                "chrf": chrf.sentences,
            },
            samples={
                "source": [self.source_codec.text(self.sources[split][row].tolist()) for row in shown],
                "reference": [references[row] for row in shown],
                "hypothesis": [hypotheses[row] for row in shown],
            },
        )

    def trivial(self) -> dict[str, float]:
        """Always the same translation, and always the same word.

        ``bleu`` and ``chrf``: of 30 training targets the one that scores highest against 100 others, whatever the
        source says. ``token_accuracy``: the commonest training word. ``loss`` and ``perplexity``: every word with its
        frequency in training, plus one.
        """
        train_N, test_N = (torch.from_numpy(self.targets[split].values.astype(np.int64)) for split in ("train", "test"))
        token_accuracy, loss = guess_words(train_N, test_N, self.target_codec.vocabulary)
        return {
            **self.prepared.facts["trivial"],
            "token_accuracy": token_accuracy,
            "perplexity": perplexity(loss),
            "loss": loss,
        }

    def trivial_slices(self) -> list[SliceScore]:
        told: dict[str, float] = self.prepared.facts["trivial_by_length"]
        return [SliceScore("bleu", "source_length", value, score) for value, score in told.items()]


def perplexity(loss: float) -> float:
    """``exp(loss)``; infinite where that is no number any more."""
    return math.exp(loss) if loss < 700 else math.inf


def constant_scores(
    train: list[str], references: list[str], *, lowercase: bool
) -> tuple[dict[str, float], dict[str, list[int]]]:
    """What always the same training target scores, chosen for each score by other training targets.

    Returns:
        The scores, and the statistics of the BLEU among them; see :class:`~gru_bench.metrics.Bleu`.
    """
    candidates = spread(range(len(train)), TRIVIAL_CANDIDATES)
    others = sorted(set(range(len(train))) - set(candidates)) or candidates
    seen = [train[row] for row in spread(others, TRIVIAL_REFERENCES)]

    def bleu(text: str, of: list[str]) -> Bleu:
        return corpus_bleu([text] * len(of), of, tokenize="13a", lowercase=lowercase)

    def chrf(text: str, of: list[str]) -> float:
        return corpus_chrf([text] * len(of), of, lowercase=lowercase).score

    texts = [train[row] for row in candidates]
    best_bleu = bleu(max(texts, key=lambda text: bleu(text, seen).score), references)
    best_chrf = chrf(max(texts, key=lambda text: chrf(text, seen)), references)
    return {"bleu": best_bleu.score, "chrf": best_chrf}, best_bleu.statistics


def spread(rows: Sequence[int], most: int) -> list[int]:
    """At most so many of the rows, evenly from the first to the last: a file may be sorted."""
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
    return [rows[at] for at in chosen]


def by_source_length(words: list[int], statistics: dict[str, list[int]]) -> list[SliceScore]:
    """BLEU of the sentences whose source has so many words; each slice is a corpus of its own."""
    slices = []
    for low, high in pairwise([0, *LENGTH_BINS, math.inf]):
        rows = [row for row, number in enumerate(words) if low < number <= high or number == low == 0]
        if rows:
            name = f"{low + 1}-{high}" if high < math.inf else f"{low + 1}+"
            part = {column: [values[row] for row in rows] for column, values in statistics.items()}
            slices.append(SliceScore("bleu", "source_length", name, bleu_from_statistics(part)))
    return slices
