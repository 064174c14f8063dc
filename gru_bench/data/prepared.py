"""Data that is prepared once: named arrays and facts in one file, found again by everything that decides them."""

import hashlib
import inspect
import json
import mmap
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gru_bench.cache_dir import cache_dir, replace_file
from gru_bench.data.ragged import Ragged

MAGIC = b"gru_bench prepared data 1\n"
ALIGNMENT = 64


@dataclass(frozen=True)
class Prepared:
    """What was prepared.

    Attributes:
        arrays: Arrays by name; from a file they are mapped, not read, and a change stays private.
        facts: What else there is to know, as JSON holds it: vocabularies, class names, counts, notes.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def ragged(self, name: str) -> Ragged:
        """The sequences that :func:`ragged_arrays` took apart."""
        return Ragged(self.arrays[f"{name}.values"], self.arrays[f"{name}.offsets"])

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(values.nbytes for values in self.arrays.values())


def ragged_arrays(name: str, sequences: Ragged) -> dict[str, np.ndarray]:
    """Sequences as named arrays."""
    return {f"{name}.values": sequences.values, f"{name}.offsets": sequences.offsets}


def cached(recipe: dict[str, Any], build: Callable[[], Prepared]) -> Prepared:
    """What ``build`` gives, from the cache where it has been built before.

    Args:
        recipe: All that decides the outcome, as JSON: the content of the data, columns, tokenizer, limits. The code
            of this package's data room counts by itself, and so does that of the file in which ``build`` is written.
        build: Prepares the data: a function or a method.

    A file that is broken, or that was written by other code, is built anew. A cache that cannot be written costs time,
    nothing else.
    """
    file = cache_dir() / "prepared" / f"{key_of(recipe, build)}.bin"
    found = read(file)
    if found is None:
        built = build()
        with suppress(OSError):
            write(file, built)
        # from the file again: the next run sees the same, and the pages are shared with other processes
        found = read(file) or built
    return found


def key_of(recipe: dict[str, Any], build: Callable[[], Prepared]) -> str:
    """First 32 digits of the SHA-256 of a recipe and of the code that follows it."""
    content = json.dumps([code_id(), file_id(inspect.getsourcefile(build)), recipe], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


@cache
def code_id() -> str:
    """A hash of this room's source files, so that nothing is taken for what other code would have made of it."""
    sha = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        sha.update(f"{file.name}\0".encode() + file.read_bytes())
    return sha.hexdigest()


@cache
def file_id(path: str | None) -> str:
    """A hash of one source file, without its folder; nothing where code has none, as at an interactive prompt."""
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.sha256(f"{Path(path).name}\0".encode() + Path(path).read_bytes()).hexdigest()


def write(file: Path, prepared: Prepared) -> None:
    """Write to a file that other processes see whole or not at all.

    Layout: a first line, the length of the header (8 bytes), its CRC-32 and that of the arrays (4 bytes each), the
    header as JSON, then the arrays, each at a multiple of 64 bytes after the header.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    entries, position, crc = [], 0, 0
    pieces: list[bytes] = []
    for name, values in prepared.arrays.items():
        raw = np.ascontiguousarray(values).tobytes()
        raw += bytes(-len(raw) % ALIGNMENT)
        entries.append({"name": name, "dtype": values.dtype.str, "shape": values.shape, "at": position})
        pieces.append(raw)
        position += len(raw)
        crc = zlib.crc32(raw, crc)
    header = json.dumps({"arrays": entries, "bytes": position, "facts": prepared.facts}).encode()
    head = MAGIC + len(header).to_bytes(8, "little")
    head += zlib.crc32(header).to_bytes(4, "little") + crc.to_bytes(4, "little") + header
    head += b" " * (-len(head) % ALIGNMENT)
    replace_file(file, [head, *pieces])


def read(file: Path) -> Prepared | None:
    """Map a file that :func:`write` made; None where there is none, or not a whole one."""
    try:
        with file.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):  # not there, or empty
        return None
    start = len(MAGIC) + 16
    if len(mapped) < start or mapped[: len(MAGIC)] != MAGIC:
        return None
    length, header_crc, crc = (
        int.from_bytes(mapped[start - before : start - after], "little") for before, after in ((16, 8), (8, 4), (4, 0))
    )
    header = mapped[start : start + length]
    base = -(-(start + length) // ALIGNMENT) * ALIGNMENT
    if len(header) != length or zlib.crc32(header) != header_crc:
        return None
    contents = json.loads(header)
    body = memoryview(mapped)[base:]
    if len(body) != contents["bytes"] or zlib.crc32(body) != crc:
        return None
    arrays = {
        entry["name"]: np.frombuffer(
            mapped, np.dtype(entry["dtype"]), count=int(np.prod(entry["shape"])), offset=base + entry["at"]
        ).reshape(entry["shape"])
        for entry in contents["arrays"]
    }
    return Prepared(arrays, contents["facts"])
