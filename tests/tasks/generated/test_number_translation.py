"""Translation of numbers in words: the generator, splits, scores."""

import random
from typing import Any, Literal

import pytest
import torch
from num2words import num2words
from seq2seq_models import make_model, sure
from torch import nn

from gru_bench.backends.vendor import Vendor
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.data.number_words import Language, number_words, shuffled_numbers
from gru_bench.data.vocabulary import BOS, EOS, UNK
from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.metrics import bleu_from_statistics
from gru_bench.tasks.base import Batch, Goal, Split
from gru_bench.tasks.generated.number_translation import NumberTranslation
from gru_bench.tasks.objectives.translate import words_before

SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def make_task(**options: Any) -> NumberTranslation:
    settings: dict[str, Any] = {
        "target": "fr",
        "highest": 999_999,
        "num_train": 90,
        "num_valid": 20,
        "num_test": 30,
        "batch_size": 16,
        "goal": Goal(margin=0.1, beats_trivial_by=0.1, ceiling=0.9),
    }
    return NumberTranslation(None, **(settings | options))


@pytest.fixture(scope="module")
def task() -> NumberTranslation:
    task = make_task()
    task.load()
    return task


# the generator


@pytest.mark.parametrize(
    ("number", "language", "words"),
    [
        (723, "en", "seven hundred and twenty three"),
        (723, "fr", "sept cent vingt trois"),
        (723, "de", "sieben hundert drei und zwanzig"),
        (80_091, "fr", "quatre vingt mille quatre vingt onze"),
        (1001, "de", "ein tausend eins"),
        (717_013, "de", "sieben hundert siebzehn tausend dreizehn"),
        (999_999, "en", "nine hundred and ninety nine thousand nine hundred and ninety nine"),
    ],
)
def test_number_words(number: int, language: Language, words: str) -> None:
    assert number_words(number, language) == words.split()


def test_nothing_of_a_german_number_is_lost() -> None:
    for number in [*range(1200), *random.Random(0).sample(range(1_000_000), 1500)]:
        assert "".join(number_words(number, "de")) == num2words(number, lang="de")


def test_order_has_no_number_twice_and_does_not_depend_on_the_count() -> None:
    assert sorted(shuffled_numbers(50, 50)) == list(range(1, 51))
    assert shuffled_numbers(1000, 300)[:100] == shuffled_numbers(1000, 100)
    assert shuffled_numbers(999_999, 3) == [610_236, 651_343, 776_729]  # the same in every version and on every machine


# the data


@pytest.mark.parametrize("target", ["fr", "de"])
def test_splits_are_disjoint_by_number(target: str) -> None:
    task = make_task(target=target, highest=140)
    task.load()
    numbers = [pair.number for split in SPLITS for pair in task.pairs[split]]
    assert sorted(numbers) == list(range(1, 141))
    assert [len(task.pairs[split]) for split in SPLITS] == [90, 20, 30]
    assert all(pair.target == number_words(pair.number, task.target) for pair in task.pairs["test"])


def test_test_numbers_do_not_depend_on_the_training_data(task: NumberTranslation) -> None:
    other = make_task(num_train=10, num_valid=5)
    other.load()
    assert other.pairs["test"] == task.pairs["test"]
    assert other.fingerprint() != task.fingerprint()
    assert other.source_id() != task.source_id()


def test_more_numbers_than_there_are() -> None:
    with pytest.raises(UserError, match=r"task\.highest=139.*140 numbers"):
        make_task(highest=139)


def test_words_that_training_lacks_become_unknown_and_count_as_wrong() -> None:
    task = make_task(num_train=1, num_valid=1, num_test=200)
    task.load()
    unknown = task.target_vocabulary.index[UNK]
    ids = torch.cat([batch.targets.flatten() for batch in task.batches("test")])
    assert (ids == unknown).any()
    with torch.no_grad():
        scores = task.score(make_model(sizes=task.sizes()).eval(), "test")
    assert scores.metrics["exact_match"] < 0.1


def test_training_batches_hold_every_pair_once_in_the_generators_order(task: NumberTranslation) -> None:
    def epoch(seed: int) -> list[Batch]:
        return list(task.batches("train", torch.Generator().manual_seed(seed)))

    first, again, other = epoch(1), epoch(1), epoch(2)
    rows = [tuple(row[:n]) for b in first for row, n in zip(b.inputs.T.tolist(), b.lengths.tolist(), strict=True)]
    assert sorted(rows) == sorted(tuple(ids.tolist()) for ids in task._sources["train"])
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a.inputs, b.inputs) for a, b in zip(first, other, strict=True))
    # bucketing: few of the steps are padding, where batches in the drawn order have several times as many
    assert sum((b.inputs == 0).sum() for b in first) < 0.07 * sum(b.inputs.numel() for b in first)
    assert [b.num_tokens for b in first] == [int(b.lengths.sum() + (b.targets != IGNORED).sum()) for b in first]


# the task


class Oracle(nn.Module):
    """Gets right what its rule says and answers with the first word otherwise."""

    def __init__(self, task: NumberTranslation, *, wrong_when_longer_than: int) -> None:
        super().__init__()
        self.output = sure(task.sizes()["target_vocab_size"])
        self.task = task
        self.limit = wrong_when_longer_than
        pairs = zip(task._sources["test"], task._targets["test"], strict=True)
        self.book = {tuple(source.tolist()): target for source, target in pairs}

    def answers(self, source_TB: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        targets = [self.book[tuple(row[:n])] for row, n in zip(source_TB.T.tolist(), lengths.tolist(), strict=True)]
        return [t if len(t) <= self.limit else torch.cat([t[:1], t[-1:]]) for t in targets]

    def greedy(self, source_TB: torch.Tensor, lengths: torch.Tensor, /, **_: int) -> torch.Tensor:
        eos = self.task.target_vocabulary.index[EOS]
        return nn.utils.rnn.pad_sequence(self.answers(source_TB, lengths), padding_value=eos)

    def features(self, source_TB: torch.Tensor, lengths: torch.Tensor, target_SB: torch.Tensor) -> torch.Tensor:
        answers = nn.utils.rnn.pad_sequence([*self.answers(source_TB, lengths), torch.zeros(len(target_SB)).long()])
        size = self.task.sizes()["target_vocab_size"]
        return nn.functional.one_hot(answers[: len(target_SB), :-1], size).float()


def test_scores_of_an_oracle(task: NumberTranslation) -> None:
    scores = task.score(Oracle(task, wrong_when_longer_than=99), "test")
    assert scores.metrics == pytest.approx({"exact_match": 1, "bleu": 100, "token_accuracy": 1, "loss": 0}, abs=1e-6)

    half = task.score(Oracle(task, wrong_when_longer_than=9), "test")
    lengths = [len(pair.target) + 1 for pair in task.pairs["test"]]
    right = [int(n <= 9) for n in lengths]
    assert 0 < sum(right) < len(right)
    assert half.examples["exact"] == right
    assert half.metrics["exact_match"] == pytest.approx(sum(right) / len(right))
    assert {s.slice_value: s.value for s in half.slices} == {str(n - 1): float(n <= 9) for n in lengths}
    statistics = {k: v for k, v in half.examples.items() if k.startswith(("sys", "ref", "count", "total"))}
    assert bleu_from_statistics(statistics) == pytest.approx(half.metrics["bleu"])
    assert half.metrics["loss"] == pytest.approx(sum(half.examples["nats"]) / sum(half.examples["tokens"]))
    assert half.examples["number"] == [pair.number for pair in task.pairs["test"]]
    assert all(len(column) == 30 for column in half.examples.values())
    assert half.samples["reference"][-1] == " ".join(task.pairs["test"][-1].target)
    assert half.samples["hypothesis"][-1] == " ".join(task.pairs["test"][-1].target[:1])
    assert set(half.metrics) == {metric.name for metric in task.metrics} == set(task.trivial())


def test_loss_is_the_mean_over_words_that_are_there(task: NumberTranslation) -> None:
    model = make_model(LSTM, sizes=task.sizes(), num_layers=2).eval()
    batch = next(task.batches("train", torch.Generator().manual_seed(0)))
    loss, counts, carry = task.loss(model, batch, None)
    logits = model(batch.inputs, batch.lengths, words_before(batch.targets, task.target_vocabulary)).log_softmax(dim=2)
    nats = [
        -logits[s, b, batch.targets[s, b]]
        for b in range(batch.inputs.shape[1])
        for s in range(batch.targets.shape[0])
        if batch.targets[s, b] != IGNORED
    ]
    assert loss.item() == pytest.approx(torch.stack(nats).mean().item())
    assert counts.examples == 16
    assert counts.tokens == int((batch.inputs != 0).sum()) + len(nats)
    assert carry is None
    assert (words_before(batch.targets, task.target_vocabulary)[0] == task.target_vocabulary.index[BOS]).all()


def test_trivial_guess(task: NumberTranslation) -> None:
    trivial = task.trivial()
    words = [word for pair in task.pairs["test"] for word in [*pair.target, EOS]]
    commonest = max(set(words), key=words.count)
    assert trivial["token_accuracy"] == pytest.approx(words.count(commonest) / len(words))
    assert trivial["exact_match"] == pytest.approx(1 / 30)  # no two test targets are the same
    lengths = [len(pair.target) for pair in task.pairs["test"]]
    assert {part.slice_value: (part.value, part.n) for part in task.trivial_slices()} == {
        str(n): (pytest.approx(1 / lengths.count(n)), lengths.count(n)) for n in lengths
    }
    assert 1 < trivial["bleu"] < 30
    assert 0 < trivial["loss"] < torch.tensor(float(len(task.target_vocabulary))).log()


@pytest.mark.parametrize("target", ["fr", "de"])
def test_learns_its_own_training_pairs(target: Literal["fr", "de"]) -> None:
    task = make_task(target=target, highest=60, num_train=24, num_valid=1, num_test=1, batch_size=24)
    task.load()
    model = make_model(GRU, Vendor(), sizes=task.sizes(), dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        (batch,) = task.batches("train", generator)
        loss, _, _ = task.loss(model, batch, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = task.translate(model, batch.inputs, batch.lengths)
    ids = [[i for i in row if i != IGNORED][:-1] for row in batch.targets.T.tolist()]
    assert predicted == [" ".join(task.target_vocabulary.decode(row)) for row in ids]
