"""Byte pair vocabularies through ``tokenizers``: pieces of words, learned from training texts, and texts from pieces.

Pieces are made of bytes, so that no text holds anything unknown, and each begins with the space before it, if any, so
that a text comes back as it was. Training depends on the texts alone: the same ones give the same pieces.

Source: Sennrich et al. (2016), arXiv:1508.07909; over bytes by Radford et al. (2019).
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

NUM_BYTES = 256
"""Pieces that every vocabulary holds: one per byte."""


def learn_pieces(texts: Iterable[str], /, *, max_size: int, min_count: int, specials: Sequence[str]) -> str:
    """Learn pieces, as the JSON of ``tokenizers``.

    Args:
        texts: Training texts.
        max_size: Most pieces, specials and single bytes included.
        min_count: Two pieces that stand side by side less often in the words of the texts are not joined.
        specials: Entries with the ids from 0. No text holds them, however it is spelled.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # a space before the first word too: it is the same piece wherever it stands
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max_size,
        min_frequency=min_count,
        show_progress=False,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    with one_thread():
        tokenizer.train_from_iterator((_plain(text) for text in texts), trainer)
    learned = json.loads(tokenizer.to_str())
    learned["added_tokens"] = []  # those would be found in texts that spell them
    return json.dumps(learned, ensure_ascii=False, separators=(",", ":"))


class Pieces:
    """Takes texts apart into pieces and puts them together.

    Args:
        learned: What :func:`learn_pieces` gave.
    """

    def __init__(self, learned: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_str(learned)
        ids: dict[str, int] = self._tokenizer.get_vocab()
        self.tokens: list[str] = sorted(ids, key=ids.__getitem__)

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text. White space of any kind and length is one space."""
        return list(self._tokenizer.encode(_plain(text)).tokens)

    def text(self, tokens: Sequence[str]) -> str:
        """The text of pieces; bytes that make no character become U+FFFD."""
        return str(self._tokenizer.decoder.decode(list(tokens))).strip()


def _plain(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep ``tokenizers`` from starting threads of its own: a process that has them warns when it forks."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
