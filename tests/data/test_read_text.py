"""Files of text: encodings, byte order marks, gzip, and what is said of bytes that are none."""

import gzip
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_mark_says_the_encoding_and_is_dropped(tmp_path: Path, encoding: str, packed: bool) -> None:
    file = tmp_path / ("a.txt.gz" if packed else "a.txt")
    raw = "é one\r\ntwo 🙂\rthree".encode(encoding)
    file.write_bytes(gzip.compress(raw) if packed else raw)
    assert read_text.open_text(file, None) == "é one\ntwo 🙂\nthree"
    if encoding != "utf-8":
        assert read_text.open_text(file, "latin-1") == "é one\ntwo 🙂\nthree"


@pytest.mark.parametrize(
    ("raw", "way"),
    [
        (b"caf\xe9", "latin-1"),
        (b"caf\xe9 \x92", "cp1252"),
        (b"caf\xe9 \x92 \x81", "latin-1"),
        ("zero".encode("utf-16-le"), "utf-16-le"),
        ("zero".encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_an_encoding_that_reads_the_file_is_named(tmp_path: Path, raw: bytes, way: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(raw)
    refuses(f"data.encoding={way}$", lambda: read_text.open_text(file, None))
    assert read_text.open_text(file, way) == raw.decode(way)


def test_a_named_encoding_is_used_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("й".encode("koi8-r"))
    assert read_text.open_text(file, "koi8-r") == "й"
    refuses(r"not ascii: byte 0xca at position 0 \(line 1\)", lambda: read_text.open_text(file, "ascii"))


@pytest.mark.parametrize("raw", [b"no gzip", gzip.compress(b"one two three" * 50, mtime=0)[:-12]])
def test_what_gunzip_does_not_unpack(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(raw)
    refuses(r"a\.csv\.gz: no whole gzip file: .*; valid: one that gunzip unpacks", lambda: load(file))


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    text = "review,stars\n" + "".join(f"café {i},{i % 2}\n" for i in range(40))
    file.write_bytes(text.encode("latin-1"))
    refuses(r"a\.csv: not UTF-8: byte 0xe9 .*\(line 2\); .*data\.encoding=latin-1", lambda: load(file))
    assert load(file, encoding="latin-1").tables["train"].column("text")[0].as_py().startswith("café")
    file.write_bytes(text.encode("utf-16"))
    assert load(file).tables["train"].column("text")[0].as_py().startswith("café")
