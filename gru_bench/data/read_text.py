"""Files of text as people bring them: plain or gzipped, in UTF-8, in UTF-16 with its mark, or in a named encoding."""

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

from gru_bench.errors import UserError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is the first half of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a file's first bytes say of its encoding; a mark is dropped as the file is read."""
HEAD_BYTES = 4096
CHUNK_BYTES = 2**20
WINDOWS_ONLY = frozenset(range(0x80, 0xA0))
"""Bytes that are letters and quotes in cp1252, and control characters, which no text holds, in latin-1."""
NOT_WINDOWS = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})


def check_encoding(encoding: str | None) -> str | None:
    """The name of an encoding as it was given.

    Raises:
        UserError: Python knows none of that name for text.
    """
    try:
        "".encode(encoding or "utf-8")
        codecs.getincrementaldecoder(encoding or "utf-8")
    except (LookupError, ValueError) as error:
        raise UserError(f"data.encoding={encoding}: no such encoding; valid: latin-1, cp1252, utf-16, ...") from error
    return encoding


def open_text(path: Path, encoding: str | None) -> str:
    """All text of a file, without a byte order mark; every kind of line end becomes a newline.

    Args:
        path: The file; of one that ends in ``.gz`` what is packed in it.
        encoding: What the file is in where it has no mark; None is UTF-8.

    Raises:
        UserError: It is in another encoding, with the line and the byte that show it, or it cannot be read.
    """
    with text_stream(path, encoding, newline=None) as stream:
        return stream.read()


@contextlib.contextmanager
def text_stream(path: Path, encoding: str | None, *, newline: str | None = "") -> Iterator[TextIO]:
    """A file open for reading as text; see :func:`open_text`, which reads it whole.

    Args:
        path: The file, or a packed one (``.gz``).
        encoding: As in :func:`open_text`.
        newline: As in Python's ``open``: None makes newlines of all line ends, "" leaves them as they are.

    Raises:
        UserError: Also while the stream is being read within the block.
    """
    try:
        with byte_stream(path) as raw:
            head = raw.read(HEAD_BYTES)
        name = encoding_of(path, head, encoding)
        with byte_stream(path) as raw, io.TextIOWrapper(raw, name, newline=newline) as stream:
            yield stream
    except UnicodeDecodeError as error:
        raise UserError(undecodable(path, name)) from error
    except UnicodeError as error:  # a mark alone is not always followed by whole characters
        raise UserError(f"{where(path)}: no text in {name}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{where(path)}: no whole gzip file: {error}; valid: one that gunzip unpacks") from error
    except OSError as error:
        raise UserError(f"{where(path)}: cannot be read: {error.strerror or error}") from error


def byte_stream(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where its name ends in ``.gz``."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def where(path: Path) -> str:
    """How a message begins that is about one file."""
    return f"data.path={path}"


def encoding_of(path: Path, head: bytes, encoding: str | None) -> str:
    """The encoding that a file's first bytes say, else the one that was asked for, else UTF-8.

    Raises:
        UserError: There are zero bytes as in UTF-16, which has no mark here, and no encoding was asked for.
    """
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if marked is None and encoding is None and b"\0" in head:
        at = head.index(b"\0")
        raise UserError(
            f"{where(path)}: zero bytes, the first at position {at:,}: no text in UTF-8; "
            f"valid for UTF-16 without its mark: data.encoding=utf-16-{'le' if at % 2 else 'be'}"
        )
    return marked or encoding or "utf-8"


def undecodable(path: Path, encoding: str) -> str:
    """Where a file first breaks the encoding, and which one would read it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done, line = 0, 1
    first: tuple[int, int, int] | None = None
    seen: set[int] = set()
    marked = False
    with byte_stream(path) as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            marked = marked or (done == 0 and chunk.startswith(tuple(MARKS)))
            seen.update(chunk)
            if first is None:
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError as error:
                    first = (
                        error.object[error.start],
                        done - pending + error.start,
                        line + chunk.count(b"\n", 0, max(error.start - pending, 0)),
                    )
                except UnicodeError:  # of a mark that is not there
                    first = (chunk[0], done, line)
            done, line = done + len(chunk), line + chunk.count(b"\n")
            if not chunk:
                break
    byte, at, line = first or (0, 0, 1)
    name = "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
    what = f"{where(path)}: not {name}: byte 0x{byte:02x} at position {at:,} (line {line:,})"
    if 0 in seen:  # no text of one byte a character holds it
        return (
            what
            if marked or encoding.startswith("utf-16-")
            else f"{what}; valid for UTF-16: data.encoding=utf-16-le or -be"
        )
    likely = "cp1252" if seen & WINDOWS_ONLY and not seen & NOT_WINDOWS else "latin-1"
    return what if encoding == likely else f"{what}; valid if it is Western European text: data.encoding={likely}"
