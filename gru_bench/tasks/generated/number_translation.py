"""Translation of numbers written out in words, from English."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Unpack

import torch
from annotated_types import Gt, Le
from torch import Tensor

from gru_bench.data.buckets import by_length
from gru_bench.data.digest import digest
from gru_bench.data.number_words import generator_version, number_words, shuffled_numbers
from gru_bench.data.slices import coded
from gru_bench.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from gru_bench.errors import UserError
from gru_bench.metrics import corpus_bleu, exact_match
from gru_bench.tasks.base import Batch, Common, Metric, Part, PositiveInt, SliceScore, Split, parts_by
from gru_bench.tasks.objectives.guesses import share_of_commonest
from gru_bench.tasks.objectives.samples import spread
from gru_bench.tasks.objectives.translate import (
    SPARE_WORDS,
    TRIVIAL_CANDIDATES,
    TRIVIAL_REFERENCES,
    Statistics,
    Translate,
    collate,
)
from gru_bench.tasks.reading.translation import TranslationReader

SPECIALS = (PAD, UNK, BOS, EOS)


@dataclass(frozen=True)
class Pair:
    """One number in both languages."""

    number: int
    source: list[str]
    target: list[str]


class NumberTranslation(Translate):
    """Translate a number's English words into French or German ones.

    One example in each direction::

        seven hundred and twenty three  ->  sept cent vingt trois
        seven hundred and twenty three  ->  sieben hundert drei und zwanzig

    No number stands in two splits: what is tested is composition out of words that are all known. French counts in
    twenties from 60 to 99 and leaves words out ("one thousand" is "mille"); German puts the units before the tens. A
    translation is right when every word is; BLEU (sacrebleu, over the words above) also credits parts. All
    translations are decoded greedily; ``loss`` and ``token_accuracy`` are measured given the right words before.

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
        **common: Unpack[Common],
    ) -> None:
        super().__init__(data, **common)
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
        self._most_words = max(len(pair.target) for pair in train) + 1 + SPARE_WORDS
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

    def batches(self, split: Split, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if split != "train":
            for rows in torch.arange(self.counts[split]).split(self.batch_size):
                yield self._batch(split, rows)
            return
        lengths = torch.tensor([[len(pair.source), len(pair.target)] for pair in self.pairs["train"]])
        key = lengths[:, 0] * (int(lengths[:, 1].max()) + 1) + lengths[:, 1]
        for rows in by_length(key, self.batch_size, generator):
            yield self._batch("train", rows)

    def _batch(self, split: Split, rows: Tensor) -> Batch:
        return collate([self._sources[split][i] for i in rows], [self._targets[split][i] for i in rows])

    def reader(self) -> TranslationReader:
        sides = {"source": self.source_vocabulary, "target": self.target_vocabulary}
        codecs: dict[str, dict[str, list[str] | str]] = {side: {"tokens": one.tokens} for side, one in sides.items()}
        return TranslationReader(codecs, "whitespace", lowercase=False, most_words=self.most_words)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.target_vocabulary

    @property
    def most_words(self) -> int:
        return self._most_words

    def target_ids(self, split: Split) -> Tensor:
        return torch.cat(self._targets[split])

    def target_lengths(self, split: Split) -> Tensor:
        return torch.tensor([len(pair.target) + 1 for pair in self.pairs[split]])

    def order(self, split: Split) -> Tensor:
        return torch.arange(self.counts[split])

    def text(self, ids: list[int]) -> str:
        return " ".join(self.target_vocabulary.decode(ids))

    def references(self, split: Split) -> list[str]:
        return [" ".join(pair.target) for pair in self.pairs[split]]

    def source(self, split: Split, row: int) -> str:
        return " ".join(self.pairs[split][row].source)

    def parts(self, split: Split) -> list[Part]:
        return parts_by("target_length", [len(pair.target) for pair in self.pairs[split]])

    def columns(self, split: Split) -> dict[str, list[Any]]:
        return {"number": [pair.number for pair in self.pairs[split]]}

    def judge(self, hypotheses: list[str], references: list[str]) -> tuple[dict[str, float], Statistics]:
        bleu = corpus_bleu(hypotheses, references)
        exact = [int(h == r) for h, r in zip(hypotheses, references, strict=True)]
        scores = {"exact_match": exact_match(hypotheses, references), "bleu": bleu.score}
        return scores, {"exact": exact, **bleu.statistics}

    def judge_part(self, statistics: Statistics, part: Part) -> SliceScore:
        return part.score("exact_match", sum(statistics["exact"][row] for row in part.rows) / len(part.rows))

    def trivial(self) -> dict[str, float]:
        """Always the same translation, and always the same word.

        ``exact_match``: the commonest test target, as good as any other where all are different. ``bleu``: of 30
        training targets the one with the highest BLEU against 100 test targets. ``token_accuracy``: the commonest word
        of the test targets. ``loss``: every word with its frequency in training, plus one.
        """
        references, train = self.references("test"), self.references("train")
        few = [references[row] for row in spread(len(references), TRIVIAL_REFERENCES)]
        candidates = [train[row] for row in spread(len(train), TRIVIAL_CANDIDATES)]
        best = max(candidates, key=lambda text: corpus_bleu([text] * len(few), few).score)
        return {
            "exact_match": share_of_commonest(coded(references)[0]),
            "bleu": corpus_bleu([best] * len(references), references).score,
            **self.guess_words(),
        }

    def trivial_slices(self) -> list[SliceScore]:
        codes_R, _ = coded(self.references("test"))
        return [part.score("exact_match", share_of_commonest(codes_R[part.rows])) for part in self.parts("test")]
