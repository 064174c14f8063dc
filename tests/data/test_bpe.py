"""Byte pair vocabularies: what goes in comes back, and the same texts give the same pieces."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_bench.data.bpe import NUM_BYTES, Pieces, learn_pieces
from gru_bench.data.vocabulary import BOS, EOS, PAD, UNK

SPECIALS = (PAD, UNK, BOS, EOS)
TEXTS = ["der hund läuft schnell .", "der hund schläft .", "die hunde laufen schnell .", "ein großer hund"] * 5


@pytest.fixture(scope="module")
def learned() -> str:
    return learn_pieces(TEXTS, max_size=300, min_count=2, specials=SPECIALS)


def test_specials_come_first_and_frequent_words_are_one_piece(learned: str) -> None:
    pieces = Pieces(learned)
    assert pieces.tokens[:4] == list(SPECIALS)
    assert len(pieces.tokens) == len(set(pieces.tokens)) == 300
    assert pieces.tokenize("hund")[0] in pieces.tokens[4 + NUM_BYTES :]
    assert pieces.tokenize("der hund") == [*pieces.tokenize("der"), *pieces.tokenize("hund")]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_a_text_comes_back(learned: str, text: str) -> None:
    pieces = Pieces(learned)
    tokens = pieces.tokenize(text)
    assert pieces.text(tokens) == " ".join(text.split())
    assert set(tokens) <= set(pieces.tokens)
    assert not set(tokens) & set(SPECIALS)


def test_no_text_holds_a_special_entry(learned: str) -> None:
    pieces = Pieces(learned)
    for special in SPECIALS:
        tokens = pieces.tokenize(f"der {special} hund")
        assert not set(tokens) & set(SPECIALS)
        assert pieces.text(tokens) == f"der {special} hund"


def test_what_a_model_may_predict_is_text_too(learned: str) -> None:
    pieces = Pieces(learned)
    assert pieces.text([]) == ""
    assert pieces.text([*pieces.tokenize("der"), UNK]) == f"der{UNK}"
    assert pieces.text([*pieces.tokenize("ß")[:1], "Ã"]) != ""  # half a character


def test_the_same_texts_give_the_same_pieces_in_every_process(learned: str) -> None:
    arguments = f"{TEXTS!r}, max_size=300, min_count=2, specials={SPECIALS!r}"
    code = f"from gru_bench.data.bpe import learn_pieces; print(learn_pieces({arguments}).encode().hex())"
    for seed, threads in (("1", "1"), ("2", "4")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, check=True, capture_output=True
        )
        assert bytes.fromhex(done.stdout.decode().strip()).decode() == learned


def test_it_depends_on_the_texts_and_limits(learned: str) -> None:
    assert learn_pieces([*TEXTS, *["katze"] * 30], max_size=300, min_count=2, specials=SPECIALS) != learned
    rare = Pieces(learn_pieces(["nur einmal"], max_size=300, min_count=2, specials=SPECIALS))
    assert len(rare.tokens) == len(SPECIALS) + NUM_BYTES  # nothing was joined


def test_no_threads_are_left_behind_that_a_fork_would_warn_of() -> None:
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    learn_pieces(TEXTS, max_size=300, min_count=2, specials=SPECIALS)
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before
