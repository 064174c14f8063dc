"""Hashes, sequences, batches by length, and the cache of prepared data."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from gru_bench.data import buckets, prepared
from gru_bench.data.encode import encode, learn, make_tokenize
from gru_bench.data.prepared import Prepared, cached, ragged_arrays, read, write
from gru_bench.data.ragged import Ragged, smallest
from gru_bench.data.split import carve, content_hashes, fraction_of
from gru_bench.data.vocabulary import PAD, UNK, Vocabulary

ROWS = st.lists(st.lists(st.integers(1, 299), min_size=1, max_size=40), min_size=1, max_size=80)


def ragged(rows: list[list[int]]) -> Ragged:
    offsets = np.cumsum([0, *map(len, rows)])
    return Ragged(np.array([v for row in rows for v in row], dtype=np.uint16), offsets.astype(np.uint32))


# --- batches


def pool_after_pool(keys: torch.Tensor, batch_size: int, generator: torch.Generator, pools: int) -> list[list[int]]:
    """The order of ``by_length``, written as it is described."""
    groups: list[torch.Tensor] = []
    for pool in torch.randperm(len(keys), generator=generator).split(pools * batch_size):
        groups.extend(pool[keys[pool].argsort(stable=True)].split(batch_size))
    return [groups[i].tolist() for i in torch.randperm(len(groups), generator=generator).tolist()]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200), st.integers(1, 9), st.integers(1, 5))
def test_one_sort_gives_the_order_of_many(lengths: list[int], batch_size: int, pools: int) -> None:
    keys = torch.tensor(lengths)
    expected = pool_after_pool(keys, batch_size, torch.Generator().manual_seed(3), pools)
    found = buckets.by_length(keys, batch_size, torch.Generator().manual_seed(3), pools)
    assert [rows.tolist() for rows in found] == expected
    assert sorted(row for group in expected for row in group) == list(range(len(lengths)))


def test_the_order_depends_on_the_seed_alone() -> None:
    keys = torch.arange(500) % 17

    def order(seed: int) -> list[list[int]]:
        return [rows.tolist() for rows in buckets.by_length(keys, 8, torch.Generator().manual_seed(seed))]

    torch.manual_seed(1)
    first = order(5)
    torch.manual_seed(2)
    assert order(5) == first
    assert order(6) != first
    assert buckets.by_length(keys[:0], 8, torch.Generator()) == []
    assert buckets.in_order(keys[:0], 8) == []


@given(ROWS, st.integers(1, 9), st.integers(1, 200))
def test_batches_are_what_padding_each_alone_gives(rows: list[list[int]], batch_size: int, chunk: int) -> None:
    sequences = ragged(rows)
    lengths = torch.from_numpy(sequences.lengths)
    groups = buckets.by_length(lengths, batch_size, torch.Generator().manual_seed(0))
    before, buckets.CHUNK_TOKENS = buckets.CHUNK_TOKENS, chunk
    try:
        batches = list(buckets.padded(sequences, groups, 7))
    finally:
        buckets.CHUNK_TOKENS = before
    assert len(batches) == len(groups)
    for batch, group in zip(batches, groups, strict=True):
        own = [torch.tensor(rows[i]) for i in group.tolist()]
        assert torch.equal(batch.rows, group)
        assert torch.equal(batch.ids, pad_sequence(own, padding_value=7))
        assert batch.ids.dtype == batch.lengths.dtype == torch.int64
        assert batch.ids.is_contiguous()
        assert batch.lengths.tolist() == [len(row) for row in own]
        assert batch.num_tokens == sum(map(len, own))
    padded = sum(batch.ids.numel() for batch in batches)
    assert buckets.padding_share(lengths, groups) == pytest.approx(1 - sum(map(len, rows)) / padded)


def test_nothing_to_batch() -> None:
    assert list(buckets.padded(ragged([[1]]), [], 0)) == []
    assert buckets.padding_share(torch.tensor([1]), []) == 0


# --- hashes


def test_hashes_are_fixed() -> None:
    # written down once: a change would move every carved row of every user
    assert content_hashes(["a", " a\n", "b", ["a", "b"], None, ""]).tolist() == [
        4681665781835383343,
        4681665781835383343,
        9543904841865449333,
        17891760522800452624,
        16476032584258269876,
        16476032584258269876,
    ]


@given(st.lists(st.text(max_size=3), min_size=1, max_size=60), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_carving_keeps_equal_rows_together_and_loses_none(texts: list[str], valid: float, test: float) -> None:
    hashes = content_hashes(texts)
    parts = carve(hashes, {"test": test, "valid": valid})
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(texts)))
    of = [{hashes[i] for i in rows} for rows in parts.values()]
    assert sum(map(len, of)) == len(set(hashes.tolist()))
    if len(set(hashes.tolist())) == len(texts) > 20:
        assert len(parts["test"]) == max(1, round(test * len(texts)))


@given(st.lists(st.text(max_size=3), min_size=1, max_size=60), st.floats(0.01, 1), st.floats(0.01, 1))
def test_fractions_are_nested(texts: list[str], one: float, two: float) -> None:
    small, large = (set(fraction_of(content_hashes(texts), f).tolist()) for f in sorted((one, two)))
    assert small
    assert small <= large


def test_a_fraction_is_no_row_too_many() -> None:
    hashes = content_hashes(map(str, range(100)))
    assert [len(fraction_of(hashes, f)) for f in (0.07, 0.1, 0.29, 0.999, 1.0)] == [7, 10, 29, 100, 100]


# --- ids


def test_smallest_types() -> None:
    assert [smallest(n) for n in (1, 256, 257, 65536, 65537)] == [np.uint8, np.uint8, np.uint16, np.uint16, np.uint32]


@given(st.lists(st.none() | st.text(alphabet="ab \n", max_size=12), min_size=1, max_size=20), st.integers(1, 4))
def test_one_pass_learns_what_two_would(texts: list[str | None], max_length: int) -> None:
    tokenize = make_tokenize("whitespace", lowercase=False)
    vocabulary, fitted = learn(texts, tokenize, max_length=max_length, max_vocab_size=4, min_count=2)
    kept = [(text or "").split()[:max_length] for text in texts]
    words = [word for row in kept for word in row]
    assert vocabulary.tokens == Vocabulary.build(words, max_size=4, min_count=2, specials=(PAD, UNK)).tokens
    expected = [vocabulary.encode(row).tolist() or [vocabulary.unk] for row in kept]
    assert [fitted.sequences[row].tolist() for row in range(len(texts))] == expected
    again = encode(texts, tokenize, vocabulary, max_length=max_length)
    assert [again.sequences[row].tolist() for row in range(len(texts))] == expected
    assert fitted.empty == again.empty == sum(not row for row in kept)
    assert fitted.cut == again.cut == sum(len((text or "").split()) > max_length for text in texts)


def test_tokenizers() -> None:
    text = "It's GOOD...\nreally"
    assert make_tokenize("words", lowercase=True)(text) == ["it's", "good", "...", "really"]
    assert make_tokenize("whitespace", lowercase=False)(text) == ["It's", "GOOD...", "really"]
    assert list(make_tokenize("chars", lowercase=True)("Ab c")) == ["a", "b", " ", "c"]


# --- the cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


def build() -> Prepared:
    arrays = ragged_arrays("train", ragged([[1, 2, 3], [4]])) | {"label": np.array([1, 0], dtype=np.uint8)}
    return Prepared(arrays, {"vocabulary": [PAD, UNK, "é"], "counts": {"rows": 2}})


def same(one: Prepared, two: Prepared) -> bool:
    return one.facts == two.facts and all(
        np.array_equal(one.arrays[name], values) and one.arrays[name].dtype == values.dtype
        for name, values in two.arrays.items()
    )


def never() -> Prepared:
    raise AssertionError("built again")


@pytest.mark.usefixtures("cache")
def test_prepared_once() -> None:
    first = cached({"a": 1}, build)
    assert same(first, build())
    assert same(cached({"a": 1}, never), first)
    with pytest.raises(AssertionError):
        cached({"a": 2}, never)
    assert first.ragged("train")[0].tolist() == [1, 2, 3]
    assert first.num_bytes == 4 * 2 + 3 * 4 + 2


@pytest.mark.parametrize("whose", ["code_id", "file_id"])
@pytest.mark.usefixtures("cache")
def test_other_code_prepares_anew(monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    cached({"a": 1}, build)
    assert same(cached({"a": 1}, never), build())
    monkeypatch.setattr(prepared, whose, lambda *_: "other")
    with pytest.raises(AssertionError):
        cached({"a": 1}, never)


def test_a_broken_file_is_built_anew(cache: Path) -> None:
    cached({}, build)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    broken = [b"", b"x", whole[:-1], whole[:40], whole + b"more", whole.replace(b"vocabulary", b"vocabulery")]
    for position in range(0, len(whole), 7):  # a flipped bit anywhere
        broken.append(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    for number, content in enumerate(broken):
        file.write_bytes(content)
        found = cached({}, build)
        assert same(found, build()), number
        assert file.read_bytes() == whole or read(file) is not None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRU_BENCH_CACHE", str(tmp_path / "file"))
    assert same(cached({}, build), build())


def test_what_is_read_can_be_changed_without_harm(cache: Path) -> None:
    found = cached({}, build)
    torch.from_numpy(found.arrays["label"]).add_(1)  # torch warns of arrays that cannot be written
    assert same(cached({}, never), build())
    assert len(list(cache.iterdir())) == 1


def _write_and_read(file: Path) -> bool:
    for _ in range(20):
        write(file, build())
        found = read(file)
        if found is None or not same(found, build()):
            return False
    return True


def test_several_processes_may_prepare_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert all(pool.map(_write_and_read, [tmp_path / "one.bin"] * 4))
    assert [path.name for path in tmp_path.iterdir()] == ["one.bin"]


@pytest.mark.slow
def test_bench_data_runs(tmp_path: Path) -> None:
    rows = "".join(f"word {i} and {i % 7},{i % 2}\n" for i in range(300))
    (tmp_path / "rows.csv").write_text(f"sentence,label\n{rows}")
    command = [sys.executable, "bench/data.py", "--path", str(tmp_path / "rows.csv"), "--rounds", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert '"memory_ratio"' in done.stdout.splitlines()[-1]
