"""Objective: a sequence of words for a sequence of words.

Targets end in ``<eos>``; the decoder is fed ``<bos>`` and every target word but the last.
"""

from abc import abstractmethod
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data.vocabulary import BOS, EOS, Vocabulary
from gru_bench.losses import IGNORED, mean_nats, nats_and_guesses
from gru_bench.tasks.base import Batch, Counts, Part, Scores, SliceScore, Split, Task
from gru_bench.tasks.objectives.guesses import add_one_surprise
from gru_bench.tasks.objectives.samples import spread

SPARE_WORDS = 5
"""Words that a translation may be longer than the longest one of the training data."""
NUM_SAMPLES = 20
TRIVIAL_CANDIDATES, TRIVIAL_REFERENCES = 30, 100
"""Training targets that are tried as the one constant translation, and test references that choose among them."""

Statistics = dict[str, list[Any]]
"""One list per column, one entry per sentence: what a corpus's score is made of."""


class Translator(Protocol):
    """What a model offers these tasks; :class:`~gru_bench.models.seq2seq.Seq2Seq` is one."""

    output: nn.Linear

    def features(self, source_TB: Tensor, lengths: Tensor | None, target_SB: Tensor) -> Tensor: ...
    def greedy(
        self, source_TB: Tensor, lengths: Tensor | None, /, *, bos: int, eos: int, max_length: int
    ) -> Tensor: ...


class Translate(Task):
    """Translate; batches hold source ids (T, B), their lengths, and target ids (S, B) padded with ``IGNORED``.

    Translations are decoded greedily and judged as texts; ``loss`` and ``token_accuracy`` are measured given the
    right words before, ``<eos>`` included.
    """

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """Of the target."""

    @property
    @abstractmethod
    def most_words(self) -> int:
        """Most words of a translation, ``<eos>`` included."""

    @abstractmethod
    def target_ids(self, split: Split) -> Tensor:
        """(N,) ids of a split's targets, one after the other, each with its ``<eos>``."""

    @abstractmethod
    def target_lengths(self, split: Split) -> Tensor:
        """(R,) words of each target with its ``<eos>``."""

    @abstractmethod
    def order(self, split: Split) -> Tensor:
        """(R,) numbers of the rows in the order in which evaluation batches hold them."""

    @abstractmethod
    def text(self, ids: list[int]) -> str:
        """The text of target ids without ``<eos>``."""

    @abstractmethod
    def references(self, split: Split) -> list[str]:
        """What the translations should be."""

    @abstractmethod
    def source(self, split: Split, row: int) -> str:
        """One source as a text."""

    @abstractmethod
    def parts(self, split: Split) -> list[Part]:
        """The parts of a split that are also scored by themselves."""

    @abstractmethod
    def judge(self, hypotheses: list[str], references: list[str]) -> tuple[dict[str, float], Statistics]:
        """The scores of translations as texts, and the statistics behind them, sentence by sentence."""

    @abstractmethod
    def judge_part(self, statistics: Statistics, part: Part) -> SliceScore:
        """The score of one part."""

    def columns(self, split: Split) -> dict[str, list[Any]]:
        """What else a row of the table of test examples holds."""
        return {}

    def from_loss(self, loss: float) -> dict[str, float]:
        """The scores that follow from the mean nats of a target word."""
        return {"loss": loss}

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, Counts, Any]:
        translator = cast(Translator, model)
        h_SBH = translator.features(batch.inputs, batch.lengths, words_before(batch.targets, self.vocabulary))
        return mean_nats(h_SBH, translator.output, batch.targets), batch.counts(), None

    def score(self, model: nn.Module, split: Split) -> Scores:
        place = self.place(model)
        translator = cast(Translator, model)
        nats: list[Tensor] = []
        right: list[Tensor] = []
        translations: list[str] = []
        for batch in self.batches(split):
            batch = batch.to(*place)
            batch_nats, batch_right = teacher_forced(translator, batch, self.vocabulary)
            nats.append(batch_nats)
            right.append(batch_right)
            translations.extend(self.translate(translator, batch.inputs, batch.lengths))
        # batches come by length; examples are reported in the order of the rows
        back_R = self.order(split).argsort()
        nats_R = torch.cat(nats)[back_R]
        hypotheses = [translations[at] for at in back_R.tolist()]
        references = self.references(split)
        lengths_R = self.target_lengths(split)
        judged, statistics = self.judge(hypotheses, references)
        shown = spread(len(references), NUM_SAMPLES)
        return Scores(
            metrics={
                **judged,
                "token_accuracy": float(torch.cat(right).sum()) / int(lengths_R.sum()),
                **self.from_loss(float(nats_R.sum() / lengths_R.sum())),
            },
            slices=[self.judge_part(statistics, part) for part in self.parts(split)],
            examples={**self.columns(split), "nats": nats_R.tolist(), "tokens": lengths_R.tolist(), **statistics},
            samples={
                "source": [self.source(split, row) for row in shown],
                "reference": [references[row] for row in shown],
                "hypothesis": [hypotheses[row] for row in shown],
            },
        )

    def translate(self, model: Translator, source_TB: Tensor, lengths: Tensor | None) -> list[str]:
        """Greedy translations of a batch as texts."""
        rows = greedy_ids(model, source_TB, lengths, self.vocabulary, self.most_words)
        return [self.text(ids) for ids in rows]

    def guess_words(self) -> dict[str, float]:
        """What single words score as guesses that look at no source and at no word before.

        ``token_accuracy`` of always the commonest word of the test targets; ``loss``, and what follows from it, where
        every word has its frequency in training, plus one.
        """
        train_V, test_V = (
            self.target_ids(split).bincount(minlength=len(self.vocabulary)).double() for split in ("train", "test")
        )
        loss = float((test_V * add_one_surprise(train_V)).sum() / test_V.sum())
        return {"token_accuracy": float(test_V.max() / test_V.sum()), **self.from_loss(loss)}


def collate(sources: list[Tensor], targets: list[Tensor]) -> Batch:
    """Pad sequences of ids, each (length,), into one batch."""
    lengths = torch.tensor([len(source) for source in sources])
    return Batch(
        pad_sequence(sources),
        pad_sequence(targets, padding_value=IGNORED),
        lengths,
        num_tokens=int(lengths.sum()) + sum(len(target) for target in targets),
    )


def words_before(targets_SB: Tensor, vocabulary: Vocabulary) -> Tensor:
    """What the decoder is fed: ``<bos>``, then every target word but the last."""
    bos_1B = torch.full_like(targets_SB[:1], vocabulary.index[BOS])
    return torch.cat([bos_1B, targets_SB[:-1].clamp(min=0)])  # IGNORED becomes 0, which is <pad>


def teacher_forced(model: Translator, batch: Batch, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """For each sentence, given all right words before: its total nats (B,), and how many words (B,) are right."""
    h_SBH = model.features(batch.inputs, batch.lengths, words_before(batch.targets, vocabulary))
    nats_SB, guesses_SB = nats_and_guesses(h_SBH, model.output, batch.targets)
    return nats_SB.double().sum(dim=0).cpu(), (guesses_SB == batch.targets).sum(dim=0).cpu()


def greedy_ids(
    model: Translator, source_TB: Tensor, lengths: Tensor | None, vocabulary: Vocabulary, max_length: int
) -> list[list[int]]:
    """Greedy translations of a batch as target ids, without ``<eos>``.

    Args:
        model: Decodes.
        source_TB: Source ids.
        lengths: (B,) of the source, or None where nothing is padded.
        vocabulary: Of the target.
        max_length: Most words of a translation, ``<eos>`` included.
    """
    bos, eos = vocabulary.index[BOS], vocabulary.index[EOS]
    words_SB = model.greedy(source_TB, lengths, bos=bos, eos=eos, max_length=max_length)
    return [ids[: ids.index(eos)] if eos in ids else ids for ids in words_SB.T.tolist()]
