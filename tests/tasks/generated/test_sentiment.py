"""Generated sentiment: the rules on known sentences, balance, splits, and batches."""

from collections import Counter
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from gru_bench.data import sentiment_grammar as grammar
from gru_bench.data.sentiment_grammar import make_sentences, ratings, sentiment
from gru_bench.data.vocabulary import PAD
from gru_bench.errors import UserError
from gru_bench.tasks.base import TEST_DATA_SEED, Goal
from gru_bench.tasks.generated.sentiment import Sentiment

LIMITS = {"batch_size": 16, "goal": Goal(margin=0.01, beats_trivial_by=0.1, ceiling=0.99)}
DISTANCES = [0, 3, 8]


def make(num_train: int = 270, num_valid: int = 54, num_test: int = 108) -> Sentiment:
    task = Sentiment(None, distances=DISTANCES, num_train=num_train, num_valid=num_valid, num_test=num_test, **LIMITS)
    task.load()
    return task


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("everybody said that the film was good", 1.9),
        ("everybody said that the film was very good", 2.85),
        ("everybody at noon today said that the film was bad", -2.5),
        ("nobody at noon today said that the film was good", -1.9),
        ("nobody said that the film was bad", 2.5),
        ("everybody said that the film was not good", -1.9),
        ("nobody said that the film was not good", 1.9),
        ("the film was great but the hotel was bad", -2.5),
        ("the film was bad at noon but the hotel was great", 3.1),
        ("the film was great although the hotel was very bad", 3.1),
        ("the film was bad at noon although the hotel was great", -2.5),
        ("the film was barely great and the hotel was very bad", 0.93 - 3.75),
        ("the film was very great at noon and the hotel was slightly bad", 4.65 - 1.5),
    ],
)
def test_the_rules(text: str, value: float) -> None:
    assert sentiment(text.split()) == pytest.approx(value)


def test_ratings_are_peoples_and_clear() -> None:
    rated = ratings()
    # as printed in the lexicon
    assert rated["good"] == 1.9
    assert rated["great"] == 3.1
    assert rated["horrible"] == -2.5
    assert len(rated) == len(grammar.POSITIVE) + len(grammar.NEGATIVE)
    assert all(rated[word] >= 1 for word in grammar.POSITIVE)
    assert all(rated[word] <= -1 for word in grammar.NEGATIVE)


def test_an_unclear_rating_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings.cache_clear()
    monkeypatch.setattr(grammar, "POSITIVE", ["good", "table"])
    with pytest.raises(UserError, match="table"):
        ratings()
    ratings.cache_clear()


def test_every_sentence_is_what_it_claims() -> None:
    made = make_sentences(432, DISTANCES, torch.Generator().manual_seed(0))
    rated = ratings()
    for sentence in made:
        words = list(sentence.words)
        assert sentence.label == int(sentiment(words) > 0)
        subject = words[0]
        if sentence.construction in ("contrast", "concession", "intensity"):
            word = {"contrast": "but", "concession": "although", "intensity": "and"}[sentence.construction]
            first, second = (i for i, w in enumerate(words) if w in rated)
            assert words.index(word) == first + 1 + sentence.distance
            assert (rated[words[first]] > 0) != (rated[words[second]] > 0)
        else:
            negations = (subject == "nobody") + ("not" in words)
            assert ["plain", "negation", "double_negation"][negations] == sentence.construction
            assert words.index("said") == 1 + sentence.distance
    assert {s.construction for s in made} == set(grammar.CONSTRUCTIONS)


def test_labels_distances_and_constructions_are_balanced() -> None:
    made = make_sentences(540, DISTANCES, torch.Generator().manual_seed(0))
    assert Counter(s.label for s in made) == {0: 270, 1: 270}
    assert Counter(s.distance for s in made) == dict.fromkeys(DISTANCES, 180)
    by_construction = Counter((s.construction, s.label) for s in made)
    assert all(by_construction[c, 0] == by_construction[c, 1] > 0 for c in grammar.CONSTRUCTIONS)


def test_a_bag_of_words_does_poorly() -> None:
    task = Sentiment(None, distances=[0, 5, 10, 20], num_train=4096, num_valid=1, num_test=2048, **LIMITS)
    task.load()

    def bags(split: str) -> tuple[Tensor, Tensor]:
        counts_NV = torch.stack([ids.bincount(minlength=len(task.vocabulary)) for ids in task._ids[split]]).double()
        return counts_NV, task._labels[split].double()

    train_NV, labels_N = bags("train")
    design_NV = torch.cat([train_NV, torch.ones(len(train_NV), 1)], dim=1)
    weights_V = torch.zeros(design_NV.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights_V], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(design_NV @ weights_V, labels_N)
        loss = loss + 1e-3 * weights_V.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    test_NV, test_N = bags("test")
    logits_N = torch.cat([test_NV, torch.ones(len(test_NV), 1)], dim=1) @ weights_V.detach()
    reached = float(((logits_N > 0) == (test_N > 0)).double().mean())
    # it does learn which adjectives are positive, from the surplus of plain sentences
    assert 0.5 < reached < 0.62


def test_negation_flips_the_label_and_two_cancel() -> None:
    words = ["everybody", "in", "march", "said", "that", "the", "film", "was", "very", "good"]
    negated = ["nobody", *words[1:]]
    both = [*negated[:-2], "not", *negated[-2:]]
    assert sentiment(negated) == -sentiment(words)
    assert sentiment(both) == sentiment(words)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_filler_has_exactly_so_many_neutral_words(count: int) -> None:
    words = list(grammar.filler(count, grammar.Dice(torch.Generator().manual_seed(count))))
    assert len(words) == count
    neutral = {word for pair in grammar.FILLER_PAIRS for word in pair.split()} | set(grammar.FILLER_WORDS)
    assert set(words) <= neutral
    assert not neutral & {*grammar.SCALES, *grammar.CONNECTIVES, *grammar.NOUNS}
    assert not {*neutral, *grammar.NOUNS} & grammar.lexicon().keys()


def test_splits_share_no_sentence_and_all_words() -> None:
    task = make(num_train=2000)
    splits = {name: {s.words for s in made} for name, made in task.sentences.items()}
    for one, other in combinations(splits.values(), 2):
        assert not one & other
    assert {name: len(words) for name, words in splits.items()} == {"train": 2000, "valid": 54, "test": 108}
    for name in ("valid", "test"):
        assert all((ids != task.vocabulary.unk).all() for ids in task._ids[name])


def test_data_is_the_same_every_time_and_the_test_set_whatever_the_training() -> None:
    assert make().fingerprint() == make().fingerprint()
    assert make(num_train=300).fingerprint() != make().fingerprint()
    # so many that drawing the training set first would take some of the test set's sentences
    assert make(num_train=4000).sentences["test"] == make().sentences["test"]
    direct = make_sentences(108, DISTANCES, torch.Generator().manual_seed(TEST_DATA_SEED))
    assert {s.words for s in direct} == {s.words for s in make().sentences["test"]}
    ids = {make().source_id(), make(num_train=300).source_id()}
    assert len(ids) == 2


def test_too_many_sentences_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "MAX_DRAWS", 50)
    with pytest.raises(UserError, match="more than there are"):
        make_sentences(100_000, [0], torch.Generator().manual_seed(0))


def test_training_batches_hold_every_sentence_once_in_an_order_of_the_seed() -> None:
    task = make()

    def epoch(seed: int) -> list[Tensor]:
        return [b.inputs for b in task.batches("train", torch.Generator().manual_seed(seed))]

    assert all(torch.equal(a, b) for a, b in zip(epoch(1), epoch(1), strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(epoch(1), epoch(2), strict=True))
    found = Counter(
        tuple(task.vocabulary.decode(ids[:length].tolist()))
        for batch in task.batches("train", torch.Generator().manual_seed(1))
        for ids, length in zip(batch.inputs.T, batch.lengths, strict=True)
    )
    assert found == Counter(s.words for s in task.sentences["train"])


def test_batches_are_padded_with_pad_and_need_little_of_it() -> None:
    task = make(num_train=1600)
    pad = task.vocabulary.index[PAD]
    assert pad == 0
    words = padding = 0
    for batch in task.batches("train", torch.Generator().manual_seed(0)):
        steps_T = torch.arange(len(batch.inputs))
        assert torch.equal(batch.inputs == pad, steps_T[:, None] >= batch.lengths[None, :])
        assert batch.num_tokens == int((batch.inputs != pad).sum())
        words += batch.num_tokens
        padding += batch.inputs.numel() - batch.num_tokens
    assert padding < 0.1 * words


class Oracle(nn.Module):
    """Knows the rules; or always gives the same answer."""

    def __init__(self, task: Sentiment, constant: int | None = None) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.task, self.constant = task, constant

    def forward(self, tokens_TB: Tensor, lengths: Tensor) -> Tensor:
        predicted = [
            int(sentiment(self.task.vocabulary.decode(ids[:length].tolist())) > 0)
            if self.constant is None
            else self.constant
            for ids, length in zip(tokens_TB.T, lengths, strict=True)
        ]
        return nn.functional.one_hot(torch.tensor(predicted), 2).float() * 30


def test_scores_of_a_perfect_and_a_constant_model() -> None:
    task = make()
    scores = task.score(Oracle(task), "test")
    assert scores.metrics == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "macro_f1": 1.0,
        "loss": pytest.approx(0, abs=1e-9),
    }
    assert {(s.slice, s.slice_value) for s in scores.slices} == {
        *(("distance", str(d)) for d in DISTANCES),
        *(("construction", c) for c in grammar.CONSTRUCTIONS),
    }
    assert [s.slice_value for s in scores.slices if s.slice == "distance"] == ["0", "3", "8"]
    assert {len(column) for column in scores.examples.values()} == {108}
    assert scores.samples["label"] == scores.samples["prediction"]
    constant = task.score(Oracle(task, constant=0), "test")
    assert constant.metrics["accuracy"] == task.trivial()["accuracy"] == 0.5
    assert constant.metrics["macro_f1"] == pytest.approx(task.trivial()["macro_f1"])
    assert sum(constant.examples["correct"]) == 54


def test_loss_counts_words_without_padding() -> None:
    task = make()
    batch = next(task.batches("test"))
    loss, counts, carry = task.loss(Oracle(task), batch, None)
    assert float(loss) < 1e-9
    assert counts.tokens == int(batch.lengths.sum())
    assert counts.examples == 16
    assert carry is None
    assert task.sizes()["vocab_size"] == len(task.vocabulary)
