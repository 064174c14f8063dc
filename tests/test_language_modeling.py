import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from gru_bench.backends.loop import Loop
from gru_bench.cells.gru import GRU
from gru_bench.cells.lstm import LSTM
from gru_bench.data.text import Text
from gru_bench.errors import UserError
from gru_bench.models.encoder import Encoder, num_parameters
from gru_bench.models.language_model import LanguageModel
from gru_bench.tasks import language_modeling
from gru_bench.tasks.language_modeling import EVAL_COLUMNS, IGNORED, LanguageModeling


class Given(Text):
    """A source of texts written in the test."""

    def __init__(self, train: str, valid: str = "valid\n", test: str = "test\n") -> None:
        super().__init__(path=None, name=None, text=None)
        self.texts = {"train": train, "valid": valid, "test": test}

    def load(self) -> dict[str, str]:
        return self.texts


def make_task(data: Text, level: Literal["word", "char"] = "char", **changed: Any) -> LanguageModeling:
    streams = {"seq_len": 7, "batch_size": 4, "max_train_tokens": None, "max_eval_tokens": None}
    vocabulary = {"tokenizer": "auto", "max_vocab_size": None, "min_count": 1}
    limits = {"margin": 0.1, "beats_trivial_by": 1.0, "ceiling": 1.0}
    task = LanguageModeling(data, level=level, **(streams | vocabulary | limits | changed))
    task.load()
    return task


def make_model(task: LanguageModeling, seed: int = 0, *, cell: type = GRU, hidden_size: int = 8, **changed: Any):
    generator = torch.Generator().manual_seed(seed)

    def build_encoder(input_size: int, /, **chosen: Any) -> Encoder:
        place = {"device": torch.device("cpu"), "dtype": torch.float32}
        return Encoder(input_size, cell, Loop(), generator, hidden_size=hidden_size, num_layers=1, **place, **chosen)

    arguments: dict[str, Any] = {"embedding_size": 5, "tied": False, "dropout": 0.0, "init": "uniform"} | changed
    return LanguageModel(task.sizes(), build_encoder, generator, **arguments)


def letters(num: int, seed: int = 0) -> str:
    picks = torch.randint(3, (num - 1,), generator=torch.Generator().manual_seed(seed))
    return "".join("abc"[int(i)] for i in picks) + "\n"


class Bigram(nn.Module):
    """Knows the last token alone, so that no cut of the stream can change what it scores."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(vocab_size, vocab_size, generator=torch.Generator().manual_seed(1)))

    def forward(self, tokens_TB: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.table[tokens_TB], state


# --- the stream


@pytest.mark.parametrize("num_tokens", [1, 2, 15, 16, 17, 31, 100, 163])
@pytest.mark.parametrize("seq_len", [1, 7, 1000])
def test_evaluation_scores_every_token_once_and_in_order(num_tokens: int, seq_len: int) -> None:
    task = make_task(Given(letters(50), test=letters(num_tokens, seed=3)), seq_len=seq_len)
    inputs = torch.cat([batch.inputs for batch in task.batches("test")])
    targets = torch.cat([batch.targets for batch in task.batches("test")])
    scored = targets.T[targets.T != IGNORED]
    assert "".join(task.vocabulary.decode(scored.tolist())) == letters(num_tokens, seed=3)
    # each input is the token before its target; the first one is the line end that stands before the text
    assert "".join(task.vocabulary.decode(inputs.T[targets.T != IGNORED].tolist())) == (
        "\n" + letters(num_tokens, seed=3)[:-1]
    )
    assert all(batch.inputs.shape[0] <= seq_len for batch in task.batches("test"))
    assert all((batch.targets != IGNORED).any() for batch in task.batches("test"))


def test_training_columns_follow_each_other_and_leave_out_less_than_a_row() -> None:
    task = make_task(Given(letters(103)), batch_size=4, seq_len=7)
    batches = list(task.batches("train", torch.Generator().manual_seed(0)))
    assert [len(batch.inputs) for batch in batches] == [7, 7, 7, 4]
    inputs_CB = torch.cat([batch.inputs for batch in batches])
    targets_CB = torch.cat([batch.targets for batch in batches])
    assert torch.equal(inputs_CB[1:], targets_CB[:-1])
    assert torch.equal(inputs_CB[0, 1:], targets_CB[-1, :-1])
    decoded = "".join(task.vocabulary.decode(targets_CB.T.flatten().tolist()))
    assert decoded in letters(103) * 2
    assert len(decoded) == 100


def test_training_stream_depends_on_the_generator_alone_and_differs_between_epochs() -> None:
    task = make_task(Given(letters(103)))
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
    first, same, other = (torch.cat([b.inputs for b in task.batches("train", g)]) for g in generators)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, torch.cat([b.inputs for b in task.batches("train", generators[0])]))


def test_carry_goes_from_piece_to_piece() -> None:
    task = make_task(Given(letters(104)), batch_size=4, seq_len=1000)
    model = make_model(task)
    (whole,) = task.batches("train", torch.Generator().manual_seed(0))
    expected, counts, _ = task.loss(model, whole, None)
    assert (counts.tokens, counts.examples) == (104, 4)
    task.seq_len = 5
    carry, total, tokens = None, 0.0, 0
    for batch in task.batches("train", torch.Generator().manual_seed(0)):
        loss, counts, carry = task.loss(model, batch, carry)
        total += loss.item() * counts.tokens
        tokens += counts.tokens
    assert total / tokens == pytest.approx(expected.item(), rel=1e-6)


# --- scores


def test_scores_do_not_depend_on_batch_size_or_seq_len() -> None:
    data = Given(letters(200), test=letters(333, seed=4))
    reference = make_task(data)
    model = make_model(reference).eval()
    with torch.no_grad():
        expected = reference.score(model, "test")
        for batch_size, seq_len in [(1, 1), (5, 50), (64, 1000)]:
            scores = make_task(data, batch_size=batch_size, seq_len=seq_len).score(model, "test")
            assert scores.metrics == pytest.approx(expected.metrics, rel=1e-6)
            assert scores.examples["nats"] == pytest.approx(expected.examples["nats"], rel=1e-6)


@pytest.mark.parametrize("columns", [1, 5, 100])
def test_the_number_of_columns_changes_left_context_only(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    task = make_task(Given(letters(200), test=letters(333, seed=4)))
    bigram = Bigram(task.sizes()["vocab_size"])
    with torch.no_grad():
        expected = task.score(bigram, "test")
        monkeypatch.setattr(language_modeling, "EVAL_COLUMNS", columns)
        scores = task.score(bigram, "test")
    assert scores.metrics == pytest.approx(expected.metrics, rel=1e-6)
    assert scores.examples["nats"] == pytest.approx(expected.examples["nats"], rel=1e-6)


def test_a_bigram_scores_what_it_should_and_blocks_add_up() -> None:
    text = letters(450, seed=4)
    task = make_task(Given(letters(200), test=text))
    bigram = Bigram(task.sizes()["vocab_size"])
    ids = task.vocabulary.encode("\n" + text)
    nats_N = -bigram.table.detach().double().log_softmax(dim=1)[ids[:-1], ids[1:]]
    with torch.no_grad():
        scores = task.score(bigram, "test")
    assert scores.metrics["loss"] == pytest.approx(float(nats_N.mean()), rel=1e-6)
    assert scores.metrics["bits_per_char"] == pytest.approx(float(nats_N.mean()) / math.log(2), rel=1e-6)
    assert scores.examples["block"] == [0, 1, 2]
    assert scores.examples["tokens"] == [200, 200, 50]
    assert scores.examples["nats"] == pytest.approx([float(part.sum()) for part in nats_N.split(200)], rel=1e-6)


def test_half_precision_is_scored_in_single_precision() -> None:
    task = make_task(Given(letters(200), test=letters(333, seed=4)))
    model = make_model(task).eval()
    with torch.no_grad():
        expected = task.score(model, "test").metrics["loss"]
        assert task.score(model.bfloat16(), "test").metrics["loss"] == pytest.approx(expected, rel=0.01)
    (loss, _, _) = task.loss(model, next(task.batches("valid")), None)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(("level", "primary"), [("word", "perplexity"), ("char", "bits_per_char")])
def test_metrics_are_those_of_the_level(level: Literal["word", "char"], primary: str) -> None:
    task = make_task(Given("a b\n" * 9), level)
    assert task.primary_metric.name == primary
    assert not task.primary_metric.higher_is_better
    names = {metric.name for metric in task.metrics}
    assert names == {primary, "loss"} == set(task.trivial())
    with torch.no_grad():
        assert set(task.score(make_model(task), "valid").metrics) == names


def test_trivial_guess_is_the_smoothed_unigram_of_the_training_text() -> None:
    task = make_task(Given("aab\n", test="bz\n"))
    # counts with one more: <unk> 1, a 3, b 2, newline 2; test: b, <unk>, newline
    nats = -(math.log(2 / 8) + math.log(1 / 8) + math.log(2 / 8)) / 3
    assert task.trivial() == pytest.approx({"bits_per_char": nats / math.log(2), "loss": nats})
    cut = make_task(Given("aab\n", test="bz\n"), max_eval_tokens=2)
    assert cut.trivial()["loss"] == pytest.approx(-(math.log(2 / 8) + math.log(1 / 8)) / 2)
    words = make_task(Given("a a b\n", test="b z\n"), "word", batch_size=1)
    assert words.trivial() == pytest.approx({"perplexity": math.exp(nats), "loss": nats})


def test_an_infinite_perplexity_is_no_exception() -> None:
    task = make_task(Given("a b\n" * 9), "word")
    assert task._from_loss(1e4) == {"perplexity": math.inf, "loss": 1e4}


# --- what is read


def test_auto_takes_white_space_where_the_text_is_tokenized() -> None:
    raw, tokenized = "don't stop.\n", "do n't <unk> .\n"
    assert make_task(Given(raw), "word", batch_size=1).vocabulary.tokens == ["<unk>", ".", "<eos>", "don't", "stop"]
    assert make_task(Given(tokenized), "word", batch_size=1).vocabulary.tokens == ["<unk>", ".", "<eos>", "do", "n't"]
    forced = make_task(Given(raw), "word", batch_size=1, tokenizer="whitespace")
    assert forced.vocabulary.tokens == ["<unk>", "<eos>", "don't", "stop."]


def test_vocabulary_is_that_of_the_used_training_text() -> None:
    task = make_task(Given("aabbc\n", valid="xyz\n"), max_train_tokens=4, max_eval_tokens=2)
    assert task.vocabulary.tokens == ["<unk>", "a", "b"]
    assert [task.num_tokens(split) for split in ("train", "valid", "test")] == [4, 2, 2]
    assert task.sizes() == {"vocab_size": 3}
    capped = make_task(Given("aaabbc\n"), max_vocab_size=2)
    assert capped.vocabulary.tokens == ["<unk>", "a"]
    assert make_task(Given("aaabbc\n"), min_count=2).vocabulary.tokens == ["<unk>", "a", "b"]


def test_fingerprint_follows_each_split_and_the_vocabulary() -> None:
    texts = {"train": "abab\n", "valid": "ab\n", "test": "ba\n"}
    reordered = [texts | {split: texts[split][::-1].strip() + "\n"} for split in texts]
    renamed = {split: whole.replace("a", "A") for split, whole in texts.items()}  # the same ids
    prints = {make_task(Given(**changed)).fingerprint() for changed in (texts, *reordered, renamed)}
    assert len(prints) == 5
    assert make_task(Given(**texts)).fingerprint() in prints


def test_source_id_needs_no_loading() -> None:
    task = make_task(Given("aaaa\n"))
    assert task.source_id() == Text(path=None, name=None, text=None).source_id()


def test_a_training_text_smaller_than_a_batch() -> None:
    with pytest.raises(UserError, match=r"4 tokens, too few for task\.batch_size=5"):
        make_task(Given("abc\n"), batch_size=5)


def test_wikitext_as_published(shared_data: Path) -> None:
    data = Text(path=str(shared_data / "wikitext-2-v1"), name=None, text="text")
    task = make_task(data, "word", batch_size=20, seq_len=35)
    counts = [task.num_tokens(split) for split in ("train", "valid", "test")]
    assert counts == [2_088_628, 217_646, 245_569]
    assert task.sizes() == {"vocab_size": 33_278}


# --- the model


@pytest.mark.parametrize(("embedding_size", "has_projection"), [(8, False), (5, True)])
def test_tied_weights_are_one_matrix(embedding_size: int, has_projection: bool) -> None:
    task = make_task(Given(letters(100)))
    model = make_model(task, tied=True, embedding_size=embedding_size)
    assert model.embedding.weight is model.output.weight
    assert isinstance(model.projection, nn.Linear) == has_projection
    V = task.sizes()["vocab_size"]
    cell = 3 * 8 * (embedding_size + 8 + 1) + 8
    expected = V * embedding_size + V + cell + (8 * embedding_size + embedding_size) * has_projection
    assert num_parameters(model) == expected
    logits_TBV, state = model(torch.zeros(3, 2, dtype=torch.int64))
    assert logits_TBV.shape == (3, 2, V)
    assert [s_LBH.shape for s_LBH in state] == [(1, 2, 8)]
    # values of the size of the output layer's: a softmax that is not saturated at the start
    assert model.output.weight.abs().max() <= 1 / math.sqrt(embedding_size)


def test_state_is_carried_and_counts_are_right() -> None:
    task = make_task(Given(letters(100)))
    model = make_model(task, cell=LSTM)
    tokens_TB = torch.randint(4, (6, 2), generator=torch.Generator().manual_seed(0))
    whole_TBV, _ = model(tokens_TB)
    first_TBV, state = model(tokens_TB[:2])
    rest_TBV, _ = model(tokens_TB[2:], state)
    torch.testing.assert_close(torch.cat([first_TBV, rest_TBV]), whole_TBV)
    V = task.sizes()["vocab_size"]
    assert num_parameters(model) == V * 5 + 4 * 8 * (5 + 8 + 1) + V * (8 + 1)


def test_model_is_drawn_from_its_generator_and_described_by_its_state() -> None:
    task = make_task(Given(letters(100)))
    tokens_TB = torch.randint(4, (6, 2), generator=torch.Generator().manual_seed(0))
    first, same, other = (make_model(task, seed, tied=True, embedding_size=8) for seed in (0, 0, 1))
    assert torch.equal(first(tokens_TB)[0], same(tokens_TB)[0])
    assert not torch.equal(first(tokens_TB)[0], other(tokens_TB)[0])
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(tokens_TB)[0], other(tokens_TB)[0])


@pytest.mark.parametrize("tied", [False, True])
def test_model_on_the_meta_device_counts_alike(tied: bool) -> None:
    task = make_task(Given(letters(100)))
    with torch.device("meta"):
        counted = make_model(task, tied=tied)
    assert num_parameters(counted) == num_parameters(make_model(task, tied=tied))


def test_dropout_acts_in_training_only() -> None:
    task = make_task(Given(letters(100)))
    model = make_model(task, dropout=0.5)
    tokens_TB = torch.zeros(3, 2, dtype=torch.int64)
    assert not torch.equal(model(tokens_TB)[0], model(tokens_TB)[0])
    model.eval()
    assert torch.equal(model(tokens_TB)[0], model(tokens_TB)[0])


def test_a_model_learns_a_line_that_repeats() -> None:
    task = make_task(Given("abcd efg\n" * 60, test="abcd efg\n" * 8), seq_len=20, batch_size=4)
    model = make_model(task, hidden_size=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for epoch in range(8):
        carry = None
        for batch in task.batches("train", torch.Generator().manual_seed(epoch)):
            loss, _, carry = task.loss(model, batch, carry)
            carry = tuple(state.detach() for state in carry)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        scores = task.score(model.eval(), "test")
    assert scores.metrics["bits_per_char"] < 0.3 < task.trivial()["bits_per_char"] - 2
    assert sum(scores.examples["tokens"]) == 72
    assert EVAL_COLUMNS < 72


def test_a_cut_vocabulary_is_said(tmp_path: Path) -> None:
    lines = ["a a a b", "a a c d"] * 300
    (tmp_path / "train.txt").write_text("\n".join(lines))
    options = {"level": "word", "tokenizer": "whitespace", "seq_len": 4, "batch_size": 4, "max_train_tokens": None}
    options |= {"max_eval_tokens": None, "margin": 1.0, "beats_trivial_by": 1.0, "ceiling": 1.0, "min_count": 1}
    whole, cut = (
        LanguageModeling(Text(path=str(tmp_path), name=None, text=None), max_vocab_size=size, **options)
        for size in (None, 4)
    )
    for task in (whole, cut):
        task.load()
    assert whole.notes == []
    (note,) = cut.notes
    # <unk>, <eos>, a and one of b, c, d stay: two of the ten tokens of two lines are unknown
    assert "cut to 4 entries" in note
    assert "20.0% of the test tokens" in note
