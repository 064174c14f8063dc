"""Streams of ids against the tokenizers of whole texts."""

from hypothesis import given
from hypothesis import strategies as st

from gru_bench.data import streams
from gru_bench.data.vocabulary import Vocabulary, keep_ends, words


@given(st.text(alphabet="ab\n"))
def test_lines_with_their_ends_are_the_text(text: str) -> None:
    lines = list(keep_ends(text))
    assert "".join(lines) == text
    assert all(line.find("\n") in (-1, len(line) - 1) for line in lines)
    assert all(line.endswith("\n") for line in lines[:-1])
    assert "" not in lines


@given(st.lists(st.text(alphabet="ab \n", max_size=12), max_size=12).map("".join), st.integers(1, 40))
def test_streams_are_what_the_tokenizers_give(text: str, limit: int) -> None:
    text += "a\n"
    for level, tokenizer, expected in (("char", "auto", list), ("word", "words", words), ("word", "auto", words)):
        take_apart = streams.make_take_apart(level, tokenizer, text)  # type: ignore[arg-type]
        tokens = expected(text)  # type: ignore[operator]
        vocabulary, whole = streams.learn(text, take_apart, max_vocab_size=None, min_count=1)
        assert vocabulary.tokens == Vocabulary.build(tokens).tokens
        for most in (None, limit):
            kept = tokens[:most]
            stream = streams.encode(text, take_apart, vocabulary, max_tokens=most)
            assert vocabulary.decode(stream.ids.tolist()) == kept
            assert stream.ids.tolist() == whole.ids.tolist()[:most]
            assert stream.cut == (len(kept) < len(tokens))
            assert stream.lines == sum(token in ("\n", "<eos>") for token in kept[:-1]) + 1
