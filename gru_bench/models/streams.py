"""Random numbers: one named stream for each part of a run, all derived from the run's seed.

One generator for all parts would leave other values to the embedding, the attention and the head wherever a cell
draws more weights: equal seeds would compare cells inside different networks. With one stream per part, two cells of
one seed (and one size) start inside the same network and read the same data in the same order, so that pairs of runs
are as tight as they can be.
"""

import hashlib

import torch


def stream_seed(seed: int, name: str) -> int:
    """Seed of one stream: 63 bits of SHA-256 over the run's seed and the stream's name.

    torch's generator on the CPU keeps only the low 32 bits of its seed. These are as well mixed as the rest, so
    neighbouring seeds, and names, give unrelated numbers.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Streams:
    """``streams("embedding")``: a new generator at the start of the stream of that name.

    The name alone decides what is drawn, not the order in which parts are built. A part that consists of others hands
    each of them a name of its own, through :meth:`part`.

    Args:
        seed: The run's.
        prefix: What all names begin with.
    """

    def __init__(self, seed: int, prefix: str = "") -> None:
        self.seed, self.prefix = seed, prefix

    def __call__(self, name: str) -> torch.Generator:
        # on the CPU even where a model is built on the meta device
        return torch.Generator("cpu").manual_seed(stream_seed(self.seed, self.prefix + name))

    def part(self, name: str) -> "Streams":
        """The streams of a part: ``streams.part("encoder")("layer0")`` is the stream ``encoder.layer0``."""
        return type(self)(self.seed, f"{self.prefix}{name}.")
