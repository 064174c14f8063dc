"""Hashes of content, by which data is known."""

import hashlib

from torch import Tensor


def digest(*parts: bytes | str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the parts, each set apart from the next by its length."""
    sha = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        sha.update(len(raw).to_bytes(8, "little") + raw)
    return sha.hexdigest()[:16]


def tensor_bytes(tensor: Tensor) -> bytes:
    """The raw values of a CPU tensor, for :func:`digest`."""
    return tensor.contiguous().numpy().tobytes()
