import math
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
import torch
from texts import given, letters, make_model, make_task
from torch import Tensor, nn

from gru_bench.data import streams
from gru_bench.data.text import Text
from gru_bench.errors import UserError
from gru_bench.losses import IGNORED
from gru_bench.tasks.base import Goal
from gru_bench.tasks.objectives import model_language
from gru_bench.tasks.objectives.model_language import EVAL_COLUMNS
from gru_bench.tasks.text import language_modeling
from gru_bench.tasks.text.language_modeling import LanguageModeling

pytestmark = pytest.mark.usefixtures("own_caches", "unknown_words_allowed")


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
    text = letters(num_tokens, seed=3) if num_tokens > 1 else "a"
    task = make_task(given(letters(50), test=text), seq_len=seq_len)
    inputs = torch.cat([batch.inputs for batch in task.batches("test")])
    targets = torch.cat([batch.targets for batch in task.batches("test")])
    scored = targets.T[targets.T != IGNORED]
    assert "".join(task.vocabulary.decode(scored.tolist())) == text
    # each input is the token before its target; the first one is the line end that stands before the text
    assert "".join(task.vocabulary.decode(inputs.T[targets.T != IGNORED].tolist())) == ("\n" + text[:-1])
    assert all(batch.inputs.shape[0] <= seq_len for batch in task.batches("test"))
    assert all((batch.targets != IGNORED).any() for batch in task.batches("test"))


def test_training_columns_follow_each_other_and_leave_out_less_than_a_row() -> None:
    task = make_task(given(letters(103)), batch_size=4, seq_len=7)
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
    task = make_task(given(letters(103)))
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
    first, same, other = (torch.cat([b.inputs for b in task.batches("train", g)]) for g in generators)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, torch.cat([b.inputs for b in task.batches("train", generators[0])]))


def test_carry_goes_from_piece_to_piece() -> None:
    task = make_task(given(letters(104)), batch_size=4, seq_len=1000)
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
    data = given(letters(200), test=letters(333, seed=4))
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
    task = make_task(given(letters(200), test=letters(333, seed=4)))
    bigram = Bigram(task.sizes()["vocab_size"])
    with torch.no_grad():
        expected = task.score(bigram, "test")
        monkeypatch.setattr(model_language, "EVAL_COLUMNS", columns)
        scores = task.score(bigram, "test")
    assert scores.metrics == pytest.approx(expected.metrics, rel=1e-6)
    assert scores.examples["nats"] == pytest.approx(expected.examples["nats"], rel=1e-6)


def test_a_bigram_scores_what_it_should_and_blocks_add_up() -> None:
    text = letters(450, seed=4)
    task = make_task(given(letters(200), test=text))
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
    task = make_task(given(letters(200), test=letters(333, seed=4)))
    model = make_model(task).eval()
    with torch.no_grad():
        expected = task.score(model, "test").metrics["loss"]
        assert task.score(model.bfloat16(), "test").metrics["loss"] == pytest.approx(expected, rel=0.01)
    (loss, _, _) = task.loss(model, next(task.batches("valid")), None)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(("level", "primary"), [("word", "perplexity"), ("char", "bits_per_char")])
def test_metrics_are_those_of_the_level(level: Literal["word", "char"], primary: str) -> None:
    task = make_task(given("a b\n" * 9), level)
    assert task.primary_metric.name == primary
    assert not task.primary_metric.higher_is_better
    names = {metric.name for metric in task.metrics}
    assert names == {primary, "loss"} == set(task.trivial())
    with torch.no_grad():
        assert set(task.score(make_model(task), "valid").metrics) == names


def test_trivial_guess_is_the_smoothed_unigram_of_the_training_text() -> None:
    task = make_task(given("aab\n", test="bz\n"))
    # counts with one more: <unk> 1, a 3, b 2, newline 2; test: b, <unk>, newline
    nats = -(math.log(2 / 8) + math.log(1 / 8) + math.log(2 / 8)) / 3
    assert task.trivial() == pytest.approx({"bits_per_char": nats / math.log(2), "loss": nats})
    cut = make_task(given("aab\n", test="bz\n"), max_eval_tokens=2)
    assert cut.trivial()["loss"] == pytest.approx(-(math.log(2 / 8) + math.log(1 / 8)) / 2)
    words = make_task(given("a a b\n", test="b z\n"), "word", batch_size=1)
    assert words.trivial() == pytest.approx({"perplexity": math.exp(nats), "loss": nats})


def test_an_infinite_perplexity_is_no_exception() -> None:
    task = make_task(given("a b\n" * 9), "word")
    assert task._from_loss(1e4) == {"perplexity": math.inf, "loss": 1e4}


# --- what is read


def test_auto_takes_white_space_where_the_text_is_tokenized() -> None:
    raw, tokenized = "don't stop.\n", "do n't <unk> .\n"
    assert make_task(given(raw), "word", batch_size=1).vocabulary.tokens == ["<unk>", ".", "<eos>", "don't", "stop"]
    assert make_task(given(tokenized), "word", batch_size=1).vocabulary.tokens == ["<unk>", ".", "<eos>", "do", "n't"]
    forced = make_task(given(raw), "word", batch_size=1, tokenizer="whitespace")
    assert forced.vocabulary.tokens == ["<unk>", "<eos>", "don't", "stop."]


def test_vocabulary_is_that_of_the_whole_training_text_whatever_part_is_used() -> None:
    task = make_task(given("aabbc\n", valid="xyz\n"), max_train_tokens=4, max_eval_tokens=2)
    assert task.vocabulary.tokens == ["<unk>", "a", "b", "\n", "c"]
    assert [task.num_tokens(split) for split in ("train", "valid", "test")] == [4, 2, 2]
    assert task.sizes() == {"vocab_size": 5}
    capped = make_task(given("aaabbc\n"), max_vocab_size=2)
    assert capped.vocabulary.tokens == ["<unk>", "a"]
    assert make_task(given("aaabbc\n"), min_count=2).vocabulary.tokens == ["<unk>", "a", "b"]


@pytest.mark.parametrize("level", ["word", "char"])
def test_a_fraction_changes_neither_the_size_of_the_model_nor_makes_the_guess_better(
    level: Literal["word", "char"],
) -> None:
    def task(fraction: float) -> LanguageModeling:
        return make_task(Text(fraction=fraction), level, seq_len=20, batch_size=32, max_vocab_size=2000, min_count=2)

    whole = task(1.0)
    for fraction in (0.05, 0.1, 0.3):
        part = task(fraction)
        assert part.num_tokens("train") < 1.3 * fraction * whole.num_tokens("train")
        assert part.sizes() == whole.sizes()
        assert part.facts["test_unknown_tokens"] == whole.facts["test_unknown_tokens"]
        assert part.trivial()[part.primary] >= whole.trivial()[whole.primary]
        assert torch.equal(next(part.batches("test")).targets, next(whole.batches("test")).targets)


def test_fingerprint_follows_each_split_and_the_vocabulary() -> None:
    texts = {"train": "abab\n", "valid": "ab\n", "test": "ba\n"}
    reordered = [texts | {split: texts[split][::-1].strip() + "\n"} for split in texts]
    renamed = {split: whole.replace("a", "A") for split, whole in texts.items()}  # the same ids
    prints = {make_task(given(**changed)).fingerprint() for changed in (texts, *reordered, renamed)}
    assert len(prints) == 5
    assert make_task(given(**texts)).fingerprint() in prints


def test_source_id_needs_no_loading() -> None:
    task = make_task(given("aaaa\n"))
    assert task.source_id() == given("aaaa\n").source_id() != given("aaab\n").source_id()


def test_a_training_text_smaller_than_a_batch() -> None:
    with pytest.raises(UserError, match=r"4 tokens, too few for task\.batch_size=5"):
        make_task(given("abc\n"), batch_size=5)


def test_wikitext_as_published(shared_data: Path) -> None:
    data = Text(path=str(shared_data / "wikitext-2-v1"), name=None, text="text")
    task = make_task(data, "word", batch_size=20, seq_len=35)
    counts = [task.num_tokens(split) for split in ("train", "valid", "test")]
    assert counts == [2_088_628, 217_646, 245_569]
    assert task.sizes() == {"vocab_size": 33_278}
    # a line is a row of the source, and the blank ones are lines too
    assert [task.facts[f"{split}_lines"] for split in ("train", "valid", "test")] == [36_718, 3_760, 4_358]
    assert 245_569 * 2 <= task.prepared.arrays["test"].nbytes <= 245_569 * 2 + 2
    assert "vocabulary 33,278, 6.2% of the test tokens are <unk>" in task.notes


def test_tiny_shakespeare_as_published(shared_data: Path) -> None:
    task = make_task(Text(path=str(shared_data / "tiny_shakespeare")))
    assert sum(task.num_tokens(split) for split in ("train", "valid", "test")) == 1_115_394
    assert task.sizes() == {"vocab_size": 65 + 1}  # and <unk>
    assert task.prepared.num_bytes == 1_115_394 + 3  # what stands before each split


def test_penn_treebank_as_the_hub_has_it(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = {"sentence": [f" the <unk> of {split} rose N points ", " the end "]}
        pd.DataFrame(rows).to_parquet(tmp_path / f"{split}.parquet")
    task = make_task(Text(path=str(tmp_path), text="sentence"), "word", tokenizer="whitespace", seq_len=20)
    assert task.vocabulary.decode(task.prepared.arrays["train"].tolist()) == [
        *("<eos>", "the", "<unk>", "of", "train", "rose", "N", "points", "<eos>"),
        *("the", "end", "<eos>"),
    ]
    assert task.facts["test_unknown_tokens"] == 2  # the text's own, and "test"


def test_a_second_start_takes_nothing_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    make = streams.make_take_apart

    def counting(*asked: Any) -> Any:
        taken.append("made")
        return make(*asked)

    monkeypatch.setattr(streams, "make_take_apart", counting)
    data = given(letters(100), test=letters(50, seed=1))
    first = make_task(data, max_eval_tokens=20)
    again = make_task(given(letters(100), test=letters(50, seed=1)), max_eval_tokens=20)
    assert taken == ["made"]
    assert (again.notes, again.facts, again.data.notes) == (first.notes, first.facts, first.data.notes)
    assert again.fingerprint() == first.fingerprint()
    assert again.vocabulary.tokens == first.vocabulary.tokens
    for generator in (None, torch.Generator().manual_seed(3)):
        state = None if generator is None else generator.get_state()
        batches = list(first.batches("train", generator))
        if generator is not None and state is not None:
            generator.set_state(state)
        for one, other in zip(batches, again.batches("train", generator), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize(
    "changed",
    [
        {"max_vocab_size": 3},
        {"min_count": 2},
        {"max_train_tokens": 50},
        {"max_eval_tokens": 3},
        {"level": "word"},
        {"level": "word", "tokenizer": "whitespace"},
    ],
)
def test_each_thing_that_decides_the_tokens_is_prepared_anew(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    made: list[object] = []
    monkeypatch.setattr(language_modeling, "cached", lambda recipe, build: made.append(recipe) or build())
    make_task(given("a b a\n" * 30))
    make_task(given("a b a\n" * 30), **changed)
    make_task(given("a b a\n" * 30, test="x\n"))
    make_task(Text({"train": "a b a\n" * 30, "valid": "v\n", "test": "t\n"}, fraction=0.5))
    assert len({repr(recipe) for recipe in made}) == 4
    # what only cuts batches is not among them
    make_task(given("a b a\n" * 30), batch_size=2, seq_len=3)
    assert made[-1] == made[0]


def test_facts_and_notes() -> None:
    task = make_task(given("a b a\nc\n", test="a z\nz\n"), "word", batch_size=1)
    assert task.facts == {
        "train_tokens": 6,
        "train_lines": 2,
        "train_unknown_tokens": 0,
        "valid_tokens": 2,
        "valid_lines": 1,
        "valid_unknown_tokens": 1,
        "test_tokens": 5,
        "test_lines": 2,
        "test_unknown_tokens": 2,
        "vocab_size": 5,
    }
    assert task.notes == [
        "tokens: train 6, valid 2, test 5",
        "vocabulary 5, 40.0% of the test tokens are <unk>",
    ]
    cut = make_task(given("a b a\nc\n", test="a z\nz\n"), "word", batch_size=1, max_train_tokens=6, max_eval_tokens=4)
    assert cut.notes[2:] == ["the test text is cut to its first 4 tokens"]


def test_a_model_learns_a_line_that_repeats() -> None:
    task = make_task(given("abcd efg\n" * 60, test="abcd efg\n" * 8), seq_len=20, batch_size=4)
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


def test_a_cut_vocabulary_is_noted(tmp_path: Path) -> None:
    lines = ["a a a b", "a a c d"] * 300
    (tmp_path / "train.txt").write_text("\n".join(lines))
    options = {"level": "word", "tokenizer": "whitespace", "seq_len": 4, "batch_size": 4, "max_train_tokens": None}
    options |= {"max_eval_tokens": None, "goal": Goal(margin=1.0, beats_trivial_by=1.0, ceiling=1.0), "min_count": 1}
    whole, cut = (
        LanguageModeling(Text(path=str(tmp_path), name=None, text=None), max_vocab_size=size, **options)
        for size in (None, 4)
    )
    for task in (whole, cut):
        task.load()
    assert not any("cut" in note for note in whole.notes)
    (note,) = cut.notes[1:]
    # <unk>, <eos>, a and one of b, c, d stay: two of the ten tokens of two lines are unknown
    assert "cut to 4 entries" in note
    assert "20.0% of the test tokens" in note
