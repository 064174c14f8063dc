"""Tokens and their ids."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gru_bench.errors import UserError

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<bos>", "<eos>"
WORD = re.compile(r"<unk>|\w+(?:['’]\w+)*|([^\w\s])\1*")


def words(text: str) -> list[str]:
    """Words, runs of one punctuation mark, and ``<eos>`` for each newline.

    ``don't say "no"...`` gives ``don't``, ``say``, ``"``, ``no``, ``"``, ``...``. Case is kept.
    """
    return [token for line in lines(text) for token in (*(m.group() for m in WORD.finditer(line)), EOS)]


def whitespace(text: str) -> list[str]:
    """What stands between white space, and ``<eos>`` for each newline: for text that has been tokenized before."""
    return [token for line in lines(text) for token in (*line.split(), EOS)]


def lines(text: str) -> list[str]:
    """The lines of a text. A newline at its very end closes the last line and opens none."""
    return text.removesuffix("\n").split("\n")


def keep_ends(text: str) -> Iterator[str]:
    """The lines of a text, each with its newline, of which the last one may have none; together they are the text."""
    start = 0
    while start < len(text):
        stop = text.find("\n", start) + 1 or len(text)
        yield text[start:stop]
        start = stop


def check_unknown(trained: int, met: int, tokens: int, min_count: int, what: str) -> list[str]:
    """Refuse a vocabulary in which ``<unk>`` is never trained and yet met.

    Its vector would stay as it was drawn, and what the model makes of every unknown word would be chance. Dropping out
    words that training has once does as well as leaving them out, and would be one more thing to know (trials: see
    ``conf/kind/text_classification.yaml``).

    Args:
        trained: How often the whole training split has ``<unk>``.
        met: How often validation and test have it.
        tokens: How many they have in all.
        min_count: The limit that decides: with 1 nothing in training is unknown.
        what: What the tokens are: ``words``, ``source words``.

    Returns:
        A note where ``<unk>`` is met untrained although rare words were to be left out: there are none.

    Raises:
        UserError: Nothing was to be left out.
    """
    if trained or not met:
        return []
    share = f"{met:,} of {tokens:,} validation and test {what} ({met / tokens:.1%}) are {UNK}"
    if min_count == 1:
        raise UserError(
            f"task.min_count=1: {share}, and no training one is, so that {UNK} would never be trained; valid: 2 or more"
        )
    return [f"{share}, and no training one is: what a model makes of {UNK} was never trained"]


def untrained_note(train_N: np.ndarray, test_N: np.ndarray, unk: int, what: str) -> list[str]:
    """A note where only part of the training split is used: the vocabulary also has words that this part lacks.

    Args:
        train_N: Ids of the part that is used.
        test_N: Ids of the test split.
        unk: Id of ``<unk>``, which is counted elsewhere.
        what: The tokens' name.
    """
    share = float((~np.isin(test_N, train_N) & (test_N != unk)).mean())
    if not share:
        return []
    return [f"{share:.1%} of the test {what} occur in the training split, but not in the part that is used: untrained"]


class Vocabulary:
    """Tokens numbered from 0.

    Args:
        tokens: All tokens, in the order of their ids. :data:`UNK` is among them.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self.index = {token: i for i, token in enumerate(self.tokens)}
        self.unk = self.index[UNK]

    @classmethod
    def build(
        cls,
        tokens: Iterable[str],
        /,
        *,
        max_size: int | None = None,
        min_count: int = 1,
        specials: Sequence[str] = (UNK,),
    ) -> "Vocabulary":
        """Number the tokens of the training data: the specials first, then by falling frequency, ties by spelling.

        Args:
            tokens: Training tokens, with repetition.
            max_size: Most entries, the specials included; None for no limit.
            min_count: Rarer tokens are left out.
            specials: Entries that are there whatever the data. A task that pads puts :data:`PAD` first.
        """
        return cls.from_counts(Counter(tokens), max_size=max_size, min_count=min_count, specials=specials)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        /,
        *,
        max_size: int | None = None,
        min_count: int = 1,
        specials: Sequence[str] = (UNK,),
    ) -> "Vocabulary":
        """Number tokens as :meth:`build` does, from how often each of them occurs."""
        kept = (token for token, n in counts.items() if n >= min_count and token not in specials)
        ranked = sorted(kept, key=lambda t: (-counts[t], t))
        room = None if max_size is None else max(max_size - len(specials), 0)
        return cls([*specials, *ranked[:room]])

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> Tensor:
        """Ids (N,); tokens that are not in the vocabulary become :data:`UNK`."""
        return torch.tensor([self.index.get(token, self.unk) for token in tokens], dtype=torch.int64)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of the ids."""
        return [self.tokens[i] for i in ids]
