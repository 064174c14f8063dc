"""Running text as streams of ids, and the streams cut in columns that are read side by side."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gru_bench.data.ragged import smallest
from gru_bench.data.vocabulary import EOS, UNK, WORD, Vocabulary, keep_ends
from gru_bench.losses import IGNORED

Level = Literal["word", "char"]
Tokenizer = Literal["auto", "words", "whitespace"]
TakeApart = Callable[[str], Sequence[str]]
"""The tokens of one line, whose newline is the last of them."""


@dataclass(frozen=True)
class Stream:
    """All tokens of a split.

    Attributes:
        ids: (N,) in the smallest integer type that holds them.
        lines: Lines they come from.
        cut: Whether the text has more tokens than were asked for.
    """

    ids: np.ndarray
    lines: int
    cut: bool


def decided(tokenizer: Tokenizer, training_text: str) -> Tokenizer:
    """The tokenizer that is meant: ``auto`` takes ``whitespace`` where the training text holds ``<unk>``."""
    return tokenizer if tokenizer != "auto" else "whitespace" if UNK in training_text else "words"


def make_take_apart(level: Level, tokenizer: Tokenizer, training_text: str = "") -> TakeApart:
    """How a line is taken apart; the training text decides where the tokenizer is ``auto``."""
    if level == "char":
        return list
    if decided(tokenizer, training_text) == "whitespace":
        return lambda line: (*line.split(), EOS)
    return lambda line: (*(match.group() for match in WORD.finditer(line)), EOS)


def start_id(level: Level, vocabulary: Vocabulary) -> int:
    """Id of what stands before a stream: the end of a line."""
    return vocabulary.index.get("\n" if level == "char" else EOS, vocabulary.unk)


def learn(
    text: str, take_apart: TakeApart, /, *, max_vocab_size: int | None, min_count: int
) -> tuple[Vocabulary, Stream]:
    """Vocabulary and stream of the training text, in one pass.

    Args:
        text: All of it.
        take_apart: Makes tokens of a line.
        max_vocab_size: Most entries, ``<unk>`` included; None for no limit.
        min_count: Rarer tokens become ``<unk>``; 1 or more.
    """
    order: defaultdict[str, int] = defaultdict()
    order.default_factory = order.__len__  # ids in order of first sight, until all counts are known
    seen_N, lines, cut = _collect(text, take_apart, order.__getitem__, None)
    counts = np.bincount(seen_N, minlength=len(order)).tolist()
    vocabulary = Vocabulary.from_counts(
        dict(zip(order, counts, strict=True)), max_size=max_vocab_size, min_count=min_count
    )
    final_V = np.array([vocabulary.index.get(token, vocabulary.unk) for token in order])
    return vocabulary, Stream(final_V[seen_N].astype(smallest(len(vocabulary))), lines, cut)


def encode(text: str, take_apart: TakeApart, vocabulary: Vocabulary, /, *, max_tokens: int | None) -> Stream:
    """Stream over a vocabulary that exists; tokens that are not in it become ``<unk>``."""
    index, unk = vocabulary.index, vocabulary.unk
    ids_N, lines, cut = _collect(text, take_apart, lambda token: index.get(token, unk), max_tokens)
    return Stream(ids_N.astype(smallest(len(vocabulary))), lines, cut)


def _collect(
    text: str, take_apart: TakeApart, look_up: Callable[[str], int], max_tokens: int | None
) -> tuple[np.ndarray, int, bool]:
    ids, lines = array("i"), 0
    for line in keep_ends(text):
        if max_tokens is not None and len(ids) >= max_tokens:
            return np.frombuffer(ids, dtype=np.int32)[:max_tokens], lines, True
        ids.extend(map(look_up, take_apart(line)))
        lines += 1
    ids_N = np.frombuffer(ids, dtype=np.int32)
    return ids_N[:max_tokens], lines, max_tokens is not None and len(ids_N) > max_tokens


# --- columns. A stream of N + 1 ids has N tokens to predict: token i is predicted at i - 1.


def training_pieces(
    ids: np.ndarray, /, *, num_columns: int, seq_len: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, each (T, B) int64: consecutive pieces of B columns that follow each other in the stream.

    The stream is read as a ring, cut open at a place that the generator draws; the at most ``num_columns - 1`` tokens
    before the cut that do not fill the columns are left out.
    """
    num_tokens = len(ids) - 1
    first = int(torch.randint(num_tokens, (), generator=generator))
    height = num_tokens // num_columns
    starts_B = first + height * np.arange(num_columns)
    for top in range(0, height, seq_len):
        steps_T = np.arange(top, min(top + seq_len, height))
        at_TB = (steps_T[:, None] + starts_B) % num_tokens
        yield _int64(ids[at_TB]), _int64(ids[at_TB + 1])


def evaluation_pieces(ids: np.ndarray, /, *, num_columns: int, seq_len: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, each (T, B) int64, in which every token of the stream is a target once.

    The at most ``num_columns`` columns follow each other in the stream; the first ones are longer by a token where it
    does not divide. The shorter ones end with a position whose target is IGNORED; being the last step, it reaches no
    scored state.
    """
    num_tokens = len(ids) - 1
    num_columns = min(num_columns, num_tokens)
    height, longer = divmod(num_tokens, num_columns)
    columns_B = np.arange(num_columns)
    starts_B = columns_B * height + np.minimum(columns_B, longer)
    heights_B = height + (columns_B < longer)
    for top in range(0, heights_B[0], seq_len):
        steps_T = np.arange(top, min(top + seq_len, heights_B[0]))
        at_TB = np.minimum(steps_T[:, None] + starts_B, num_tokens - 1)
        is_token_TB = steps_T[:, None] < heights_B
        inputs_TB, targets_TB = _int64(ids[at_TB]), _int64(ids[at_TB + 1])
        padding_TB = torch.from_numpy(~is_token_TB)
        yield inputs_TB.masked_fill_(padding_TB, 0), targets_TB.masked_fill_(padding_TB, IGNORED)


def _int64(ids: np.ndarray) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64))
