"""Which rows are used for what: by a fixed hash of their content, so that it depends on nothing else.

Rows are ranked by the hash of what the model reads. Splits that the source does not have are carved from the training
rows with the largest hashes; a fraction of the training rows is those with the smallest. So fractions are nested,
none of them moves a carved row, and rows of equal content always stay together.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

LOOKED_AT, FEWEST_WORDS, FEW = 100, 3, 0.1
"""Rows of a carved split that are looked at, of so many words or more, and the share that may be near-duplicates."""


def content_hashes(contents: Iterable[Any]) -> np.ndarray:
    """A fixed 64-bit hash of each text, or of each list of texts. White space around a text does not count."""
    return np.fromiter((_hash(content) for content in contents), dtype=np.uint64)


def _hash(content: Any) -> int:
    parts = [content] if isinstance(content, str) else [] if content is None else content
    text = "\x1f".join("" if part is None else str(part).strip() for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def carve(hashes_N: np.ndarray, shares: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Share out rows: each name gets about its share of them, at least one, and ``train`` the rest.

    Rows of equal content count once: else the rows of one text that many repeat would be most of a split.

    Args:
        hashes_N: One hash a row.
        shares: Share of each split that is to be made, in the order in which they are served.

    Returns:
        Row numbers by split, in the order of the rows.
    """
    left = np.ones(len(hashes_N), dtype=bool)
    chosen: dict[str, np.ndarray] = {}
    num_different = len(np.unique(hashes_N))
    for split, share in shares.items():
        wanted = max(1, round(share * num_different))
        ranked = np.unique(hashes_N[left])
        threshold = ranked[-min(wanted, len(ranked))] if len(ranked) else 0
        taken = left & (hashes_N >= threshold)
        chosen[split] = np.flatnonzero(taken)
        left &= ~taken
    return {"train": np.flatnonzero(left), **chosen}


def fraction_of(hashes_N: np.ndarray, fraction: float) -> np.ndarray:
    """Row numbers of a part of the rows: a smaller fraction's rows are all among a larger one's."""
    if fraction >= 1 or len(hashes_N) == 0:
        return np.arange(len(hashes_N))
    # 0.07 * 100 is 7.000000000000001, which is seven rows
    wanted = max(1, math.ceil(round(fraction * len(hashes_N), 6)))
    return np.flatnonzero(hashes_N <= np.sort(hashes_N)[wanted - 1])


def num_shared(hashes_N: np.ndarray, others: Sequence[int] | np.ndarray) -> int:
    """How many rows also occur among the others."""
    return int(np.isin(hashes_N, others).sum())


def near_duplicates(split: str, carved: Sequence[Any], train: Sequence[Any]) -> list[str]:
    """A sentence if a carved split is not new to a reader of the training rows; else nothing.

    A row is not new if it stands word by word inside a training row, as phrases of one sentence do. At most
    :data:`LOOKED_AT` rows of :data:`FEWEST_WORDS` words or more are looked at, evenly over the split.

    Args:
        split: Its name.
        carved: Its texts, or lists of words.
        train: The training rows that are left, likewise.
    """
    long = [text for text in map(_text, carved) if text.count(" ") >= FEWEST_WORDS - 1]
    looked = [long[at] for at in np.linspace(0, len(long) - 1, min(LOOKED_AT, len(long))).astype(int)]
    whole = " \n ".join(map(_text, train)) if looked else ""
    inside = sum(f" {text} " in f" {whole} " for text in looked)
    if inside <= FEW * len(looked):
        return []
    return [
        f"{inside} of {len(looked)} {split} rows looked at stand inside training rows: carved from near-duplicates, "
        "so that scores on them say less about new text"
    ]


def _text(content: Any) -> str:
    words = content.split() if isinstance(content, str) else [] if content is None else map(str, content)
    return " ".join(words)
