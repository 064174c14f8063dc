"""Which examples are shown, and how much of each."""

import numpy as np

SAMPLE_WORDS = 60
"""Words of a sample that are shown."""


def spread(count: int, most: int) -> list[int]:
    """At most so many of ``count`` rows, evenly from the first to the last: data may be sorted."""
    return np.linspace(0, count - 1, min(most, count)).astype(int).tolist()


def cut(words: list[str], joint: str = " ") -> str:
    """Words as one text; of very many the first ones."""
    return joint.join(words[:SAMPLE_WORDS]) + (" ..." if len(words) > SAMPLE_WORDS else "")
