"""Numbers in words, the sequence-to-sequence model and its decoding."""

import random
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from num2words import num2words
from torch import nn

from gru_bench.backends.base import Backend
from gru_bench.backends.loop import Loop
from gru_bench.backends.vendor import Vendor
from gru_bench.cells.base import Cell
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.cells.rnn import RNN
from gru_bench.data.number_words import Language, number_words, shuffled_numbers
from gru_bench.data.vocabulary import BOS, EOS, UNK
from gru_bench.errors import UserError
from gru_bench.metrics import bleu_from_statistics
from gru_bench.models.attention import LuongAttention
from gru_bench.models.encoder import Encoder, num_parameters
from gru_bench.models.seq2seq import Seq2Seq
from gru_bench.tasks.base import Split
from gru_bench.tasks.number_translation import NumberTranslation
from gru_bench.tasks.pairs import IGNORED, PairBatch, collate
from gru_bench.tasks.pairs import words_before as words_before_of

SIZES = {"source_vocab_size": 11, "target_vocab_size": 9}
CELLS: list[Any] = [RNN, LSTM, GRU]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def make_model(
    cell: Callable[..., Cell] = GRU,
    backend: Backend | None = None,
    *,
    sizes: dict[str, int] = SIZES,
    num_layers: int = 1,
    attention: Literal["none", "luong"] = "luong",
    bidirectional: bool = False,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> Seq2Seq:
    generator = torch.Generator().manual_seed(3)

    def build_encoder(input_size: int, /, *, bidirectional: bool = False, dropout: float = 0.0) -> Encoder:
        return Encoder(
            input_size,
            cell,
            backend or Loop(),
            generator,
            hidden_size=12,
            num_layers=num_layers,
            device=torch.device("cpu"),
            dtype=dtype,
            bidirectional=bidirectional,
            dropout=dropout,
        )

    model = Seq2Seq(
        sizes,
        build_encoder,
        generator,
        embedding_size=7,
        attention=attention,
        bidirectional=bidirectional,
        dropout=dropout,
        init="uniform",
    )
    return model.to(dtype)


def make_task(**options: Any) -> NumberTranslation:
    settings: dict[str, Any] = {
        "target": "fr",
        "highest": 999_999,
        "num_train": 90,
        "num_valid": 20,
        "num_test": 30,
        "batch_size": 16,
        "margin": 0.1,
        "beats_trivial_by": 0.1,
        "ceiling": 0.9,
    }
    return NumberTranslation(None, **(settings | options))


@pytest.fixture(scope="module")
def task() -> NumberTranslation:
    task = make_task()
    task.load()
    return task


def random_batch(lengths: list[int], target_lengths: list[int]) -> PairBatch:
    generator = torch.Generator().manual_seed(5)
    return collate(
        [torch.randint(4, 11, (n,), generator=generator) for n in lengths],
        [torch.randint(4, 9, (n,), generator=generator) for n in target_lengths],
    )


def words_before(targets_SB: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.full_like(targets_SB[:1], 2), targets_SB[:-1].clamp(min=0)])


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
    def epoch(seed: int) -> list[PairBatch]:
        return list(task.batches("train", torch.Generator().manual_seed(seed)))

    first, again, other = epoch(1), epoch(1), epoch(2)
    rows = [tuple(row[:n]) for b in first for row, n in zip(b.inputs.T.tolist(), b.lengths.tolist(), strict=True)]
    assert sorted(rows) == sorted(tuple(ids.tolist()) for ids in task._sources["train"])
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a.inputs, b.inputs) for a, b in zip(first, other, strict=True))
    # bucketing: few of the steps are padding, where batches in the drawn order have several times as many
    assert sum((b.inputs == 0).sum() for b in first) < 0.07 * sum(b.inputs.numel() for b in first)
    assert [b.num_tokens for b in first] == [int(b.lengths.sum() + (b.targets != IGNORED).sum()) for b in first]


# attention


def test_attention_weights_sum_to_one_and_ignore_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = LuongAttention(5, 6, generator, init="uniform").double()
    h_SBH = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    memory_TBM = torch.randn(7, 3, 6, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([7, 2, 4])
    attended, weights = attention(h_SBH, memory_TBM, lengths)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 4, dtype=torch.float64))
    assert all((weights[b, :, n:] == 0).all() and (weights[b, :, :n] > 0).all() for b, n in enumerate([7, 2, 4]))
    # sequence 1 alone, cut at its length, by the equations
    memory, h = memory_TBM[:2, 1], h_SBH[:, 1]
    a = torch.softmax(h @ attention.W_a @ memory.T, dim=1)
    expected = torch.tanh(torch.cat([a @ memory, h], dim=1) @ attention.combine.weight.T + attention.combine.bias)
    torch.testing.assert_close(attended[:, 1], expected)


# the model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("attention", ["none", "luong"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_loop_equals_vendor(
    cell: Any, num_layers: int, attention: Literal["none", "luong"], bidirectional: bool
) -> None:
    batch = random_batch([6, 3, 3, 5], [4, 6, 2, 3])
    results = []
    for backend in (Loop(), Vendor()):
        model = make_model(cell, backend, num_layers=num_layers, attention=attention, bidirectional=bidirectional)
        logits = model(batch.inputs, batch.lengths, words_before(batch.targets))
        logits.square().sum().backward()
        grads = [p.grad for name, p in model.named_parameters() if "coder" not in name]
        results.append([logits, *grads])
    for loop, vendor in zip(*results, strict=True):
        torch.testing.assert_close(loop, vendor, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("attention", ["none", "luong"])
@pytest.mark.parametrize("cell", CELLS)
def test_batch_composition_changes_nothing(cell: Any, attention: Literal["none", "luong"]) -> None:
    model = make_model(cell, num_layers=2, attention=attention, bidirectional=True)
    batch = random_batch([6, 2, 4], [5, 2, 7])
    together = model(batch.inputs, batch.lengths, words_before(batch.targets))
    spoken = model.greedy(batch.inputs, batch.lengths, bos=2, eos=3, max_length=8)
    for row, (n, s) in enumerate([(6, 5), (2, 2), (4, 7)]):
        source, target = batch.inputs[:n, row : row + 1], batch.targets[:s, row : row + 1]
        alone = model(source, None, words_before(target))
        torch.testing.assert_close(together[:s, row : row + 1], alone)
        own = model.greedy(source, None, bos=2, eos=3, max_length=8)
        assert spoken[: len(own), row : row + 1].equal(own)


def test_source_order_reaches_the_translation() -> None:
    # guards the tests above against a model that ignores its source
    for attention in ("none", "luong"):
        model = make_model(attention=attention)
        source = torch.tensor([[4], [5], [6]])
        target = torch.tensor([[2], [5]])
        assert not torch.allclose(model(source, None, target), model(source.flip(0), None, target))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_single_steps_equal_the_whole_sequence(cell: Any, num_layers: int) -> None:
    model = make_model(cell, Vendor(), num_layers=num_layers)
    batch = random_batch([6, 3], [5, 5])
    target_SB = words_before(batch.targets)
    memory, state = model.encode(batch.inputs, batch.lengths)
    whole, whole_state = model.decode(target_SB, state, memory, batch.lengths)
    steps = []
    for word_1B in target_SB.split(1):
        logits, state = model.decode(word_1B, state, memory, batch.lengths)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps), whole)
    for stepped, final in zip(state, whole_state, strict=True):
        torch.testing.assert_close(stepped, final)


@pytest.mark.parametrize("attention", ["none", "luong"])
def test_greedy_is_the_teacher_forced_argmax_of_its_own_output(attention: Literal["none", "luong"]) -> None:
    model = make_model(LSTM, num_layers=2, attention=attention)
    lengths = [6, 3, 2, 5, 4, 4]
    batch = random_batch(lengths, [1] * len(lengths))
    would_have_gone_on = False
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0 if p.dim() > 1 else 0.0)  # so that what is said changes from step to step
    for eos in range(SIZES["target_vocab_size"]):
        words = model.greedy(batch.inputs, batch.lengths, bos=2, eos=eos, max_length=9)
        forced = model(batch.inputs, batch.lengths, words_before(words)).argmax(dim=2)
        ended = torch.zeros(len(lengths), dtype=torch.bool)
        for step in range(len(words)):
            assert words[step][~ended].equal(forced[step][~ended])
            assert (words[step][ended] == eos).all()
            would_have_gone_on |= bool((forced[step][ended] != eos).any())
            ended |= words[step] == eos
    assert would_have_gone_on  # the case that matters did occur


def test_greedy_stops_when_all_have_ended_or_at_the_limit() -> None:
    model = make_model()
    source = torch.full((3, 2), 4)
    with torch.no_grad():
        model.output.bias[:] = 0.0
        model.output.bias[3] = 100.0
    assert model.greedy(source, None, bos=2, eos=3, max_length=9).tolist() == [[3, 3]]
    assert model.greedy(source, None, bos=2, eos=5, max_length=9).tolist() == [[3, 3]] * 9


def test_without_attention_the_decoder_knows_only_the_last_state() -> None:
    model = make_model(attention="none")
    memory, state = model.encode(torch.tensor([[4], [5]]), None)
    target = torch.tensor([[2], [6]])
    changed, _ = model.decode(target, state, memory + 1, None)
    assert changed.equal(model.decode(target, state, memory, None)[0])


def test_bridges_join_the_two_directions_of_each_layer() -> None:
    model = make_model(LSTM, num_layers=2, bidirectional=True)
    source = torch.tensor([[4, 5], [5, 6]])
    _, state = model.encode(source, None)
    _, raw = model.encoder(model.source_embedding(source), None, None)
    assert len(state) == len(model.bridges) == 2
    for bridge, bridged, s_LBH in zip(model.bridges, state, raw, strict=True):
        forward_0, backward_0, forward_1, backward_1 = s_LBH
        torch.testing.assert_close(bridged[0], bridge(torch.cat([forward_0, backward_0], dim=1)))
        torch.testing.assert_close(bridged[1], bridge(torch.cat([forward_1, backward_1], dim=1)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_parameters_are_counted_without_building(bidirectional: bool) -> None:
    real = make_model(LSTM, num_layers=2, bidirectional=bidirectional, dropout=0.5)
    with torch.device("meta"):
        counted = make_model(LSTM, num_layers=2, bidirectional=bidirectional, dropout=0.5)
    assert num_parameters(real) == num_parameters(counted)
    assert all(p.is_meta for p in counted.encoder.parameters())


def test_all_initial_values_come_from_the_generator() -> None:
    before = torch.get_rng_state()
    first = make_model(bidirectional=True, num_layers=2, dropout=0.5).state_dict()
    assert torch.get_rng_state().equal(before)  # torch's global generator was left alone
    second = make_model(bidirectional=True, num_layers=2, dropout=0.5).state_dict()
    assert all(first[name].equal(second[name]) for name in first)


# the task


class Oracle(nn.Module):
    """Gets right what its rule says and answers with the first word otherwise."""

    def __init__(self, task: NumberTranslation, *, wrong_when_longer_than: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
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

    def forward(self, source_TB: torch.Tensor, lengths: torch.Tensor, target_SB: torch.Tensor) -> torch.Tensor:
        answers = nn.utils.rnn.pad_sequence([*self.answers(source_TB, lengths), torch.zeros(len(target_SB)).long()])
        size = self.task.sizes()["target_vocab_size"]
        return 50.0 * nn.functional.one_hot(answers[: len(target_SB), :-1], size)


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
    logits = model(batch.inputs, batch.lengths, words_before_of(batch.targets, task.target_vocabulary)).log_softmax(
        dim=2
    )
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
    assert (words_before_of(batch.targets, task.target_vocabulary)[0] == task.target_vocabulary.index[BOS]).all()


def test_trivial_guess(task: NumberTranslation) -> None:
    trivial = task.trivial()
    words = [word for pair in task.pairs["test"] for word in [*pair.target, EOS]]
    said = [word for pair in task.pairs["train"] for word in [*pair.target, EOS]]
    commonest = max(set(said), key=said.count)
    assert trivial["token_accuracy"] == pytest.approx(words.count(commonest) / len(words))
    assert trivial["exact_match"] == 0.0  # no test target stands in train
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
    said = task.translate(model, batch.inputs, batch.lengths)
    ids = [[i for i in row if i != IGNORED][:-1] for row in batch.targets.T.tolist()]
    assert said == [" ".join(task.target_vocabulary.decode(row)) for row in ids]
