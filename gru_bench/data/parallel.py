"""Pairs of texts as pairs of sequences: one vocabulary per side, limits, and what had to be done to fit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gru_bench.data.bpe import Pieces, learn_pieces
from gru_bench.data.encode import Fitted, Tokenize, encode, learn_and_encode, make_tokenize
from gru_bench.data.prepared import Prepared, ragged_arrays
from gru_bench.data.ragged import Ragged, smallest
from gru_bench.data.rows import SPLITS, Loaded, contents
from gru_bench.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from gru_bench.errors import UserError

SIDES = ("source", "target")
SPECIALS = (PAD, UNK, BOS, EOS)

Kind = Literal["words", "whitespace", "bpe"]
Texts = dict[str, dict[str, list[str]]]
"""Texts by split and side."""


@dataclass(frozen=True)
class Limits:
    """How texts become sequences; see :class:`~gru_bench.tasks.text.translation.Translation` for each."""

    kind: Kind
    lowercase: bool
    max_length: int | None
    max_vocab_size: int | None
    min_count: int


class Codec:
    """A vocabulary, and how its ids become a text again.

    Args:
        learned: The first of what :func:`learn_side` returns.
    """

    def __init__(self, learned: dict[str, Any]) -> None:
        self.pieces = Pieces(learned["pieces"]) if "pieces" in learned else None
        self.vocabulary = Vocabulary(learned["tokens"] if self.pieces is None else self.pieces.tokens)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids: words joined by spaces, or the text that pieces spell."""
        tokens = self.vocabulary.decode(ids)
        return " ".join(tokens) if self.pieces is None else self.pieces.text(tokens)


def make_spell(codec: Codec | None, kind: Kind, /, *, lowercase: bool, end: Sequence[str] = ()) -> Tokenize:
    """How a text of one side becomes tokens.

    Args:
        codec: With the pieces of a kind that has them; None where none are needed.
        kind: What a text is taken apart into.
        lowercase: Whether case is given up first.
        end: What every sequence ends in.
    """
    if kind == "bpe":
        assert codec is not None
        assert codec.pieces is not None
        pieces, case = codec.pieces, str.lower if lowercase else str
        return lambda text: [*pieces.tokenize(case(text)), *end]
    take_apart = make_tokenize(kind, lowercase=lowercase)
    # a text that spells <eos> does not end there: such a word is unknown
    return lambda text: [*(UNK if token in SPECIALS else token for token in take_apart(text)), *end]


def prepare(loaded: Loaded, limits: Limits) -> tuple[Prepared, Texts]:
    """Sequences of all splits, and the texts that they were made of.

    Arrays: ``train.source``, ``train.target`` ... are ragged ids, targets with ``<eos>`` at their end; ``valid.words``
    and ``test.words`` (R,) are the number of words of each source. Facts: ``codecs`` by side, ``references`` (the
    targets' raw texts) of validation and test, ``counts``, ``notes``, ``findings``.

    Raises:
        UserError: No training row is short enough.
    """
    tables = loaded.tables if loaded.whole is None else loaded.tables | {"whole": loaded.whole}
    texts = {
        split: {side: [text.strip() for text in contents(table, side)] for side in SIDES}
        for split, table in tables.items()
    }
    # words are counted the same for every vocabulary, so that limits and slices mean the same
    take_apart = make_tokenize("whitespace" if limits.kind == "whitespace" else "words", lowercase=limits.lowercase)
    counts = {f"{split}_{name}": n for split, row in loaded.counts.items() for name, n in row.items()}
    counts["train_too_long"] = _drop_long(texts["train"], take_apart, limits.max_length)
    if "whole" in texts:
        _drop_long(texts["whole"], take_apart, limits.max_length)
    counts["train_rows"] = len(texts["train"]["source"])
    arrays: dict[str, np.ndarray] = {}
    codecs: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for side in SIDES:
        codecs[side], fitted, side_notes = learn_side(
            side, {split: both[side] for split, both in texts.items()}, limits
        )
        notes += side_notes
        for split, fit in fitted.items():
            arrays |= ragged_arrays(f"{split}.{side}", fit.sequences)
        counts |= _counts_of(side, fitted, Codec(codecs[side]).vocabulary)
    found = loaded.findings
    words = {
        side: {split: np.array([len(take_apart(text)) for text in texts[split][side]]) for split in SPLITS}
        for side in SIDES
    }
    for side, by_split in words.items():
        found.add_lengths(f"words a {side}", by_split)
    for split in SPLITS[1:]:
        words_R = words["source"][split]
        arrays[f"{split}.words"] = words_R.astype(smallest(int(words_R.max()) + 1))
    facts = {
        "codecs": codecs,
        "references": {split: texts[split]["target"] for split in SPLITS[1:]},
        "counts": counts,
        "notes": [*loaded.notes, *_notes_of(counts, limits), *notes, *found.notes()],
        "findings": found.as_facts(),
    }
    return Prepared(arrays, facts), texts


def learn_side(
    side: str, texts: dict[str, list[str]], limits: Limits
) -> tuple[dict[str, Any], dict[str, Fitted], list[str]]:
    """One side's vocabulary, from all its training texts, and its sequences.

    Args:
        side: ``source`` or ``target``; the latter's sequences end in ``<eos>``.
        texts: By split; ``whole``, where it is there, are all training texts, of which ``train`` is a part.
        limits: Kind of vocabulary, its size, and case.

    Returns:
        What :class:`Codec` takes, the sequences by split, and notes.
    """
    end = [EOS] if side == "target" else []
    if limits.kind == "bpe":
        assert limits.max_vocab_size is not None
        case = str.lower if limits.lowercase else str
        learned = learn_pieces(
            map(case, texts.get("whole", texts["train"])),
            max_size=limits.max_vocab_size,
            min_count=limits.min_count,
            specials=SPECIALS,
        )
        codec = Codec({"pieces": learned})
        spell = make_spell(codec, limits.kind, lowercase=limits.lowercase, end=end)
        return (
            {"pieces": learned},
            {split: encode(texts[split], spell, codec.vocabulary, max_length=None) for split in SPLITS},
            [],
        )
    tokenize = make_spell(None, limits.kind, lowercase=limits.lowercase, end=end)
    vocabulary, fitted, notes = learn_and_encode(
        {split: texts[split] for split in SPLITS},
        texts.get("whole"),
        tokenize,
        max_length=None,
        max_vocab_size=limits.max_vocab_size,
        min_count=limits.min_count,
        specials=SPECIALS,
        what=f"{side} words",
    )
    return {"tokens": vocabulary.tokens}, fitted, notes


def _drop_long(train: dict[str, list[str]], take_apart: Tokenize, max_length: int | None) -> int:
    """Leave out, in place, the pairs with a side of more than ``max_length`` words; returns their number."""
    if max_length is None:
        return 0
    before = len(train["source"])
    short = [all(len(take_apart(text)) <= max_length for text in pair) for pair in zip(*train.values(), strict=True)]
    for side, texts in train.items():
        train[side] = [text for text, kept in zip(texts, short, strict=True) if kept]
    if not any(short):
        raise UserError(
            f"task.max_length={max_length}: each of the {before:,} training rows has more words on one of its sides"
        )
    return before - sum(short)


def _counts_of(side: str, fitted: dict[str, Fitted], vocabulary: Vocabulary) -> dict[str, int]:
    counts = {f"{side}_vocab_size": len(vocabulary)}
    for split, fit in fitted.items():
        empty = fit.empty if side == "source" else int((fit.sequences.lengths == 1).sum())
        counts[f"{split}_empty_{side}"] = empty
        counts[f"{split}_{side}_tokens"] = len(fit.sequences.values)
        counts[f"{split}_{side}_unknown"] = int((fit.sequences.values == vocabulary.unk).sum())
    return counts


def _notes_of(counts: dict[str, int], limits: Limits) -> list[str]:
    """Sentences about what the counts mean to a reader."""
    rows = ", ".join(f"{split} {counts[f'{split}_rows']:,}" for split in SPLITS)
    unknown = {side: counts[f"test_{side}_unknown"] / counts[f"test_{side}_tokens"] for side in SIDES}
    notes = [
        f"rows: {rows}",
        f"vocabulary ({limits.kind}) of {counts['source_vocab_size']:,} to {counts['target_vocab_size']:,}; "
        f"{unknown['source']:.1%} and {unknown['target']:.1%} of the test tokens are {UNK}",
    ]
    if number := counts["train_too_long"]:
        notes.append(
            f"{number:,} of {counts['train_rows'] + number:,} train rows have a side of more than {limits.max_length} "
            "words and are not used"
        )
    for split in SPLITS:
        if number := counts[f"{split}_empty_source"]:
            notes.append(f"{number:,} {split} sources hold no word and are read as one {UNK}")
        if number := counts[f"{split}_empty_target"]:
            notes.append(f"{number:,} {split} targets hold no word and are {EOS} alone")
    return notes


def pair_keys(sources: Ragged, targets: Ragged) -> Tensor:
    """What pairs are sorted by, (N,): the length of the source, then that of the target."""
    source_N, target_N = torch.from_numpy(sources.lengths), torch.from_numpy(targets.lengths)
    return source_N * (int(target_N.max()) + 1) + target_N


def padding_share(sides: Sequence[Ragged], groups: Sequence[Tensor]) -> float:
    """Share of the steps of these batches that are padding, of all sides together, from 0 to 1."""
    padded = real = 0
    for sequences in sides:
        lengths_N = torch.from_numpy(sequences.lengths)
        padded += sum(int(lengths_N[rows].max()) * len(rows) for rows in groups)
        real += sum(int(lengths_N[rows].sum()) for rows in groups)
    return 1 - real / padded if padded else 0.0
