"""What tasks on pairs of sequences share: batches, the loss with all right words before, and what greedy decoding said.

Targets end in ``<eos>``; the decoder is fed ``<bos>`` and every target word but the last.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gru_bench.data.vocabulary import BOS, EOS, Vocabulary
from gru_bench.tasks.base import Batch, Counts

IGNORED = -100
"""Target id of padding, which has no loss."""
SPARE_WORDS = 5
"""Words that a translation may be longer than the longest one of the training data."""


class Translator(Protocol):
    """What a model offers to these tasks; :class:`~gru_bench.models.seq2seq.Seq2Seq` is one."""

    def __call__(self, source_TB: Tensor, lengths: Tensor | None, target_SB: Tensor) -> Tensor: ...
    def greedy(
        self, source_TB: Tensor, lengths: Tensor | None, /, *, bos: int, eos: int, max_length: int
    ) -> Tensor: ...


@dataclass
class PairBatch(Batch):
    """Source ids (T, B), target ids (S, B) that end in ``<eos>`` and are padded with ``IGNORED``, source lengths.

    Attributes:
        num_tokens: Words of both sides without padding, counted before the batch goes to a device.
    """

    num_tokens: int = field(kw_only=True)


def collate(sources: list[Tensor], targets: list[Tensor]) -> PairBatch:
    """Pad sequences of ids, each (length,), into one batch."""
    lengths = torch.tensor([len(source) for source in sources])
    return PairBatch(
        nn.utils.rnn.pad_sequence(sources),
        nn.utils.rnn.pad_sequence(targets, padding_value=IGNORED),
        lengths,
        num_tokens=int(lengths.sum()) + sum(len(target) for target in targets),
    )


def words_before(targets_SB: Tensor, vocabulary: Vocabulary) -> Tensor:
    """What the decoder is fed: ``<bos>``, then every target word but the last."""
    bos_1B = torch.full_like(targets_SB[:1], vocabulary.index[BOS])
    return torch.cat([bos_1B, targets_SB[:-1].clamp(min=0)])  # IGNORED becomes 0, which is <pad>


def mean_loss(model: Translator, batch: PairBatch, vocabulary: Vocabulary) -> tuple[Tensor, Counts, None]:
    """Mean nats per target word of one batch, as :meth:`Task.loss` returns it."""
    logits_SBV = model(batch.inputs, batch.lengths, words_before(batch.targets, vocabulary))
    loss = F.cross_entropy(logits_SBV.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
    return loss, Counts(batch.num_tokens, batch.inputs.shape[1]), None


def teacher_forced(model: Translator, batch: PairBatch, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Of each sentence, with all right words before: nats (B,) in sum, and how many words (B,) come out right."""
    logits_SBV = model(batch.inputs, batch.lengths, words_before(batch.targets, vocabulary))
    nats_SB = F.cross_entropy(logits_SBV.movedim(2, 1).double(), batch.targets, ignore_index=IGNORED, reduction="none")
    return nats_SB.sum(dim=0).cpu(), (logits_SBV.argmax(dim=2) == batch.targets).sum(dim=0).cpu()


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


def guess_words(train: Tensor, test: Tensor, vocabulary: Vocabulary) -> tuple[float, float]:
    """What single words score that look at no source and at no word before.

    Args:
        train: (N,) ids of all training targets.
        test: (M,) ids of all test targets.
        vocabulary: Of the target.

    Returns:
        ``token_accuracy`` of always the commonest training word, and ``loss`` in nats per word where every word has
        its frequency in training, plus one.
    """
    size = len(vocabulary)
    train_V = train.bincount(minlength=size).double()
    test_V = test.bincount(minlength=size).double()
    surprise_V = -((train_V + 1) / (train_V + 1).sum()).log()
    return float(test_V[train_V.argmax()] / test_V.sum()), float((test_V * surprise_V).sum() / test_V.sum())
