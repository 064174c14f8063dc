"""Text that a language model writes: what is drawn, what is carried, and how words are put together."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gru_bench.backends.vendor import Vendor
from gru_bench.cells.lstm import LSTM
from gru_bench.data.streams import Level
from gru_bench.data.vocabulary import EOS, UNK
from gru_bench.errors import UserError
from gru_bench.models.encoder import Encoder
from gru_bench.models.language_model import LanguageModel
from gru_bench.models.streams import Streams
from gru_bench.tasks.reading.language_modeling import LanguageReader
from gru_bench.tasks.reading.writing import draw, in_words, joined, tokens_of, unknown_in, write

WORDS = LanguageReader([UNK, EOS, "a", "b", "c", "d", ","], "word", "words")
CHARS = LanguageReader([UNK, "\n", "a", "b", " "], "char", "words")


def model_of(reader: LanguageReader, num_layers: int = 2) -> LanguageModel:
    def build_encoder(input_size: int, streams: Streams, /, **options: Any) -> Encoder:
        make: Any = lambda D, H, generator: LSTM(D, H, generator, forget_bias=1.0)  # noqa: E731
        device = torch.device("cpu")
        return Encoder(input_size, make, Vendor(), streams, hidden_size=6, num_layers=num_layers, device=device,
                       dtype=torch.float32, **options)  # fmt: skip

    sizes = {"vocab_size": len(reader.tokens)}
    model = LanguageModel(sizes, build_encoder, Streams(0), embedding_size=5, tied=False, scale_embedding=False,
                          dropout=0.5, init="uniform", init_range=None)  # fmt: skip
    for parameter in model.parameters():
        parameter.data *= 5
    return model.eval()


OPTIONS: dict[str, Any] = {"num": 2, "steps": 12, "temperature": 1.0, "top_k": None, "seed": 3}


@pytest.mark.parametrize("reader", [WORDS, CHARS], ids=["words", "chars"])
def test_the_same_seed_writes_the_same_text(reader: LanguageReader) -> None:
    model = model_of(reader)
    first = write(model, reader, "a b", **OPTIONS)
    assert write(model, reader, "a b", **OPTIONS) == first
    assert write(model, reader, "a b", **OPTIONS | {"num": 3})[:2] == first
    assert write(model, reader, "a b", **OPTIONS | {"seed": 4}) != first
    assert first[0] != first[1]
    assert all(text.startswith("a b") for text in first)


def test_each_token_follows_from_all_before_it() -> None:
    """The likeliest text by carried states is the one that reading everything anew at each step gives."""
    model = model_of(WORDS)
    (text,) = write(model, WORDS, "b, a", **OPTIONS | {"num": 1, "top_k": 1})
    ids = [WORDS.start, *WORDS.vocabulary.encode(["b", ",", "a"]).tolist()]
    for _ in range(OPTIONS["steps"]):
        with torch.no_grad():
            logits_TBV, _ = model(torch.tensor(ids)[:, None])
        ids.append(int(logits_TBV[-1, 0].argmax()))
    assert text == in_words(ids[1:], WORDS)
    assert len(set(ids)) > 2


class Fixed(nn.Module):
    """Always the same probabilities; keeps what it was given."""

    def __init__(self, p_V: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(p_V).log())
        self.given: list[list[int]] = []

    def forward(self, tokens_TB: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.given.append(tokens_TB[:, 0].tolist())
        return self.logits.expand(*tokens_TB.shape, -1), (state or 0) + 1


def counts(text: str) -> list[float]:
    return [text.count(char) / len(text) for char in "ab "]


@pytest.mark.parametrize(
    ("temperature", "top_k", "expected"),
    [
        (1.0, None, [0.6, 0.3, 0.1]),
        (0.5, None, [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]),
        (1.0, 2, [2 / 3, 1 / 3, 0.0]),
        (1.0, 1, [1.0, 0.0, 0.0]),
        (1e-4, None, [1.0, 0.0, 0.0]),
        (1.0, 99, [0.6, 0.3, 0.1]),
    ],
)
def test_tokens_are_drawn_by_their_probabilities(temperature: float, top_k: int | None, expected: list[float]) -> None:
    model = Fixed([0.0, 0.0, 0.6, 0.3, 0.1])
    options = OPTIONS | {"num": 1, "steps": 4000, "temperature": temperature, "top_k": top_k}
    (text,) = write(model, CHARS, "", **options)
    deviation = math.sqrt(0.25 / 4000)
    assert counts(text) == pytest.approx(expected, abs=4 * deviation)
    assert model.given[0] == [CHARS.start]
    assert all(len(ids) == 1 for ids in model.given[1:])


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9), st.floats(0, 1, exclude_max=True), st.integers(1, 12))
def test_a_draw_is_a_token_whatever_the_number(logits: list[float], number: float, top_k: int) -> None:
    logits_1V = torch.tensor([logits], dtype=torch.float64)
    (token,) = draw(logits_1V, torch.tensor([number], dtype=torch.float64), top_k).tolist()
    assert sum(value > logits[token] for value in logits) < top_k
    assert int(draw(logits_1V, torch.zeros(1), None)) == int(logits_1V.argmax())


@pytest.mark.parametrize(
    ("reader", "prompt", "tokens"),
    [
        (WORDS, "", []),
        (WORDS, "a b", ["a", "b"]),
        (WORDS, "a\nb, ", ["a", EOS, "b", ","]),
        (WORDS, "a\n", ["a", EOS]),
        (CHARS, "a\nb ", ["a", "\n", "b", " "]),
    ],
)
def test_a_prompt_goes_on_where_it_ends(reader: LanguageReader, prompt: str, tokens: list[str]) -> None:
    assert tokens_of(prompt, reader) == tokens


def test_unknown_words_of_a_prompt_are_named() -> None:
    assert unknown_in("", WORDS) == []
    assert unknown_in("x a x y", WORDS) == ["x", "y"]
    with pytest.raises(UserError, match=r"^prompt: no word of it is in the model's vocabulary \(x, y\); valid: one wi"):
        write(model_of(WORDS), WORDS, "x y x", **OPTIONS)
    with pytest.raises(UserError, match=r"^prompt: no character of it is in the model's vocabulary \(x\)"):
        unknown_in("xx", CHARS)


@pytest.mark.parametrize("level", ["word", "char"])
def test_ids_become_a_text(level: Level) -> None:
    reader = LanguageReader([UNK, EOS, "a", "\n"], level, "words")
    assert in_words([2, 2, 1, 2], reader) == ("a a\na" if level == "word" else "aa<eos>a")
    assert in_words([2, 3, 2], LanguageReader([UNK, EOS, "a", "\n"], "char", "words")) == "a\na"


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("the cat , which sat ; slept .", "the cat, which sat; slept."),
        ("he said : \" no ! \" and \" yes \" ...", 'he said: "no!" and "yes"...'),
        ("f ( x [ 0 ] ) = { y }", "f (x [0]) = {y}"),
        ("it 's does n't don't we 'll", "it's doesn't don't we'll"),
        ("a @-@ b", "a @-@ b"),
        ("", ""),
        (".", "."),
        ("( (( a )) )", "(((a)))"),
        ("` x ` is ' y ' and `` z ''", "`x` is 'y' and ``z''"),
    ],
)  # fmt: skip
def test_words_are_put_together_as_people_write_them(tokens: str, text: str) -> None:
    assert joined(tokens.split()) == text
