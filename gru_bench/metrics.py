"""Scores as small pure functions: labels and sentences in, plain floats out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from sacrebleu.metrics import BLEU, CHRF
from torch import Tensor

Labels = Tensor | Sequence[int]

MAX_NGRAM = 4
"""BLEU counts n-grams of 1 to this many words."""


def accuracy(predicted: Labels, actual: Labels) -> float:
    """Fraction of labels that are right.

    Args:
        predicted: Class ids, of any shape.
        actual: Class ids, of the same shape.

    Raises:
        ValueError: The two differ in shape, or are empty.
    """
    predicted_N, actual_N = _pair(predicted, actual)
    return float((predicted_N == actual_N).double().mean())


def balanced_accuracy(predicted: Labels, actual: Labels) -> float:
    """Mean over the classes that occur of the fraction of their members that are right.

    Always the same class scores one by the number of classes, however frequent that class is.

    Args:
        predicted: Class ids, of any shape.
        actual: Class ids from 0, of the same shape.

    Raises:
        ValueError: The two differ in shape, or are empty.

    Source: Brodersen et al. (2010), doi:10.1109/ICPR.2010.764.
    """
    predicted_N, actual_N = _pair(predicted, actual)
    members_C = torch.bincount(actual_N)
    right_C = torch.bincount(actual_N[predicted_N == actual_N], minlength=len(members_C)).double()
    occurs_C = members_C > 0
    return float((right_C[occurs_C] / members_C[occurs_C]).mean())


def macro_f1(predicted: Labels, actual: Labels, num_classes: int) -> float:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), each class weighing the same.

    Classes that occur neither in ``actual`` nor in ``predicted`` have no F1 and are left out of the mean.

    Args:
        predicted: Class ids in 0..num_classes-1, of any shape.
        actual: Class ids, of the same shape.
        num_classes: C.

    Raises:
        ValueError: The two differ in shape, are empty, or hold an id outside 0..num_classes-1.
    """
    predicted_N, actual_N = _pair(predicted, actual)
    low = min(int(predicted_N.min()), int(actual_N.min()))
    high = max(int(predicted_N.max()), int(actual_N.max()))
    if low < 0 or high >= num_classes:
        raise ValueError(f"class ids must lie in 0..{num_classes - 1}, got {low}..{high}")
    right_C = torch.bincount(actual_N[predicted_N == actual_N], minlength=num_classes).double()
    # TP + FP predictions and TP + FN members: their sum is the denominator
    total_C = torch.bincount(predicted_N, minlength=num_classes) + torch.bincount(actual_N, minlength=num_classes)
    occurs_C = total_C > 0
    return float((2 * right_C[occurs_C] / total_C[occurs_C]).mean())


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Fraction of hypotheses that are their reference, character by character.

    Raises:
        ValueError: Unequally many of them, or none.
    """
    _check_sentences(hypotheses, references)
    return sum(h == r for h, r in zip(hypotheses, references, strict=True)) / len(references)


@dataclass(frozen=True)
class Bleu:
    """A corpus's BLEU and what is needed to tell how uncertain it is.

    Attributes:
        score: BLEU in 0..100.
        signature: sacrebleu's description of what was computed, with its version.
        statistics: One list per column, one entry per sentence: ``sys_len``, ``ref_len``, and for each n of 1..4
            ``count_n`` (matching n-grams) and ``total_n`` (n-grams of the hypothesis). Sums over any sample of
            sentences give that sample's BLEU: :func:`bleu_from_statistics`.
    """

    score: float
    signature: str
    statistics: dict[str, list[int]]


def corpus_bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenize: Literal["none", "13a"] = "none",
    lowercase: bool = False,
) -> Bleu:
    """BLEU over a corpus through sacrebleu, one reference a sentence.

    Args:
        hypotheses: Translations.
        references: What they should be.
        tokenize: ``none`` where words are set apart by spaces; ``13a`` for raw text, as publications report it.
        lowercase: Whether upper case counts as lower case.

    Raises:
        ValueError: Unequally many sentences, or none.

    Source: Papineni et al. (2002), doi:10.3115/1073083.1073135; Post (2018), arXiv:1804.08771.
    """
    _check_sentences(hypotheses, references)
    # one pass over the sentences, for their counts; those of the corpus are their sums
    sentence = BLEU(tokenize=tokenize, lowercase=lowercase, max_ngram_order=MAX_NGRAM, effective_order=True)
    rows = [sentence.sentence_score(h, [r]) for h, r in zip(hypotheses, references, strict=True)]
    statistics = {"sys_len": [row.sys_len for row in rows], "ref_len": [row.ref_len for row in rows]}
    for n in range(1, MAX_NGRAM + 1):
        statistics[f"count_{n}"] = [row.counts[n - 1] for row in rows]
        statistics[f"total_{n}"] = [row.totals[n - 1] for row in rows]
    corpus = BLEU(tokenize=tokenize, lowercase=lowercase, max_ngram_order=MAX_NGRAM, force=True)
    corpus.corpus_score(list(hypotheses[:1]), [list(references[:1])])  # without one it has no signature
    return Bleu(bleu_from_statistics(statistics), str(corpus.get_signature()), statistics)


def bleu_from_statistics(statistics: dict[str, list[int]]) -> float:
    """BLEU (0..100) of the sentences whose statistics these are; see :class:`Bleu`."""
    sums = {name: sum(values) for name, values in statistics.items()}
    score = BLEU.compute_bleu(
        correct=[sums[f"count_{n}"] for n in range(1, MAX_NGRAM + 1)],
        total=[sums[f"total_{n}"] for n in range(1, MAX_NGRAM + 1)],
        sys_len=sums["sys_len"],
        ref_len=sums["ref_len"],
        smooth_method="exp",
        max_ngram_order=MAX_NGRAM,
    )
    return float(score.score)


@dataclass(frozen=True)
class Chunks:
    """F1 of chunks and what is needed to tell how uncertain it is.

    Attributes:
        f1: Over the chunks of all sentences, in 0..1.
        by_type: The same over the chunks of one type, for each type that occurs.
        number_by_type: How many chunks of each of these types there are; 0 where one was only predicted.
        statistics: One list per column, one entry per sentence: ``actual_chunks``, ``predicted_chunks`` and
            ``correct_chunks``, which are in both. Sums over any sample of sentences give that sample's F1:
            :func:`f1_from_statistics`.
    """

    f1: float
    by_type: dict[str, float]
    number_by_type: dict[str, int]
    statistics: dict[str, list[int]]


def chunk_f1(predicted: Sequence[Sequence[str]], actual: Sequence[Sequence[str]]) -> Chunks:
    """F1 of the chunks that tags such as ``B-NP``, ``I-NP`` and ``O`` stand for, as ``conlleval`` counts them.

    A chunk is right if its type, its first word and its last word are. seqeval takes the tags apart, in its default
    mode: a chunk begins at each ``B-``, and also at an ``I-`` whose left neighbor is ``O`` or of another type (its
    strict mode would drop that chunk). F1 = 2 correct / (predicted + actual); 0 where there is no chunk at all.

    Args:
        predicted: Tags of each sentence: ``O``, or a letter of ``BIES``, a hyphen and a type.
        actual: Likewise, with the same number of words in each sentence.

    Raises:
        ValueError: Unequally many sentences or words, or no sentence.

    Source: Tjong Kim Sang and Buchholz (2000), "Introduction to the CoNLL-2000 shared task: chunking".
    """
    if len(predicted) != len(actual) or not actual or any(map(_differ, predicted, actual)):
        raise ValueError("expected as many predicted as actual sentences, at least one, with equally many words each")
    # it brings scikit-learn along, a second that no other score should wait for
    from seqeval.metrics.sequence_labeling import get_entities

    sums: dict[str, list[int]] = {}
    rows: list[list[int]] = []
    for guess, truth in zip(predicted, actual, strict=True):
        guessed, real = set(get_entities(list(guess))), set(get_entities(list(truth)))
        rows.append([len(real), len(guessed), len(real & guessed)])
        for column, chunks in enumerate((real, guessed, real & guessed)):
            for chunk in chunks:
                sums.setdefault(chunk[0], [0, 0, 0])[column] += 1
    names = ("actual_chunks", "predicted_chunks", "correct_chunks")
    statistics = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    by_type = {kind: _f1(*counts) for kind, counts in sorted(sums.items())}
    number_by_type = {kind: sums[kind][0] for kind in by_type}
    return Chunks(f1_from_statistics(statistics), by_type, number_by_type, statistics)


def f1_from_statistics(statistics: dict[str, list[int]]) -> float:
    """F1 (0..1) of the sentences whose statistics these are; see :class:`Chunks`."""
    return _f1(*(sum(statistics[f"{name}_chunks"]) for name in ("actual", "predicted", "correct")))


def _f1(actual: int, predicted: int, correct: int) -> float:
    return 2 * correct / (actual + predicted) if actual + predicted else 0.0


def _differ(one: Sequence[str], other: Sequence[str]) -> bool:
    return len(one) != len(other)


@dataclass(frozen=True)
class ChrF:
    """A corpus's chrF and that of each sentence.

    Attributes:
        score: chrF2 in 0..100, over the n-grams of the whole corpus: not the mean of the sentences' scores.
        signature: sacrebleu's description of what was computed, with its version.
        sentences: chrF2 of each sentence by itself, in 0..100.
    """

    score: float
    signature: str
    sentences: list[float]


def corpus_chrf(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False) -> ChrF:
    """chrF2 over a corpus through sacrebleu: n-grams of 1 to 6 characters without spaces, one reference a sentence.

    Args:
        hypotheses: Translations.
        references: What they should be.
        lowercase: Whether upper case counts as lower case.

    Raises:
        ValueError: Unequally many sentences, or none.

    Source: Popović (2015), doi:10.18653/v1/W15-3049; Post (2018), arXiv:1804.08771.
    """
    _check_sentences(hypotheses, references)
    metric = CHRF(lowercase=lowercase)
    # the steps of sacrebleu 2's corpus_score, which are not public: a sentence_score for each sentence would count all
    # n-grams a second time
    counts = metric._extract_corpus_statistics(list(hypotheses), [list(references)])
    sentences = [float(metric._aggregate_and_compute([row]).score) for row in counts]
    return ChrF(float(metric._aggregate_and_compute(counts).score), str(metric.get_signature()), sentences)


def _pair(predicted: Labels, actual: Labels) -> tuple[Tensor, Tensor]:
    predicted_N, actual_N = torch.as_tensor(predicted), torch.as_tensor(actual)
    if predicted_N.shape != actual_N.shape or predicted_N.numel() == 0:
        raise ValueError(
            "expected equally many labels, at least one: "
            f"got {tuple(predicted_N.shape)} predicted and {tuple(actual_N.shape)} actual"
        )
    return predicted_N.flatten().cpu().long(), actual_N.flatten().cpu().long()


def _check_sentences(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references) or len(references) == 0:
        raise ValueError(
            "expected equally many sentences, at least one: "
            f"got {len(hypotheses)} hypotheses and {len(references)} references"
        )
