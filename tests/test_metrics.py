"""Known answers, and agreement with the libraries that define the scores."""

import pytest
import sacrebleu
import seqeval.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.metrics import (
    accuracy,
    balanced_accuracy,
    bleu_from_statistics,
    chunk_f1,
    corpus_bleu,
    corpus_chrf,
    exact_match,
    f1_from_statistics,
    macro_f1,
)

ACTUAL = [0, 0, 0, 0, 1, 1, 2, 2]
PREDICTED = [0, 0, 1, 0, 1, 0, 1, 2]


def test_accuracy_known_answer() -> None:
    assert accuracy(PREDICTED, ACTUAL) == pytest.approx(5 / 8)


def test_accuracy_takes_tensors_of_any_shape() -> None:
    score = accuracy(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 5]]))
    assert type(score) is float
    assert score == pytest.approx(0.75)


def test_balanced_accuracy_known_answers() -> None:
    # 3 of 4, 1 of 2 and 1 of 2
    assert balanced_accuracy(PREDICTED, ACTUAL) == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    # always the same class, however frequent; classes that do not occur do not count
    assert balanced_accuracy([1] * 10, [1] * 9 + [0]) == 0.5
    assert balanced_accuracy([4] * 3, [4, 4, 2]) == 0.5
    assert balanced_accuracy([7, 2], [7, 2]) == 1.0


def test_macro_f1_known_answer() -> None:
    # TP, FP, FN: class 0 is 3, 1, 1; class 1 is 1, 2, 1; class 2 is 1, 0, 1
    assert macro_f1(PREDICTED, ACTUAL, 3) == pytest.approx((6 / 8 + 2 / 5 + 2 / 3) / 3)


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    assert macro_f1([0, 2], [0, 2], 5) == 1.0
    # predicted but never actual: that class counts, with an F1 of 0
    assert macro_f1([0, 1], [0, 0], 2) == pytest.approx((2 / 3 + 0) / 2)


def test_macro_f1_of_always_one_class() -> None:
    assert macro_f1([1] * 10, [0] * 5 + [1] * 5, 2) == pytest.approx((0 + 10 / 15) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=50)
def test_macro_f1_is_the_mean_of_two_sided_rates(pairs: list[tuple[int, int]]) -> None:
    predicted, actual = zip(*pairs, strict=True)
    scores = []
    for c in set(predicted) | set(actual):
        hits = sum(p == a == c for p, a in pairs)
        precision = hits / max(predicted.count(c), 1)
        recall = hits / max(actual.count(c), 1)
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    assert macro_f1(predicted, actual, 4) == pytest.approx(sum(scores) / len(scores))


def test_bad_labels() -> None:
    with pytest.raises(ValueError, match="equally many"):
        accuracy([1, 2], [1])
    with pytest.raises(ValueError, match="at least one"):
        macro_f1([], [], 2)
    with pytest.raises(ValueError, match=r"0\.\.1, got 0\.\.2"):
        macro_f1([0, 2], [0, 1], 2)


def test_exact_match() -> None:
    assert exact_match(["a b", "a", ""], ["a b", "a b", ""]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="1 hypotheses and 2 references"):
        exact_match(["a"], ["a", "b"])


HYPOTHESES = ["the cat sat on the mat", "a dog", "the the the the", ""]
REFERENCES = ["the cat sat on a mat", "a dog", "the cat is on the mat", "nothing"]


def test_bleu_equals_sacrebleu() -> None:
    bleu = corpus_bleu(HYPOTHESES, REFERENCES)
    expected = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], tokenize="none", force=True)
    assert bleu.score == pytest.approx(expected.score)
    assert 0 < bleu.score < 100
    assert "tok:none" in bleu.signature
    assert sacrebleu.__version__ in bleu.signature


def test_bleu_known_answer() -> None:
    # matches of 1..4 words: 5 of 6, 3 of 5, 2 of 4, 1 of 3; no brevity penalty
    bleu = corpus_bleu(HYPOTHESES[:1], REFERENCES[:1])
    assert bleu.score == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert bleu.statistics == {
        "sys_len": [6],
        "ref_len": [6],
        **{f"count_{n}": [count] for n, count in enumerate((5, 3, 2, 1), start=1)},
        **{f"total_{n}": [7 - n] for n in range(1, 5)},
    }


def test_bleu_of_a_sample_comes_from_its_statistics() -> None:
    statistics = corpus_bleu(HYPOTHESES, REFERENCES).statistics
    chosen = [0, 0, 2]
    sampled = {name: [values[i] for i in chosen] for name, values in statistics.items()}
    expected = corpus_bleu([HYPOTHESES[i] for i in chosen], [REFERENCES[i] for i in chosen])
    assert bleu_from_statistics(sampled) == pytest.approx(expected.score)


def test_bleu_of_perfect_and_empty_output() -> None:
    assert corpus_bleu(["a b c d e"], ["a b c d e"]).score == pytest.approx(100.0)
    assert corpus_bleu(["", ""], ["a b", "c"]).score == 0.0


REAL = [["B-NP", "I-NP", "B-VP", "O", "B-NP"], ["O", "O"], ["B-PP", "B-NP", "I-NP"]]
TAGGED = [["B-NP", "I-NP", "B-VP", "I-VP", "B-NP"], ["I-NP", "O"], ["B-PP", "B-NP", "O"]]


def test_chunk_f1_known_answer() -> None:
    chunks = chunk_f1(TAGGED, REAL)
    assert chunks.statistics == {
        "actual_chunks": [3, 0, 2],
        "predicted_chunks": [3, 1, 2],
        "correct_chunks": [2, 0, 1],
    }
    assert chunks.f1 == pytest.approx(2 * 3 / (5 + 6))
    # NP: 3 are there, 4 are seen (an I-NP after O begins one), 2 of them right
    assert chunks.by_type == pytest.approx({"NP": 2 * 2 / 7, "PP": 1.0, "VP": 0.0})
    assert f1_from_statistics({name: values[2:] for name, values in chunks.statistics.items()}) == pytest.approx(1 / 2)


def test_chunk_f1_where_there_is_no_chunk() -> None:
    nothing = chunk_f1([["O", "O"]], [["O", "O"]])
    assert (nothing.f1, nothing.by_type) == (0.0, {})
    assert chunk_f1([["O"]], [["B-NP"]]).by_type == {"NP": 0.0}


TAGS = st.sampled_from(["O", "B-NP", "I-NP", "B-VP", "I-VP", "E-NP", "S-VP"])


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_chunk_f1_equals_seqeval(sentences: list[list[tuple[str, str]]]) -> None:
    predicted, real = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))
    chunks = chunk_f1(predicted, real)
    assert chunks.f1 == pytest.approx(seqeval.metrics.f1_score(real, predicted, zero_division=0))
    by_type = seqeval.metrics.f1_score(real, predicted, average=None, zero_division=0)
    assert list(chunks.by_type.values()) == pytest.approx(list(by_type))


def test_chunk_f1_takes_as_many_tags_as_there_are() -> None:
    for predicted, real in (([["O"]], [["O"], ["O"]]), ([["O"]], [["O", "O"]]), ([], [])):
        with pytest.raises(ValueError, match="as many predicted as actual sentences"):
            chunk_f1(predicted, real)


RAW = ['Ein "großer" Hund, 1,5 m hoch.', "Zwei saftig-grüne Wiesen!", "Er sagte: 'Nein'."]
SAID = ['ein " großer " hund , 1,5 m hoch .', "zwei saftig - grüne <unk> !", "er sagte : ' nein ' ."]


@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_of_raw_text_is_sacrebleus(lowercase: bool) -> None:
    bleu = corpus_bleu(SAID, RAW, tokenize="13a", lowercase=lowercase)
    expected = sacrebleu.corpus_bleu(SAID, [RAW], tokenize="13a", lowercase=lowercase)
    assert bleu.score == expected.score
    assert f"case:{'lc' if lowercase else 'mixed'}|" in bleu.signature
    assert "|tok:13a|" in bleu.signature
    assert bleu_from_statistics(bleu.statistics) == pytest.approx(bleu.score)
    # punctuation is set apart; hyphens between words and single quotes are not
    assert bleu.statistics["ref_len"] == [10, 4, 5]
    assert bleu.statistics["count_1"][0] == (10 if lowercase else 8)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(("said", "raw"), [(SAID, RAW), (HYPOTHESES, REFERENCES), ([""], ["a"])])
def test_chrf_is_sacrebleus(said: list[str], raw: list[str], lowercase: bool) -> None:
    chrf = corpus_chrf(said, raw, lowercase=lowercase)
    metric = sacrebleu.metrics.CHRF(lowercase=lowercase)
    assert chrf.score == metric.corpus_score(said, [raw]).score
    assert chrf.sentences == [metric.sentence_score(h, [r]).score for h, r in zip(said, raw, strict=True)]
    assert chrf.signature == str(metric.get_signature())
    assert "|nc:6|nw:0|" in chrf.signature


def test_chrf_known_answer() -> None:
    # characters without spaces; "ab" against "abc": precision 1, 1 and recall 2/3, 1/2 over n of 1, 2
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    assert corpus_chrf(["a b"], ["abc"]).score == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert corpus_chrf(["a b"], ["ab"]).score == pytest.approx(100)
    assert corpus_chrf(["", "x"], ["ab", "c"]).score == 0
    with pytest.raises(ValueError, match="equally many sentences"):
        corpus_chrf([], [])
