"""Files of text: encodings, byte order marks, gzip, and what is said of bytes that are none."""

from pathlib import Path

import pytest
from made_rows import load, refuses

from gru_bench.data import read_text


@pytest.mark.parametrize("filler", [10, read_text.CHUNK_BYTES - 8, read_text.CHUNK_BYTES - 2])
def test_bytes_that_are_no_text_are_found(tmp_path: Path, filler: int) -> None:
    file = tmp_path / "set" / "train.csv"
    file.parent.mkdir()
    head = b"review,stars\nfine,1\n"
    body = (
        head + b"x" * (filler - len(head) - 2) + "é".encode() + b"caf\xe9 y,2\n"
        if filler > 100
        else head + b"caf\xe9,2\n"
    )
    file.write_bytes(body)
    at = body.index(b"\xe9", body.index(b"caf"))
    refuses(rf"train\.csv: not UTF-8: byte 0xe9 at position {at:,} \(line 3\)", lambda: load(file.parent))


def test_a_character_across_chunks_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    for shift in range(4):
        file.write_bytes(b"x" * (read_text.CHUNK_BYTES - shift) + "🙂é".encode())
        assert read_text.open_text(file, None).endswith("x🙂é")


def test_a_character_that_breaks_off_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "cut.txt"
    file.write_bytes(b"one\ntwo \xe2\x82")
    refuses(r"cut\.txt: not UTF-8: byte 0xe2 at position 8 \(line 2\)", lambda: read_text.open_text(file, None))
