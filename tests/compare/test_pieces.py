"""Scores taken apart by test example: the mean is the score, and each piece is what its example does to it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench import metrics
from gru_bench.compare import pieces
from gru_bench.compare.pieces import pseudo_values, scored_lengths

WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=7).map(" ".join)
CORPORA = st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=6)

Table = dict[str, np.ndarray]


def column(statistics: dict[str, list[int]], weights: np.ndarray | None = None) -> Table:
    return {
        name: np.array(values, dtype=float) * (1 if weights is None else weights) for name, values in statistics.items()
    }


def influence(score: Callable[[np.ndarray], float], N: int) -> np.ndarray:
    """The score plus N times its derivative by each example's weight, by central differences."""
    step = 1e-5
    slopes = [(score(1 + step * unit) - score(1 - step * unit)) / (2 * step) for unit in np.eye(N)]
    return score(np.ones(N)) + N * np.array(slopes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(CORPORA)
def test_bleu_is_the_mean_of_its_pieces(corpus: list[tuple[str, str]]) -> None:
    found = metrics.corpus_bleu([h for h, _ in corpus], [r for _, r in corpus])
    found_N = pseudo_values("bleu", column(found.statistics), found.score)
    assert found_N is not None
    assert found_N.mean() == pytest.approx(found.score, rel=1e-9, abs=1e-9)


def test_pieces_of_bleu_are_derivatives_by_the_weight_of_a_sentence() -> None:
    pairs = [
        ("a b c d e", "a b c d e f"),
        ("a b x d e f", "a b c d e f g"),
        ("q r s t", "q r s t"),
        ("a b c", "c b a d"),
    ]
    found = metrics.corpus_bleu([h for h, _ in pairs], [r for _, r in pairs])

    def score(weights_N: np.ndarray) -> float:
        # sacrebleu takes whole numbers alone, and BLEU is the same for a multiple of all counts
        whole = {
            name: (100_000 * values_N).round().astype(int).tolist()
            for name, values_N in column(found.statistics, weights_N).items()
        }
        return metrics.bleu_from_statistics(whole)

    found_N = pseudo_values("bleu", column(found.statistics), found.score)
    assert found_N == pytest.approx(influence(score, len(pairs)), rel=1e-5)
    assert sum(found.statistics["sys_len"]) < sum(found.statistics["ref_len"])  # the penalty for brevity counts here


COUNTS = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20), st.floats(0.01, 50)), min_size=2, max_size=20)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(COUNTS)
def test_ratios_of_sums(rows: list[tuple[int, int, float]]) -> None:
    size_N, part_N, nats_N = (np.array(values, dtype=float) for values in zip(*rows, strict=True))
    right_N = np.minimum(part_N, size_N)
    nats = nats_N.sum() / size_N.sum()
    chunks = {"actual_chunks": size_N, "predicted_chunks": part_N, "correct_chunks": right_N}
    tables: list[tuple[str, Table, float]] = [
        ("accuracy", {"words": size_N, "correct": right_N}, right_N.sum() / size_N.sum()),
        ("perplexity", {"tokens": size_N, "nats": nats_N}, math.exp(nats)),
        ("bits_per_char", {"tokens": size_N, "nats": nats_N}, nats / math.log(2)),
        ("chunk_f1", chunks, 2 * right_N.sum() / (size_N + part_N).sum()),
    ]
    for metric, table, score in tables:
        found_N = pseudo_values(metric, table, score)
        assert found_N is not None, metric
        assert found_N.mean() == pytest.approx(score, rel=1e-9)
    # one ratio against its derivative
    found_N = pseudo_values("perplexity", tables[1][1], math.exp(nats))
    assert found_N == pytest.approx(
        influence(lambda w: math.exp((w * nats_N).sum() / (w * size_N).sum()), len(rows)), rel=1e-4
    )


def test_a_table_of_another_rule_is_none() -> None:
    assert pseudo_values("accuracy", {"correct": np.array([1, 0, 1])}, 0.5) is None
    assert pseudo_values("accuracy", {"correct": np.array([1, 0, 1, 0])}, 0.5) is not None
    assert pseudo_values("accuracy", {"right": np.array([1, 0])}, 0.5) is None
    assert pseudo_values("loss", {"nats": np.array([1.0])}, 1.0) is None
    assert pseudo_values("mse", {"squared_error": np.array([np.inf, 1.0])}, math.inf) is None
    assert pseudo_values("exact_match", {"exact": np.zeros(3)}, 0.0) is not None


def test_the_length_that_is_scored_is_found() -> None:
    table = {"length": np.array([10, 10, 50, 50]), "squared_error": np.array([1.0, 3.0, 0.5, 0.7])}
    assert scored_lengths("mse", table, 0.6) == {50}
    assert scored_lengths("mse", table, 1.3) == {None}
    assert scored_lengths("mse", table, 9.0) == set()
    every = {"length": np.array([10, 50]), "recall": np.array([1.0, 1.0])}
    assert scored_lengths("recall", every, 1.0) == {None, 10, 50}


def test_bleu_counts_as_many_words_as_the_metric() -> None:
    assert pieces.MAX_NGRAM == metrics.MAX_NGRAM
