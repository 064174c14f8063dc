"""Translation of numbers written out in words, from English."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from gru_bench.data.buckets import by_length
from gru_bench.data.number_words import generator_version, number_words, shuffled_numbers
from gru_bench.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.metrics import bleu_from_statistics, corpus_bleu, exact_match
from gru_bench.tasks.base import (
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
    SPARE_WORDS,
    PairBatch,
    Translator,
    collate,
    greedy_ids,
    guess_words,
    mean_loss,
    teacher_forced,
)

SPECIALS = (PAD, UNK, BOS, EOS)
NUM_SAMPLES = 10
TRIVIAL_CANDIDATES, TRIVIAL_REFERENCES = 30, 100


@dataclass(frozen=True)
class Pair:
    """One number in both languages."""

    number: int
    source: list[str]
    target: list[str]


class NumberTranslation(Task):
    """Translate a number's English words into French or German ones.

    One example in each direction::

        seven hundred and twenty three  ->  sept cent vingt trois
        seven hundred and twenty three  ->  sieben hundert drei und zwanzig

    No number stands in two splits: what is tested is composition out of words that are all known. French counts in
    twenties from 60 to 99 and leaves words out ("one thousand" is "mille"); German puts the units before the tens. A
    translation is right when every word is; BLEU (sacrebleu, over the words above) also credits parts. All
    translations are decoded greedily; ``loss`` and ``token_accuracy`` are measured with the right words before.

    Splits are cut from one fixed order of all numbers, the test set first, so that its numbers do not depend on the
    amount of training data.

    Args:
        target: Language to translate into.
        highest: Numbers are drawn from 1..highest.
        num_train: Training pairs.
        num_valid: Validation pairs.
        num_test: Test pairs.
    """

    metrics: tuple[Metric, ...] = (
        Metric("exact_match", "share of numbers", higher_is_better=True),
        Metric("bleu", "BLEU, 0 to 100", higher_is_better=True),
        Metric("token_accuracy", "share of target words", higher_is_better=True),
        Metric("loss", "nats per target word", higher_is_better=False),
    )
    primary: str = "exact_match"
    generated: ClassVar[bool] = True

    def __init__(
        self,
        data: None,
        /,
        *,
        target: Literal["fr", "de"],
        highest: Annotated[int, Gt(0), Le(999_999)],
        num_train: PositiveInt,
        num_valid: PositiveInt,
        num_test: PositiveInt,
        batch_size: PositiveInt,
        margin: PositiveFloat,
        beats_trivial_by: float,
        ceiling: float,
    ) -> None:
        super().__init__(data, batch_size=batch_size, margin=margin, beats_trivial_by=beats_trivial_by, ceiling=ceiling)
        if num_train + num_valid + num_test > highest:
            raise UserError(
                f"task.highest={highest}: num_train, num_valid and num_test are {num_train + num_valid + num_test} "
                "numbers in sum, and none may occur twice; valid: at least that"
            )
        self.target: Literal["fr", "de"] = target
        self.highest = highest
        self.counts: dict[Split, int] = {"test": num_test, "valid": num_valid, "train": num_train}
        # the signature names sacrebleu's version and how words were found
        self.notes: list[str] = [f"BLEU: {corpus_bleu(['a'], ['a']).signature}"]

    def source_id(self) -> str:
        return f"{generator_version()}:en-{self.target}:{self.highest}:{sorted(self.counts.items())}"

    def load(self) -> None:
        numbers = shuffled_numbers(self.highest, sum(self.counts.values()))
        self.pairs: dict[Split, list[Pair]] = {}
        for split, count in self.counts.items():
            chosen, numbers = numbers[:count], numbers[count:]
            pairs = [Pair(n, number_words(n, "en"), number_words(n, self.target)) for n in chosen]
            if split != "train":  # in order of length, so that batches need little padding
                pairs.sort(key=lambda pair: (len(pair.source), len(pair.target)))
            self.pairs[split] = pairs
        train = self.pairs["train"]
        self.source_vocabulary = Vocabulary.build((w for pair in train for w in pair.source), specials=SPECIALS)
        self.target_vocabulary = Vocabulary.build((w for pair in train for w in pair.target), specials=SPECIALS)
        self.max_length = max(len(pair.target) for pair in train) + 1 + SPARE_WORDS
        self._sources = {s: [self.source_vocabulary.encode(p.source) for p in ps] for s, ps in self.pairs.items()}
        self._targets = {
            s: [self.target_vocabulary.encode([*p.target, EOS]) for p in ps] for s, ps in self.pairs.items()
        }

    def fingerprint(self) -> str:
        return digest(
            *(f"{split} {p.number} {p.source} {p.target}" for split, pairs in self.pairs.items() for p in pairs)
        )

    def sizes(self) -> dict[str, int]:
        return {"source_vocab_size": len(self.source_vocabulary), "target_vocab_size": len(self.target_vocabulary)}

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[PairBatch]:
        if split != "train":
            for rows in torch.arange(self.counts[split]).split(self.batch_size):
                yield self._batch(split, rows)
            return
        lengths = torch.tensor([[len(pair.source), len(pair.target)] for pair in self.pairs["train"]])
        key = lengths[:, 0] * (int(lengths[:, 1].max()) + 1) + lengths[:, 1]
        for rows in by_length(key, self.batch_size, generator):
            yield self._batch("train", rows)

    def _batch(self, split: Split, rows: Tensor) -> PairBatch:
        return collate([self._sources[split][i] for i in rows], [self._targets[split][i] for i in rows])

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        return mean_loss(cast(Translator, model), cast(PairBatch, batch), self.target_vocabulary)

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        translator = cast(Translator, model)
        nats: list[Tensor] = []
        right: list[Tensor] = []
        hypotheses: list[str] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            batch_nats, batch_right = teacher_forced(translator, batch, self.target_vocabulary)
            nats.append(batch_nats)
            right.append(batch_right)
            hypotheses.extend(self.translate(translator, batch.inputs, batch.lengths))
        pairs = self.pairs[split]
        references = [" ".join(pair.target) for pair in pairs]
        exact = [int(h == r) for h, r in zip(hypotheses, references, strict=True)]
        bleu = corpus_bleu(hypotheses, references)
        num_words = sum(len(pair.target) + 1 for pair in pairs)
        shown = torch.linspace(0, len(pairs) - 1, min(NUM_SAMPLES, len(pairs))).long().tolist()
        return Scores(
            metrics={
                "exact_match": exact_match(hypotheses, references),
                "bleu": bleu.score,
                "token_accuracy": float(torch.cat(right).sum()) / num_words,
                "loss": float(torch.cat(nats).sum()) / num_words,
            },
            slices=by_target_length(pairs, exact),
            examples={
                "number": [pair.number for pair in pairs],
                "exact": exact,
                "nats": torch.cat(nats).tolist(),
                "tokens": [len(pair.target) + 1 for pair in pairs],
                **bleu.statistics,
            },
            samples={
                "source": [" ".join(pairs[i].source) for i in shown],
                "reference": [references[i] for i in shown],
                "hypothesis": [hypotheses[i] for i in shown],
            },
        )

    def translate(self, model: Translator, source_TB: Tensor, lengths: Tensor | None) -> list[str]:
        """Greedy translations of a batch, words set apart by spaces."""
        rows = greedy_ids(model, source_TB, lengths, self.target_vocabulary, self.max_length)
        return [" ".join(self.target_vocabulary.decode(ids)) for ids in rows]

    def trivial(self) -> dict[str, float]:
        """Always the same translation, and always the same word.

        ``exact_match`` and ``bleu``: of 30 training targets the one with the highest BLEU against 100 others,
        whatever the source says. ``token_accuracy``: the commonest training word. ``loss``: every word with its
        frequency in training, plus one.
        """
        references = [" ".join(pair.target) for pair in self.pairs["test"]]
        guesses = [self._guess()] * len(references)
        token_accuracy, loss = guess_words(
            torch.cat(self._targets["train"]), torch.cat(self._targets["test"]), self.target_vocabulary
        )
        return {
            "exact_match": exact_match(guesses, references),
            "bleu": corpus_bleu(guesses, references).score,
            "token_accuracy": token_accuracy,
            "loss": loss,
        }

    def trivial_slices(self) -> list[SliceScore]:
        guess, pairs = self._guess(), self.pairs["test"]
        return by_target_length(pairs, [int(guess == " ".join(pair.target)) for pair in pairs])

    def _guess(self) -> str:
        """The training target that is the trivial translation."""
        train = [" ".join(pair.target) for pair in self.pairs["train"]]
        seen = train[-TRIVIAL_REFERENCES:]
        return max(
            train[:TRIVIAL_CANDIDATES],
            key=lambda text: bleu_from_statistics(corpus_bleu([text] * len(seen), seen).statistics),
        )


def by_target_length(pairs: list[Pair], exact: list[int]) -> list[SliceScore]:
    """Exact match by the number of target words."""
    groups: dict[int, list[int]] = {}
    for pair, right in zip(pairs, exact, strict=True):
        groups.setdefault(len(pair.target), []).append(right)
    return [SliceScore("exact_match", "target_length", str(n), sum(g) / len(g)) for n, g in sorted(groups.items())]
