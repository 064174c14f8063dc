import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_bench.data import source, text
from gru_bench.data.text import SPLITS, Text, carve, drop_repeats, join, runs_of_lines
from gru_bench.data.vocabulary import EOS, PAD, UNK, Vocabulary, whitespace, words
from gru_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_caches")


def make(path: Path | str | None, *, column: str | None = None, name: str | None = None) -> Text:
    return Text(path=None if path is None else str(path), name=name, text=column)


def write_split(folder: Path, split: str, rows: list[dict[str, object]], kind: str = "jsonl") -> None:
    folder.mkdir(exist_ok=True)
    file = folder / f"{split}.{kind}"
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "csv":
        pd.DataFrame(rows).to_csv(file, index=False)
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(file)
    else:
        file.write_text("".join(f"{row['text']}\n" for row in rows))


# --- the bundled text


def test_bundled_text_is_split_80_10_10_and_always_the_same() -> None:
    source = make(None)
    splits = source.load()
    total = sum(map(len, splits.values()))
    assert total > 200_000
    for split in ("valid", "test"):
        assert len(splits[split]) / total == pytest.approx(0.1, abs=0.02)
    assert make(None).load() == splits
    assert any("whole topics" in note for note in source.notes)


def test_no_paragraph_of_the_bundled_text_stands_in_two_splits() -> None:
    paragraphs = {split: set(whole.split("\n\n")) - {""} for split, whole in make(None).load().items()}
    assert not paragraphs["train"] & paragraphs["test"]
    assert not paragraphs["train"] & paragraphs["valid"]
    assert not paragraphs["valid"] & paragraphs["test"]


def test_source_id_of_the_bundled_text_is_a_digest_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    before = make(None).source_id()
    assert before.startswith("pydoc_data.topics:")
    assert make(None).source_id() == before
    topics = text.bundled_topics()
    topics["if"] += "x"
    monkeypatch.setattr(text, "bundled_topics", lambda: topics)
    assert make(None).source_id() != before


def test_drop_repeats_keeps_the_first_occurrence() -> None:
    kept = drop_repeats({"b": "one\n\ntwo\nlines", "a": "zero\n\none\n\nzero", "c": "\n\none\n"})
    assert kept == {"a": "zero\n\none\n\n", "b": "two\nlines\n\n"}


# --- folders and files


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "txt"])
def test_a_folder_in_the_hubs_layout(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    for split in ("train", "validation", "test"):
        write_split(folder, split, [{"text": f"{split} one"}, {"text": "two"}], kind)
    source = make(folder)
    assert source.load() == {
        "train": "train one\ntwo\n",
        "valid": "validation one\ntwo\n",
        "test": "test one\ntwo\n",
    }
    assert source.notes == []


def test_nothing_is_written_beside_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for split in ("train", "validation", "test"):
        write_split(folder, split, [{"text": split}])
    folder.chmod(0o555)
    source = make(folder)
    source.source_id()
    source.load()
    assert sorted(os.listdir(folder)) == ["test.jsonl", "train.jsonl", "validation.jsonl"]
    folder.chmod(0o755)


def test_progress_and_logs_are_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set"
    write_split(folder, "train", [{"text": f"line {i}"} for i in range(100)])
    make(folder).load()
    assert capfd.readouterr() == ("", "")


def test_missing_splits_are_carved_from_train(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    lines = [f"line {i:04d}" for i in range(1000)]
    write_split(folder, "train", [{"text": line} for line in lines])
    source = make(folder)
    splits = source.load()
    shared_out = [line for split in splits.values() for line in split.splitlines()]
    assert sorted(shared_out) == lines
    assert len(splits["valid"].splitlines()) == len(splits["test"].splitlines()) == 100
    assert source.notes == ["no valid and no test split in the source: carved from train by a fixed hash"]
    assert make(folder).load() == splits


def test_only_the_missing_split_is_carved(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_split(folder, "train", [{"text": f"line {i}"} for i in range(100)])
    write_split(folder, "test", [{"text": "the test"}])
    source = make(folder)
    splits = source.load()
    assert splits["test"] == "the test\n"
    assert len(splits["train"].splitlines()) == 90
    assert source.notes == ["no valid split in the source: carved from train by a fixed hash"]


def test_one_text_file(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("".join(f"line {i}\n" for i in range(100)))
    splits = make(book).load()
    assert {split: len(whole.splitlines()) for split, whole in splits.items()} == {"train": 80, "valid": 10, "test": 10}


def test_rows_with_and_without_newlines_keep_their_lines() -> None:
    # WikiText on the hub: '' is a blank line, other rows bring their own newline
    assert join(["", " = Title = \n", "", "text"]) == "\n = Title = \n\ntext\n"
    # a whole book in a row is left as it is
    assert join(["two\nlines"]) == "two\nlines"
    assert join(["a line"]) == "a line\n"


def test_source_id_follows_content_and_not_place_or_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        write_split(folder, "train", [{"text": "same"}])
    before = make(first).source_id()
    assert make(second).source_id() == before
    os.utime(first / "train.jsonl", (1, 1))
    assert make(first).source_id() == before
    write_split(first, "train", [{"text": "else"}])
    assert make(first).source_id() != before


def test_the_digest_of_a_file_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "train.txt"
    file.write_text("text")
    digest = source.file_digest(file)
    assert [path.read_text() for path in (source.cache_dir() / "digests").iterdir()] == [digest]
    monkeypatch.setattr(source.hashlib, "file_digest", None)  # reading the file again would raise
    assert source.file_digest(file) == digest


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "a_file"
    in_the_way.write_text("")
    monkeypatch.setenv("GRU_BENCH_CACHE", str(in_the_way))
    assert len(source.file_digest(in_the_way)) == 64


# --- texts made in Python, and fractions


def test_texts_made_in_python() -> None:
    texts = {"train": "a\n", "validation": "b\n", "test": "c\n"}
    assert Text(texts).load() == {"train": "a\n", "valid": "b\n", "test": "c\n"}
    assert Text(texts).source_id() == Text(dict(reversed(texts.items()))).source_id()
    assert Text(texts).source_id() != Text(texts | {"test": "d\n"}).source_id()
    carved = Text({"train": "".join(f"line {i}\n" for i in range(100))})
    assert {split: len(whole.splitlines()) for split, whole in carved.load().items()} == {
        "train": 80,
        "valid": 10,
        "test": 10,
    }
    assert carved.notes == ["no valid and no test split in the source: carved from train by a fixed hash"]


@given(st.lists(st.text(alphabet="ab ", min_size=1), min_size=1, max_size=30), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_smaller_fraction_is_the_beginning_of_a_larger_one(lines: list[str], one: float, other: float) -> None:
    texts = {"train": "x" + "\n".join(lines) + "\n", "valid": "v\n", "test": "t\n"}
    smaller, larger = (Text(texts, fraction=part) for part in sorted((one, other)))
    head, longer = smaller.load(), larger.load()
    assert longer["train"].startswith(head["train"])
    assert texts["train"].startswith(longer["train"])
    assert head["train"].endswith("\n") or len(lines) == 1
    whole = len(texts["train"])
    assert smaller.fraction * whole <= len(head["train"]) < smaller.fraction * whole + max(map(len, lines)) + 3
    assert (head["valid"], head["test"]) == ("v\n", "t\n")
    assert len(smaller.notes) == (smaller.fraction < 1)


def test_a_fraction_is_noted_and_known_to_the_cache() -> None:
    texts = {"train": "".join(f"line {i}\n" for i in range(10)), "valid": "v\n", "test": "t\n"}
    half = Text(texts, fraction=0.5)
    assert half.load()["train"] == "".join(f"line {i}\n" for i in range(5))
    assert half.notes == [
        "data.fraction=0.5: 35 of 70 characters of training text are used, the vocabulary is that of all"
    ]
    assert half.recipe() != Text(texts).recipe()
    assert half.source_id() == Text(texts).source_id()
    with pytest.raises(UserError, match=r"data\.fraction=0\.1: that much of the training text holds no text"):
        Text(texts | {"train": "\n" * 50 + "a\n"}, fraction=0.1).load()


def test_a_branch_on_the_hub_is_asked_and_a_commit_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked:
        _fingerprint = "print"

    asked: list[str] = []
    monkeypatch.setattr(source, "load_splits", lambda *names: asked.append(names[0]) or {"train": Asked})
    branch = Text(path="no-org/no-set", revision="some-branch")
    assert branch.recipe()["content"] == "hub:no-org/no-set:@some-branch:train=print"
    assert asked == ["no-org/no-set"]
    assert Text(path="no-org/no-set", revision="0" * 40).recipe()["content"] == f"hub:no-org/no-set:@{'0' * 40}"
    assert len(asked) == 1


# --- texts that are one line


def test_a_text_of_one_line_is_cut_between_words() -> None:
    words = [f"word{i}" for i in range(1000)]
    texts = Text({"train": " ".join(words)})
    parts = texts.load()
    assert [word for split in SPLITS for word in parts[split].split()] == words
    assert all(part.endswith("\n") and part.count("\n") == 1 for part in parts.values())
    assert {split: round(len(part) / 100) for split, part in parts.items()} == {"train": 63, "valid": 8, "test": 8}
    assert texts.notes == [
        "no valid and no test split in the source, and the text is one line: the last tenth is test and the tenth "
        "before it is valid, cut between words where there are any"
    ]
    part = Text({"train": " ".join(words)}, fraction=0.5).load()
    assert parts["train"].startswith(part["train"])
    assert abs(len(part["train"]) - len(parts["train"]) / 2) < 10


def test_a_text_without_words_is_cut_between_characters() -> None:
    parts = Text({"train": "ACGT" * 1000}).load()
    assert "".join(part.removesuffix("\n") for part in parts.values()) == "ACGT" * 1000
    assert [len(part) - 1 for part in parts.values()] == [3200, 400, 400]


def test_only_the_split_that_lacks_is_cut_off() -> None:
    texts = Text({"train": "a b c d e f g h i j " * 10, "valid": "v\n"})
    assert texts.load()["test"] == "a b c d e f g h i j\n"
    assert "the text is one line: the last tenth is test, cut" in texts.notes[0]


def test_a_byte_order_mark_is_no_character_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbf" + b"a line\n" * 40)
    assert set(Text(path=str(tmp_path / "book.txt")).load()["train"]) == set("a line\n")


# --- bad input


@pytest.mark.parametrize(("missing", "them"), [(("validation", "test"), "them"), (("test",), "it")])
def test_too_little_text_to_carve_from(tmp_path: Path, missing: tuple[str, ...], them: str) -> None:
    folder = tmp_path / "set"
    for split in {"train", "validation", "test"} - set(missing):
        write_split(folder, split, [{"text": "one"}, {"text": "two"}])
    with pytest.raises(UserError, match=f"too little text to carve {them} from"):
        make(folder).load()


@pytest.mark.parametrize("name", ["train.txt", "train.csv", "train.jsonl"])
def test_undecodable_bytes_are_placed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"text\nfine\nnot \xff fine\n")
    with pytest.raises(UserError, match=rf"{name}: not UTF-8: byte 0xff at position 14 \(line 3\)"):
        make(tmp_path).load()


def test_the_only_column_of_text_is_found_and_a_choice_is_asked_for(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for split in ("train", "validation", "test"):
        write_split(one, split, [{"number": 1, "words": split}])
        write_split(two, split, [{"left": "l", "right": split}])
    assert make(one).load()["test"] == "test\n"
    with pytest.raises(UserError, match=r"which column is the text\? Text is in: left, right"):
        make(two).load()
    assert make(two, column="right").load()["test"] == "test\n"


@pytest.mark.parametrize("column", ["txt", "number"])
def test_a_missing_column_names_those_that_there_are(tmp_path: Path, column: str) -> None:
    folder = tmp_path / "set"
    write_split(folder, "train", [{"number": 1, "words": "a"}])
    with pytest.raises(UserError, match=f"data.text={column} is no column of text. Text is in: words"):
        make(folder, column=column).load()


@pytest.mark.parametrize("path", ["./nothing", "/no/such/folder", "~/nothing/at/all", "../a/b", "nothing", "a/b/c"])
def test_a_wrong_path_is_not_taken_for_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str):
    monkeypatch.chdir(tmp_path)
    for ask in (make(path).source_id, make(path).load):
        with pytest.raises(UserError, match="no such folder or file"):
            ask()


def test_a_hub_name_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert make("no-org/no-set", name="small").source_id() == "hub:no-org/no-set:small@main"
    with pytest.raises(UserError, match="cannot reach the hub"):
        make("no-org/no-set").load()


def test_a_folder_that_looks_like_a_hub_name_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("org").mkdir()
    write_split(Path("org/name"), "train", [{"text": f"line {i}"} for i in range(100)])
    assert make("org/name").source_id().startswith("files:")
    assert make("org/name").load()["test"]


def test_an_empty_folder_and_a_broken_file(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for ask in (make(folder).source_id, make(folder).load):
        with pytest.raises(UserError, match=r"no data there; known are .*\.parquet"):
            ask()
    (folder / "train.parquet").write_text("this is no parquet")
    with pytest.raises(UserError, match="cannot be read as a data set: "):
        make(folder).load()


def test_a_folder_without_train(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_split(folder, "test", [{"text": "a"}])
    with pytest.raises(UserError, match="no train split; there are test"):
        make(folder).load()


def test_an_empty_split(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_split(folder, "train", [{"text": "some"}])
    write_split(folder, "validation", [{"text": "some"}])
    write_split(folder, "test", [{"text": ""}, {"text": " \n"}])
    with pytest.raises(UserError, match="the test split holds no text"):
        make(folder).load()


def test_a_column_without_a_path() -> None:
    with pytest.raises(UserError, match=r"data\.path, and that is null"):
        make(None, column="text")


# --- sharing out


@given(st.lists(st.text(alphabet="ab\n"), max_size=30))
def test_runs_of_lines_are_the_text(rows: list[str]) -> None:
    whole = join(rows)
    runs = runs_of_lines(whole, 7)
    assert "".join(runs.values()) == whole
    assert len(runs) <= 7


@given(st.dictionaries(st.text(), st.text(max_size=50), max_size=30))
def test_carve_gives_each_piece_to_one_split_and_never_more_than_its_share(pieces: dict[str, str]) -> None:
    carved = carve(pieces, ("valid", "test"))
    assert sorted(p for split in carved.values() for p in split) == sorted(pieces.values())
    total = sum(map(len, pieces.values()))
    assert all(sum(map(len, carved[split])) <= 0.1 * total for split in ("valid", "test"))
    assert carve(dict(reversed(pieces.items())), ("valid", "test")) == {k: v[::-1] for k, v in carved.items()}


# --- tokens


def test_words() -> None:
    assert words('I don\'t say "no"...\n\nx <= <unk>_1') == [
        *("I", "don't", "say", '"', "no", '"', "...", EOS),
        EOS,
        *("x", "<", "=", UNK, "_1", EOS),
    ]


def test_whitespace_and_the_last_newline() -> None:
    assert whitespace("a  b\n\nc\n") == ["a", "b", EOS, EOS, "c", EOS]
    assert whitespace("a  b\n\nc") == whitespace("a  b\n\nc\n")


def test_vocabulary_is_ranked_by_count_then_spelling() -> None:
    tokens = ["b", "a", "c", "a", "b", "d", "a"]
    vocabulary = Vocabulary.build(tokens)
    assert vocabulary.tokens == [UNK, "a", "b", "c", "d"]
    assert vocabulary.encode(["d", "zebra", "a"]).tolist() == [4, 0, 1]
    assert vocabulary.decode([4, 0, 1]) == ["d", UNK, "a"]


def test_vocabulary_limits_and_specials() -> None:
    tokens = ["b", "a", "c", "a", "b", "d", "a", "<unk>"]
    assert Vocabulary.build(tokens, max_size=3).tokens == [UNK, "a", "b"]
    assert Vocabulary.build(tokens, min_count=2).tokens == [UNK, "a", "b"]
    assert Vocabulary.build(tokens, max_size=1).tokens == [UNK]
    padded = Vocabulary.build(tokens, max_size=3, specials=(PAD, UNK))
    assert padded.tokens == [PAD, UNK, "a"]
    assert padded.encode(["b"]).tolist() == [1]


def test_wikitext_reads_as_published(shared_data: Path) -> None:
    splits = make(shared_data / "wikitext-2-v1", column="text").load()
    tokens = {split: whitespace(whole) for split, whole in splits.items()}
    assert {split: len(stream) for split, stream in tokens.items()} == {
        "train": 2_088_628,
        "valid": 217_646,
        "test": 245_569,
    }
    assert len(Vocabulary.build(tokens["train"])) == 33_278
    assert set(tokens["test"]) <= set(tokens["train"])


def test_tiny_shakespeare_is_one_row_of_many_lines(shared_data: Path) -> None:
    splits = make(shared_data / "tiny_shakespeare").load()
    assert splits["train"].startswith("First Citizen:\nBefore we proceed any further")
    assert sum(map(len, splits.values())) == 1_115_394
    assert len(set("".join(splits.values()))) == 65
