"""Scores taken apart into one number per test example, whose mean is the score.

A plain mean falls apart by itself. A ratio of sums (perplexity, accuracy by words) or a function of several sums (BLEU,
F1) is taken apart by its infinitesimal jackknife: the score plus the number of examples times the derivative of the
score by the weight of that example. The mean of these pseudo-values is the score exactly, and their variance over the
number of examples is the score's, to first order.

Source: Jaeckel (1972), "The infinitesimal jackknife"; Efron (1982), "The jackknife, the bootstrap and other resampling
plans", chapter 6. Suffix letters: N test examples.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

Examples = Mapping[str, np.ndarray]
"""What a run kept of each test example, as equally long columns."""

CLOSE = 1e-9
"""Relative difference from the stored score that rounding explains."""
MAX_NGRAM = 4
"""BLEU counts n-grams of 1 to this many words; as :data:`gru_bench.metrics.MAX_NGRAM`."""


class Lacking(Exception):
    """The table of examples has not what a metric takes."""


def pseudo_values(metric: str, examples: Examples, score: float, length: object = None) -> np.ndarray | None:
    """(N,) float64 whose mean is the run's score.

    Args:
        metric: Name of the primary metric.
        examples: The run's table.
        score: The stored score, against which the mean is held.
        length: For a table with a column ``length``: the one length that the score is about; None for all examples.

    Returns:
        None where the table lacks the columns, or where their mean is not the stored score: then the table was made
        under another rule.
    """
    if metric not in TAKEN_APART:
        return None
    if length is not None:
        keep_N = np.asarray(examples["length"]) == length
        examples = {name: np.asarray(column)[keep_N] for name, column in examples.items()}
    try:
        pieces_N = TAKEN_APART[metric](examples)
    except Lacking:
        return None
    if not len(pieces_N) or not np.isfinite(pieces_N).all():
        return None
    return pieces_N if math.isclose(pieces_N.mean(), score, rel_tol=CLOSE, abs_tol=1e-12) else None


def scored_lengths(metric: str, examples: Examples, score: float) -> set[object]:
    """The lengths at each of which the run has the stored score; None stands for all examples together.

    Tasks of long range are scored at one of their lengths, which the store does not name: it is the one at which all
    runs of the task have their score.
    """
    lengths = np.unique(np.asarray(examples["length"])).tolist() if "length" in examples else []
    return {at for at in (None, *lengths) if pseudo_values(metric, examples, score, at) is not None}


def column(examples: Examples, name: str) -> np.ndarray:
    """A column as (N,) float64."""
    if name not in examples:
        raise Lacking(name)
    try:
        return np.asarray(examples[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Lacking(name) from error


def mean_of(name: str) -> Callable[[Examples], np.ndarray]:
    """A score that is the mean of a column."""
    return lambda examples: column(examples, name)


def ratio(above_N: np.ndarray, below_N: np.ndarray) -> np.ndarray:
    """Pseudo-values of the ratio of two sums; 0 where there is nothing to divide by."""
    if not len(below_N) or below_N.sum() == 0:
        return np.zeros(len(below_N))
    total = above_N.sum() / below_N.sum()
    return np.asarray(total + (above_N - total * below_N) / below_N.mean())


def accuracy(examples: Examples) -> np.ndarray:
    """Of sequences, or of the words in them where a row counts several."""
    if "words" in examples:
        return ratio(column(examples, "correct"), column(examples, "words"))
    return column(examples, "correct")


def chunk_f1(examples: Examples) -> np.ndarray:
    """F1 = 2 correct / (predicted + actual)."""
    actual_N, predicted_N, correct_N = (
        column(examples, f"{kind}_chunks") for kind in ("actual", "predicted", "correct")
    )
    return ratio(2 * correct_N, actual_N + predicted_N)


def nats(examples: Examples) -> np.ndarray:
    """Nats per token."""
    return ratio(column(examples, "nats"), column(examples, "tokens"))


def bits(examples: Examples) -> np.ndarray:
    """Bits per character."""
    return nats(examples) / math.log(2)


def perplexity(examples: Examples) -> np.ndarray:
    """The exponential of nats per token."""
    nats_N = nats(examples)
    mean = nats_N.mean()
    return np.asarray(np.exp(mean) * (1 + nats_N - mean))


def bleu(examples: Examples) -> np.ndarray:
    """BLEU (0..100) of the corpus by sacrebleu's formula, an n-gram order without matches smoothed exponentially."""
    hypothesis_N, reference_N = column(examples, "sys_len"), column(examples, "ref_len")
    matches = [column(examples, f"count_{n}") for n in range(1, MAX_NGRAM + 1)]
    totals = [column(examples, f"total_{n}") for n in range(1, MAX_NGRAM + 1)]
    N = len(hypothesis_N)
    if not any(count_N.sum() for count_N in matches) or any(total_N.sum() == 0 for total_N in totals):
        return np.zeros(N)
    log_score = math.log(100)
    by_example_N = np.zeros(N)  # derivative of the logarithm by each example's weight
    smooth = 1.0
    for match_N, total_N in zip(matches, totals, strict=True):
        match, total = match_N.sum(), total_N.sum()
        if match == 0:
            smooth *= 2
            log_score += math.log(1 / (smooth * total)) / MAX_NGRAM
            # how often smoothing halves is no sum over examples: the match that it stands for is spread evenly
            match_N, match = np.ones(N), float(N)
        else:
            log_score += math.log(match / total) / MAX_NGRAM
        by_example_N += (match_N / match - total_N / total) / MAX_NGRAM
    hypothesis, reference = hypothesis_N.sum(), reference_N.sum()
    if hypothesis < reference:  # the penalty for brevity
        log_score += 1 - reference / hypothesis
        by_example_N += (reference * hypothesis_N / hypothesis - reference_N) / hypothesis
    return np.asarray(math.exp(log_score) * (1 + N * by_example_N))


TAKEN_APART: dict[str, Callable[[Examples], np.ndarray]] = {
    "accuracy": accuracy,
    "chunk_f1": chunk_f1,
    "mse": mean_of("squared_error"),
    "recall": mean_of("recall"),
    "exact_match": mean_of("exact"),
    "perplexity": perplexity,
    "bits_per_char": bits,
    "bleu": bleu,
}
"""By metric; another one has no pieces, and its comparison knows the noise of seeds alone."""
