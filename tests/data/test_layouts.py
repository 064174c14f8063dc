"""Rows in files that are no table."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from made_rows import refuses, some, write

from gru_bench.data.layouts.conll import scheme_of
from gru_bench.data.layouts.find import LAYOUTS, find
from gru_bench.data.rows import SPLITS, Loaded, Rows, contents

pytestmark = pytest.mark.usefixtures("own_caches")

LABELED = {"text": "text", "label": "label"}
TAGGED = {"tokens": "tokens", "tags": "tags"}


def load(path: Path, columns: dict[str, str], **options: Any) -> Loaded:
    rows = Rows(path=str(path), **columns, **options)
    assert rows.source_id().startswith("files:")
    return rows.load()


def sizes(loaded: Loaded) -> list[int]:
    return [len(loaded.tables[split]) for split in SPLITS]


def every(loaded: Loaded, role: str) -> list[Any]:
    return [value for split in SPLITS for value in contents(loaded.tables[split], role)]


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text, encoding="utf-8")
    return file


# --- fastText


def stew(number: int) -> str:
    return f"__label__{'soup' if number % 2 else 'cake'} recipe number {number} \n"


@pytest.mark.parametrize("name", ["stew.train", "stew.txt", "stew", "stew.train.gz"])
def test_fasttext_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    loaded = load(put(tmp_path / name, "".join(map(stew, range(100)))), LABELED)
    assert sizes(loaded) == [80, 10, 10]
    assert loaded.classes == ["cake", "soup"]
    assert sorted(every(loaded, "text")) == sorted(f"recipe number {i}" for i in range(100))
    assert loaded.notes[0].startswith("read as fastText's layout")


def test_fasttext_in_files_of_splits(tmp_path: Path) -> None:
    put(tmp_path / "stew" / "stew.train", "".join(map(stew, range(30))))
    put(tmp_path / "stew" / "stew.valid", "".join(map(stew, range(30, 40))))
    put(tmp_path / "stew" / "stew.test", "".join(map(stew, range(40, 45))))
    put(tmp_path / "stew" / "README", "__label__x what this is\n")
    assert sizes(load(tmp_path / "stew", LABELED)) == [30, 10, 5]
    put(tmp_path / "stew" / "more", "".join(map(stew, range(50, 60))))
    refuses("which split is more", lambda: load(tmp_path / "stew", LABELED))


def test_of_several_labels_the_first_counts_and_that_is_said(tmp_path: Path) -> None:
    lines = [f"__label__a __label__b text {i} __label__c\n" for i in range(3)] + [
        f"__label__b other {i}\n" for i in range(20)
    ]
    loaded = load(put(tmp_path / "many.txt", "".join(lines)), LABELED)
    assert loaded.findings.remarks == ["3 of 23 rows have several labels: the first of each is used"]
    assert loaded.classes == ["a", "b"]
    assert "text 1" in every(loaded, "text")


def test_a_line_without_a_label_is_a_row_without_one(tmp_path: Path) -> None:
    lines = [*map(stew, range(100)), "no label here\n", "\n"]
    assert (
        "1 of 101 train rows have no label and are not used"
        in load(put(tmp_path / "a.txt", "".join(lines)), LABELED).notes
    )


# --- CoNLL-U


def sentence(number: int, upos: str = "NOUN") -> str:
    return (
        f"# sent_id = {number}\n"
        f"1-2\tdu{number}\t_\t_\t_\t_\t_\t_\t_\t_\n"
        f"1\tde{number}\tde\tADP\tIN\t_\t3\tcase\t_\t_\n"
        f"2\tle\tle\tDET\tDT\t_\t3\tdet\t_\t_\n"
        f"2.1\tghost\t_\tVERB\t_\t_\t_\t_\t_\t_\n"
        f"3\tchat\tchat\t{upos}\tNN\tNumber=Sing\t0\troot\t_\t_\n\n"
    )


def test_conllu(tmp_path: Path) -> None:
    loaded = load(put(tmp_path / "fr.conllu", "".join(map(sentence, range(20)))), TAGGED)
    assert sizes(loaded) == [16, 2, 2]
    assert ["de7", "le", "chat"] in every(loaded, "tokens")
    assert loaded.classes == ["ADP", "DET", "NOUN"]
    assert loaded.notes[1:3] == [
        "20 multiword tokens are read as the words that they stand for",
        "20 empty nodes are left out: no text shows them",
    ]
    assert load(tmp_path / "fr.conllu", TAGGED | {"tags": "xpos"}).classes == ["DT", "IN", "NN"]
    assert load(tmp_path / "fr.conllu", TAGGED | {"tags": "deprel"}).classes == ["case", "det", "root"]
    assert load(tmp_path / "fr.conllu", TAGGED | {"tags": "feats"}).classes == ["Number=Sing", "_"]


def test_a_treebank_as_it_is_published(tmp_path: Path) -> None:
    for split, numbers in {"train": range(9), "dev": range(10, 13), "test": range(20, 24)}.items():
        put(tmp_path / f"fr_x-ud-{split}.conllu", "".join(map(sentence, numbers)))
        put(tmp_path / f"fr_x-ud-{split}.txt", "du chat\n")
    put(tmp_path / "LICENSE.txt", "free\n")
    put(tmp_path / "stats.xml", "<x/>\n")
    assert sizes(load(tmp_path, TAGGED)) == [9, 3, 4]


def test_a_tag_that_is_missing_is_a_row_without_a_label(tmp_path: Path) -> None:
    lines = [*map(sentence, range(20)), sentence(99, "_")]
    assert (
        "1 of 21 train rows have no label and are not used"
        in load(put(tmp_path / "fr.conllu", "".join(lines)), TAGGED).notes
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tword\tNOUN\n", r"line 121: 3 columns; CoNLL-U has 10"),
        ("x\tword" + "\t_" * 8 + "\n", r"line 121: the id 'x'; valid: 3, 3-4"),
    ],
)
def test_a_line_that_is_no_word_of_conllu_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = put(tmp_path / "fr.conllu", "".join(sentence(i).replace("\n\n", "\n\n") for i in range(20)))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:120]) + line + "".join(lines[120:]))
    refuses(f"fr.conllu.*{message}", lambda: load(file, TAGGED))


# --- CoNLL's columns


def marla(number: int) -> str:
    return f"Marla NNP B-NP I-PER\nsaw VBD B-VP O\nship{number} NN B-NP I-MISC\n. . O O\n\n"


def test_conll_2003(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\n" + "".join(map(marla, range(20))).rstrip("\n")
    loaded = load(put(tmp_path / "eng.train", text), TAGGED)
    assert sizes(loaded) == [16, 2, 2]
    assert loaded.classes == ["I-MISC", "I-PER", "O"]
    assert loaded.notes[:2] == [
        "read as CoNLL's columns: words first, tags from the last of 4 columns (ner), which are IOB1 (B- only where "
        "chunks of one type touch); data.tags=pos or chunk takes another",
        "1 lines -DOCSTART- are no words and left out",
    ]
    assert load(tmp_path / "eng.train", TAGGED | {"tags": "chunk"}).classes == ["B-NP", "B-VP", "O"]
    for split in ("testa", "testb"):
        put(tmp_path / f"eng.{split}", "".join(map(marla, range(3))))
    assert sizes(load(tmp_path, TAGGED)) == [20, 3, 3]


def test_two_columns_with_tabs(tmp_path: Path) -> None:
    text = "".join(f"New York\tB-loc\nword{i}\tO\n\n" for i in range(20))
    loaded = load(put(tmp_path / "w.txt", text), TAGGED)
    assert ["New York", "word3"] in every(loaded, "tokens")
    assert "which are IOB2 (each chunk begins with B-)" in loaded.notes[0]


def test_a_line_with_another_number_of_columns_is_named(tmp_path: Path) -> None:
    file = put(tmp_path / "eng.train", "".join(map(marla, range(20))) + "lone word\n")
    refuses(
        r"eng\.train, line 101: 2 columns, where the first word has 4; valid: a word a line", lambda: load(file, TAGGED)
    )


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["I-A", "I-A", "B-A"], "IOB1"),
        (["B-A", "I-A", "O"], "IOB2"),
        (["O", "O"], None),
        (["NN", "VB"], None),
        (["B-A", "I-B"], "IOB1"),
    ],
)
def test_how_chunks_are_marked(tags: list[str], scheme: str | None) -> None:
    assert scheme_of([tags]) == scheme


# --- a file a language


def test_plain_files_of_pairs(tmp_path: Path) -> None:
    for split, numbers in {"train": range(9), "val": range(10, 13), "test": range(20, 24)}.items():
        put(tmp_path / f"{split}.en", "".join(f"house {i}\n" for i in numbers))
        put(tmp_path / f"{split}.de", "".join(f"Haus {i}\r\n" for i in numbers))
        put(tmp_path / f"{split}.fr", "".join(f"maison {i}\n" for i in numbers))
    put(tmp_path / "README.md", "What this is.\n")
    loaded = load(tmp_path, {"source": "de", "target": "en"})
    assert sizes(loaded) == [9, 3, 4]
    assert contents(loaded.tables["valid"], "source") == ["Haus 10", "Haus 11", "Haus 12"]
    assert contents(loaded.tables["valid"], "target") == ["house 10", "house 11", "house 12"]
    refuses(
        r"a file a language, there are de, en, fr; say which is which: data\.source=de data\.target=en",
        lambda: load(tmp_path, {"source": "source", "target": "target"}),
    )
    refuses("one side of a translation", lambda: load(tmp_path / "train.en", {"source": "de", "target": "en"}))
    put(tmp_path / "train.en", "house\n")
    refuses(r"train\.de has 9 and train\.en has 1 lines", lambda: load(tmp_path, {"source": "de", "target": "en"}))


def test_a_corpus_without_splits_is_training_data(tmp_path: Path) -> None:
    put(tmp_path / "europarl.de-en.de", "".join(f"Haus {i}\n" for i in range(100)))
    put(tmp_path / "europarl.de-en.en", "".join(f"house {i}\n" for i in range(100)))
    assert sizes(load(tmp_path, {"source": "de", "target": "en"})) == [80, 10, 10]


# --- a folder a class


def test_a_folder_a_class(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("pos", "neg"):
            for i in range(20):
                put(tmp_path / split / name / f"{i}_9.txt", f"a {name} film {split} {i}<br />\nSecond line.\n")
    put(tmp_path / "train" / "unsup" / "0_0.txt", "who knows\n")
    put(tmp_path / "train" / "urls_pos.txt", "http://x\n")
    put(tmp_path / "imdb.vocab", "the\nand\n")
    loaded = load(tmp_path, LABELED)
    assert sizes(loaded) == [36, 4, 40]
    assert loaded.classes == ["neg", "pos"]
    assert "a neg film test 3<br />\nSecond line." in contents(loaded.tables["test"], "text")
    assert loaded.notes[1] == "1 texts in unsup have no class and are not used"
    assert loaded.counts["train"]["unlabeled"] == 0


def test_folders_without_splits_and_names_without_suffix(tmp_path: Path) -> None:
    for name in ("sci.space", "rec.autos"):
        for i in range(20):
            put(tmp_path / name / f"{61000 + i}", f"Subject: {name} {i}\n")
    assert sizes(load(tmp_path, LABELED)) == [32, 4, 4]


def test_a_file_that_changes_is_other_data(tmp_path: Path) -> None:
    for name in ("pos", "neg"):
        put(tmp_path / name / "1.txt", f"one {name}\n")
    before = Rows(path=str(tmp_path), **LABELED).source_id()
    assert Rows(path=str(tmp_path), **LABELED).source_id() == before
    put(tmp_path / "pos" / "1.txt", "another text\n")
    assert Rows(path=str(tmp_path), **LABELED).source_id() != before


# --- which layout


def test_the_named_layout_is_taken(tmp_path: Path) -> None:
    file = put(tmp_path / "both.txt", "".join(f"__label__x a{i}\n" for i in range(50)))
    refuses(
        "data.layout=conllu: it has no label; valid: fasttext, folders", lambda: load(file, LABELED, layout="conllu")
    )
    refuses(
        "data.layout=folders: nothing at data.path=.* is of that layout", lambda: load(file, LABELED, layout="folders")
    )
    refuses(
        "data.separator is about tables, and data.layout=fasttext is none",
        lambda: load(file, LABELED, layout="fasttext", separator="tab"),
    )
    refuses(
        "data.layout=fasttext is how the files of data.path are read", lambda: Rows([], layout="fasttext", **LABELED)
    )


def test_a_named_layout_is_believed(tmp_path: Path) -> None:
    """A file that does not look like it is read all the same, so that a message names the line."""
    file = put(tmp_path / "words.tsv", "Marla NNP\nsails VBZ now\n")
    refuses(r"words\.tsv, line 2: 3 columns", lambda: load(file, TAGGED, layout="conll"))


def test_files_that_are_not_known_name_what_they_can_become(tmp_path: Path) -> None:
    put(tmp_path / "set" / "a.xml", "<a/>\n")
    refuses(
        r"set: no data there that is known; valid: CSV, TSV, JSON lines or parquet with these columns, or one of "
        r"fasttext \(__label__NAME and a text, a row a line\), folders",
        lambda: load(tmp_path / "set", LABELED),
    )
    file = put(tmp_path / "prose.txt", "just a line\nand another\n")
    refuses(
        r"there are text; valid: JSON lines or parquet with these columns, or one of conllu", lambda: load(file, TAGGED)
    )


def test_what_was_read_before_is_read_as_before(tmp_path: Path) -> None:
    """A folder with JSON lines in it is read by them, whatever lies beside."""
    write(tmp_path / "set" / "train.jsonl", some(50))
    for name in ("pos", "neg"):
        put(tmp_path / "set" / name / "1.txt", "one\n")
    assert find(str(tmp_path / "set"), LABELED, None, Rows([], **LABELED).reading) is None


def test_the_yaml_tells_every_layout() -> None:
    from conftest import REPOSITORY

    told = (REPOSITORY / "conf" / "kind" / "rows.yaml").read_text()
    assert all(f"{layout.name} (" in told for layout in LAYOUTS)
