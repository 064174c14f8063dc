"""Texts as sequences of ids: words, vocabulary, limits, and what had to be done to fit them."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gru_bench.data.ragged import Ragged, pack
from gru_bench.data.vocabulary import PAD, UNK, WORD, Vocabulary, check_unknown, untrained_note

Tokenizer = Literal["words", "whitespace", "chars"]
Tokenize = Callable[[str], Sequence[str]]

SPECIALS = (PAD, UNK)


@dataclass(frozen=True)
class Fitted:
    """Sequences, and how many of them had to be fitted.

    Attributes:
        empty: Texts without a word: each became one ``<unk>``.
        cut: Texts that were longer than the limit and lost their end.
        lengths: (R,) words of each text before it was cut.
    """

    sequences: Ragged
    empty: int
    cut: int
    lengths: np.ndarray


def make_tokenize(tokenizer: Tokenizer, *, lowercase: bool) -> Tokenize:
    """How a row's text is taken apart. A newline is white space; case is kept unless asked otherwise.

    Args:
        tokenizer: ``words`` for raw text: words and runs of one punctuation mark; ``whitespace`` for text that was
            tokenized before; ``chars`` for characters.
        lowercase: Whether case is given up first.
    """
    if tokenizer == "words":
        # WORD has a group, so findall would not give the whole match
        take_apart: Tokenize = lambda text: [match[0] for match in WORD.finditer(text)]  # noqa: E731
    else:
        take_apart = str.split if tokenizer == "whitespace" else list
    return (lambda text: take_apart(text.lower())) if lowercase else take_apart


def learn(
    texts: Iterable[str | None],
    tokenize: Tokenize,
    /,
    *,
    max_length: int | None,
    max_vocab_size: int | None,
    min_count: int,
    specials: Sequence[str] = SPECIALS,
) -> tuple[Vocabulary, Fitted]:
    """Vocabulary and sequences of the training texts, in one pass.

    Only words within ``max_length`` count: what no model reads needs no id.

    Args:
        texts: One per row; None is an empty one.
        tokenize: Takes a text apart.
        max_length: Words of a text that are read; the rest is cut off. None for no limit.
        max_vocab_size: Most entries, the specials included; None for no limit.
        min_count: Rarer words become ``<unk>``.
        specials: Entries that are there whatever the texts; ``<unk>`` is among them.
    """
    order: defaultdict[str, int] = defaultdict()
    order.default_factory = order.__len__  # ids in order of first sight, until all counts are known
    order[UNK]
    values, offsets, empty, cut, lengths = _collect(texts, tokenize, order.__getitem__, order[UNK], max_length)
    seen_N = np.frombuffer(values, dtype=np.int32)
    counts = np.bincount(seen_N, minlength=len(order)).tolist()
    vocabulary = Vocabulary.from_counts(
        dict(zip(order, counts, strict=True)), max_size=max_vocab_size, min_count=min_count, specials=specials
    )
    final_V = np.array([vocabulary.index.get(token, vocabulary.unk) for token in order])
    return vocabulary, Fitted(pack(final_V[seen_N], offsets, len(vocabulary)), empty, cut, lengths)


def learn_and_encode(
    texts: Mapping[str, Sequence[Any]],
    whole: Sequence[Any] | None,
    tokenize: Callable[[Any], Sequence[str]],
    /,
    *,
    max_length: int | None,
    max_vocab_size: int | None,
    min_count: int,
    specials: Sequence[str] = SPECIALS,
    what: str = "words",
) -> tuple[Vocabulary, dict[str, Fitted], list[str]]:
    """Vocabulary of the training texts, and the sequences of all splits.

    Args:
        texts: By split, those that are used.
        whole: All training texts where only a part is used, which the vocabulary must not follow: over fewer words
            perplexity falls as data shrinks. None where all are used.
        tokenize: Takes a text apart.
        max_length: See :func:`learn`, also for the rest.
        max_vocab_size: Most entries.
        min_count: Rarer words become ``<unk>``.
        specials: Entries that are there whatever the texts.
        what: The tokens' name in messages.

    Returns:
        The vocabulary, the sequences by split, and notes.

    Raises:
        UserError: ``<unk>`` is met that was never trained; see :func:`~gru_bench.data.vocabulary.check_unknown`.
    """
    limits: Any = {"max_vocab_size": max_vocab_size, "min_count": min_count, "specials": specials}
    learned = texts["train"] if whole is None else whole
    vocabulary, train = learn(learned, tokenize, max_length=max_length, **limits)
    rest = [split for split in texts if split != "train" or whole is not None]
    trained = int((train.sequences.values == vocabulary.unk).sum())
    fitted = {"train": train} | {
        split: encode(texts[split], tokenize, vocabulary, max_length=max_length) for split in rest
    }
    others = [fitted[split] for split in fitted if split != "train"]
    met = sum(int((other.sequences.values == vocabulary.unk).sum()) - other.empty for other in others)
    tokens = sum(len(other.sequences.values) for other in others)
    notes = check_unknown(trained, met, tokens, min_count, what)
    if whole is not None:
        used, test = fitted["train"].sequences.values, fitted["test"].sequences.values
        notes += untrained_note(used, test, vocabulary.unk, what)
    return vocabulary, fitted, notes


def encode(
    texts: Iterable[str | None], tokenize: Tokenize, vocabulary: Vocabulary, /, *, max_length: int | None
) -> Fitted:
    """Sequences over a vocabulary that exists; words that are not in it become ``<unk>``."""
    index, unk = vocabulary.index, vocabulary.unk
    look_up = lambda token: index.get(token, unk)  # noqa: E731
    values, offsets, empty, cut, lengths = _collect(texts, tokenize, look_up, unk, max_length)
    return Fitted(pack(values, offsets, len(vocabulary)), empty, cut, lengths)


def _collect(
    texts: Iterable[str | None],
    tokenize: Tokenize,
    look_up: Callable[[str], int],
    unk: int,
    max_length: int | None,
) -> "tuple[array[int], array[int], int, int, np.ndarray]":
    values, offsets, lengths = array("i"), array("q", [0]), array("i")
    empty = cut = 0
    for text in texts:
        tokens = tokenize(text or "")
        lengths.append(len(tokens))
        if max_length is not None and len(tokens) > max_length:
            tokens = tokens[:max_length]
            cut += 1
        if tokens:
            values.extend(map(look_up, tokens))
        else:
            values.append(unk)
            empty += 1
        offsets.append(len(values))
    return values, offsets, empty, cut, np.frombuffer(lengths, dtype=np.int32)
