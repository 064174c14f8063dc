"""Tables in files of text: separators, quotes, names of columns, and rows that do not fit."""

import csv
import io
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from made_rows import load, refuses, some, texts

from gru_bench.data.delimited import read_delimited
from gru_bench.data.forms import SEPARATORS, Reading
from gru_bench.data.read_files import OWN_SEPARATORS, with_numbers
from gru_bench.data.rows import SPLITS, Rows, contents
from gru_bench.data.text import Text
from gru_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_caches")

FISH = [f"the {name} swims {i}" for i, name in enumerate(["carp", "pike", "eel", "perch", "trout"] * 8)]


def file_of(tmp_path: Path, name: str, lines: list[str], encoding: str = "utf-8") -> Path:
    file = tmp_path / name
    file.write_text("".join(f"{line}\n" for line in lines), encoding=encoding, newline="")
    return file


def read(file: Path, **options: Any) -> tuple[dict[str, list[str | None]], list[str]]:
    notes: list[str] = []
    table = read_delimited(file, Reading(**options), OWN_SEPARATORS.get(file.suffix), notes)
    return table.to_pydict(), notes


def all_texts(loaded: Any) -> list[str]:
    return sorted(text for split in SPLITS for text in texts(loaded, split))


# --- as many fields as names


def test_rows_of_more_fields_than_the_header_are_refused_with_their_lines(tmp_path: Path) -> None:
    lines = ["english\tgerman", *(f"{text}\tder Fisch {i}\tby somebody" for i, text in enumerate(FISH))]
    file = file_of(tmp_path, "pairs.tsv", lines)
    refuses(
        r"pairs\.tsv, line 2: 3 fields under a header of 2 \(also lines 3, 4, 5 and 36 more rows\); "
        r"valid: a name for each of the 3 columns in the header, or 2 fields in each row$",
        Rows(path=str(file), source="english", target="german").load,
    )


def test_an_unquoted_comma_is_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.csv", ["text,label", "all well,1", "well, no,2", "", "oh, no, no,2", "yes,1"])
    refuses(
        r"a\.csv, line 3: 3 fields under a header of 2 \(also lines 5\); valid: 2 fields in each row, one that holds a "
        "comma in double quotes",
        lambda: read(file),
    )


def test_a_row_of_fewer_fields_is_refused(tmp_path: Path) -> None:
    refuses(r"line 3: 1 field under a header of 2", lambda: read(file_of(tmp_path, "a.csv", ["a,b", "c,d", "e"])))


def test_separators_at_the_ends_of_all_rows_shift_nothing(tmp_path: Path) -> None:
    lines = ["review,title,label,helpful", *(f"{text},a title,{'pos' if i % 2 else 'neg'},1," for i, text in
                                             enumerate(FISH))]  # fmt: skip
    loaded = load(file_of(tmp_path, "a.csv", lines), label="label")
    assert all_texts(loaded) == sorted(FISH)
    assert loaded.classes == ["neg", "pos"]
    assert "a.csv: each row ends with a separator that the header lacks; it is left out" in loaded.notes


def test_separators_at_the_ends_of_some_rows_are_refused(tmp_path: Path) -> None:
    refuses(r"line 3: 2 fields under a header of 2", lambda: read(file_of(tmp_path, "a.csv", ["a,b", "c,d,", "e,f"])))
    refuses(r"line 3: 3 fields under a header of 2", lambda: read(file_of(tmp_path, "a.csv", ["a,b", "c,d,", "e,f,g"])))


def test_columns_without_name_and_value_are_left_out_and_others_have_a_name(tmp_path: Path) -> None:
    found, _ = read(file_of(tmp_path, "a.csv", ["a,b,,", "1,2,,", "3,4,,5"]))
    assert found == {"a": ["1", "3"], "b": ["2", "4"], "column_4": [None, "5"]}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    refuses(
        r"a\.csv, line 1: two columns are called text; valid: a name of its own for each, or, if the first line is a "
        r"row: data\.columns=\[column1,column2,column3\]",
        lambda: read(file_of(tmp_path, "a.csv", ["text,label,text", "a,b,c"])),
    )


def test_nothing_but_empty_lines_and_nothing_but_a_header(tmp_path: Path) -> None:
    refuses("no line in it that holds anything", lambda: read(file_of(tmp_path, "a.csv", ["", ""])))
    assert read(file_of(tmp_path, "a.csv", ["a,b"]))[0] == {"a": [], "b": []}


# --- quotes


def test_a_stray_quote_never_swallows_rows(tmp_path: Path) -> None:
    rows = [f"{text},{'pos' if i % 2 else 'neg'}" for i, text in enumerate(FISH)]
    rows[4], rows[30] = f'"{rows[4]}', f'"{rows[30]}'
    file = file_of(tmp_path, "a.csv", ["review,stars", *rows])
    refuses(
        r"a\.csv, line 6: a quote opens a field, and text follows the quote that closes it in line 32; "
        r"valid: data\.quoting=none$",
        lambda: load(file),
    )
    assert sum(len(load(file, quoting="none").tables[split]) for split in SPLITS) == 40
    rows[30] = f'{rows[30][1:-4]}",pos'  # the second quote closes a field well
    file = file_of(tmp_path, "b.csv", ["review,stars", *rows])
    refuses(
        r"b\.csv, line 6: a quote opens a field of 27 lines, which look like rows of their own; valid: "
        r"data\.quoting=none if quotes are text, data\.quoting=double if that is one field",
        lambda: load(file),
    )
    notes = ["b.csv: 1 row spans several lines, the longest 27 (from line 6)"]
    assert read(file, quoting="double")[1] == notes
    file = file_of(tmp_path, "c.csv", ["review,stars", *rows[:20]])
    refuses(
        r"line 6: a quote opens a field and none closes it before the end of the file \(line 21\)", lambda: load(file)
    )


def test_texts_of_several_lines_are_read_and_said(tmp_path: Path) -> None:
    poem = "\n".join(["Roses, red", *["no comma here"] * 5, "end"])
    rows = [(poem if i == 3 else text, i % 2) for i, text in enumerate(FISH)]
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("review", "stars"), *rows])
    loaded = load(file)
    assert poem in all_texts(loaded)
    assert "a.csv: 1 row spans several lines, the longest 7 (from line 5)" in loaded.notes


def test_long_texts_are_read(tmp_path: Path) -> None:
    csv.field_size_limit(131_072)
    file = file_of(tmp_path, "a.csv", ["text,label", f'"{"word, " * 50_000}",1', "short,2"])
    assert [len(text or "") for text in read(file)[0]["text"]] == [300_000, 5]


def test_backslashes_before_quotes_are_asked_for(tmp_path: Path) -> None:
    lines = ["label,text", *(f'{i % 2},"he said \\"{text}, oh\\" twice"' for i, text in enumerate(FISH))]
    file = file_of(tmp_path, "a.csv", lines)
    refuses(r"line 2: a quote opens a field, and text follows .*; valid: data\.quoting=backslash$", lambda: read(file))
    assert read(file, quoting="backslash")[0]["text"] == [f'he said "{text}, oh" twice' for text in FISH]


def test_quotes_between_tabs_are_text_unless_asked_otherwise(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.tsv", ["a\tb", '"c\nd"\te', "f\tg"])
    refuses(r"line 2: 1 field under a header of 2.*; valid: data\.quoting=double$", lambda: read(file))
    assert read(file, quoting="double")[0] == {"a": ["c\nd", "f"], "b": ["e", "g"]}


# --- separators


@pytest.mark.parametrize("name", sorted(SEPARATORS))
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".data"])
def test_a_separator_is_found_by_looking_and_said(tmp_path: Path, name: str, suffix: str) -> None:
    character = SEPARATORS[name]
    lines = [f"review{character}stars", *(f"{text}{', oh' * (name != 'comma')}{character}2" for text in FISH)]
    file = file_of(tmp_path, f"a{suffix}", lines)
    found, notes = read(file)
    assert set(found) == {"review", "stars"}
    assert set(found["stars"]) == {"2"}
    own = OWN_SEPARATORS.get(suffix) in (None, character)
    assert bool(notes) is not own
    if notes:
        assert notes == [f"{file.name}: between fields stands a {name}, found by looking (data.separator={name})"]
    assert read(file, separator=name) == read(file, separator=character) == (found, [])


def test_a_separator_is_not_guessed_where_the_rows_do_not_agree(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.csv", ["text", "one; two", "three"])
    assert read(file)[0] == {"text": ["one; two", "three"]}
    file = file_of(tmp_path, "b.csv", ["a;b,c", *["d;e,f;g"] * 3, "h;i"])
    refuses("line 5: 1 field under a header of 2", lambda: read(file))


@pytest.mark.parametrize(("name", "last"), [("pipe", ""), ("tab", '"odd"')])
def test_a_wrong_separator_is_refused_with_the_right_one(tmp_path: Path, name: str, last: str) -> None:
    character = SEPARATORS[name]
    lines = ["review, stars", *(f"{text}{', oh' * (i % 3)}, 1" for i, text in enumerate(FISH)), f"{last}, 1"]
    file = file_of(tmp_path, "a.csv", [line.replace(", 1", f"{character}1").replace(", stars", f"{character}stars")
                                       for line in lines])  # fmt: skip
    refuses(rf"line 3: 2 fields under a header of 1 .*; valid: data\.separator={name}$",
            lambda: read(file, separator="comma"))  # fmt: skip


def test_a_table_is_known_by_its_rows_where_its_name_says_nothing(tmp_path: Path) -> None:
    file = file_of(tmp_path, "Catches", ["stars\treview", *(f"{i % 2}\t{text}" for i, text in enumerate(FISH))])
    loaded = load(file)
    assert all_texts(loaded) == sorted(FISH)
    assert "Catches: read as a table, which its name does not say and its first rows do" in loaded.notes
    other = file_of(tmp_path, "Poem", ["one", "two, three", "four"])
    refuses(r"Poem: not known by its name.*data\.separator=comma or semicolon or tab or pipe", lambda: load(other))


@pytest.mark.parametrize("wrong", ["", "xx", '"', "\n", "commas"])
def test_a_wrong_separator(wrong: str) -> None:
    refuses("data.separator=.*: valid: one character, or comma, semicolon, tab, pipe, space", lambda: Reading(wrong))


def test_other_wrong_values() -> None:
    refuses("data.quoting=single: valid: double, backslash, none, null", lambda: Reading(quoting="single"))
    refuses("data.columns: valid: a list with a name for each column", lambda: Reading(columns=()))
    refuses("data.columns: valid: a list with a name for each column", lambda: Reading(columns=("a", " ")))
    refuses("data.columns: two columns are called a", lambda: Reading(columns=("a", "b", "a")))
    refuses("data.encoding=rot13: no such encoding; valid: latin-1", lambda: Reading(encoding="rot13"))
    refuses("data.encoding=martian: no such encoding; valid: latin-1", lambda: Rows(path="a", encoding="martian"))


# --- files without a line of names


def test_a_first_line_that_is_a_row_is_told_and_named(tmp_path: Path) -> None:
    lines = [f"{'cold' if i % 2 else 'warm'}\t{text}" for i, text in enumerate(FISH)]
    file = file_of(tmp_path, "a.tsv", lines)
    refuses(
        r"data\.text=review: no such column .* there are warm, the carp swims 0; the first line was taken for names: "
        r"where it is a row, name the columns, such as data\.columns=\[label,text\]$",
        lambda: load(file),
    )
    loaded = load(file, columns=["stars", "review"])
    assert all_texts(loaded) == sorted(FISH)
    refuses(
        r"line 1: 2 fields under the 3 names of data\.columns", lambda: load(file, columns=["stars", "review", "x"])
    )


def test_names_that_look_like_names_are_not_doubted(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.csv", ["stars,text", *(f"{i % 2},{text}" for i, text in enumerate(FISH))])
    refuses(r"there are stars, text$", lambda: load(file))


def test_names_for_columns_that_are_named_already(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.csv", ["stars,review", "1,one"])
    refuses(
        r"a\.csv, line 1: these are the names of data\.columns, which is for files without them; valid: "
        r"data\.columns=null",
        lambda: load(file, columns=["stars", "review"]),
    )


def test_a_folder_without_names(tmp_path: Path) -> None:
    for split, rows in (("train", FISH[:30]), ("test", FISH[30:])):
        file_of(tmp_path, f"{split}.csv", [f'"{i % 3}","{text}","so, {text}"' for i, text in enumerate(rows)])
    refuses(r"its files must have the same columns, .*; the first line was taken for names", lambda: load(tmp_path))
    loaded = load(tmp_path, columns=["stars", "title", "review"])
    assert texts(loaded, "test") == [f"so, {text}" for text in FISH[30:]]
    assert all_texts(loaded) == sorted(f"so, {text}" for text in FISH)


def test_running_text_does_not_lose_its_first_line_as_a_name(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.csv", ["the first of many lines", *FISH])
    refuses(r"data\.text is not set, and the first of many lines is no name; .* data\.columns=\[text\]",
            Text(path=str(file)).load)  # fmt: skip
    loaded = Text(path=str(file), columns=["text"]).load()
    assert "the first of many lines" in "".join(loaded.values())


def test_names_do_not_apply_to_json(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.jsonl", ['{"review": "a", "stars": 1}'])
    refuses("data.columns and data.separator are for files of fields between separators, and this is json; valid: null",
            lambda: load(file, columns=["a"]))  # fmt: skip


# --- values


def test_numbers_are_numbers_where_nothing_else_is_in_the_column() -> None:
    import pyarrow as pa

    given = {
        "whole": ["1", " -2", None],
        "real": ["1", "2.5", "1e3"],
        "coded": ["007", "1", "2"],
        "mixed": ["1", "2", "x"],
        "none": [None, None, None],
    }
    found = with_numbers({"train": pa.table({name: pa.array(values, pa.string()) for name, values in given.items()})})
    assert found["train"].to_pydict() == given | {"whole": [1, -2, None], "real": [1.0, 2.5, 1000.0]}
    two = with_numbers({"train": pa.table({"a": ["1"]}), "test": pa.table({"a": ["x"]})})
    assert two["train"].to_pydict() == {"a": ["1"]}


@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(
    rows=st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=3, max_size=3),
        min_size=1,
        max_size=6,
    ),
    separator=st.sampled_from(sorted(SEPARATORS.values())),
)
def test_what_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], separator: str
) -> None:
    file = tmp_path_factory.mktemp("csv") / "a.csv"
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    file.write_text(written.getvalue(), encoding="utf-8", newline="")
    found, _ = read(file, separator=separator, quoting="double")
    assert list(map(list, zip(*found.values(), strict=True))) == [[field or None for field in row] for row in rows]


# --- names of files


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "txt"])
def test_a_files_name_is_no_pattern(tmp_path: Path, kind: str) -> None:
    from made_rows import write

    for name, word in (("data1", "wrong"), ("data[1]", "right"), ("d*ta?", "star"), ("é = a b", "accent")):
        rows = [{"text": f"{word} {i}", "stars": i % 2} for i in range(40)]
        if kind == "txt":
            file_of(tmp_path, f"{name}.txt", [str(row["text"]) for row in rows])
        else:
            write(tmp_path / f"{name}.{kind}", rows)
    for name, word in (("data[1]", "right"), ("d*ta?", "star"), ("é = a b", "accent")):
        found = "".join(Text(path=str(tmp_path / f"{name}.{kind}")).load().values()).split()
        assert {text for text in found if not text.isdigit()} == {word}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folders_name_is_no_pattern(tmp_path: Path, kind: str) -> None:
    from made_rows import folder

    for place, start in (("set1", 0), ("set[1]", 1000)):
        folder(tmp_path / place, kind, train=some(9, start), validation=some(3, start + 20), test=some(4, start + 40))
    loaded = load(tmp_path / "set[1]" / "set")
    assert texts(loaded, "valid") == [row["review"] for row in some(3, 1020)]


def test_a_configuration_or_a_revision_of_a_file_is_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a.csv", ["review,stars", "a,1"])
    refuses(r"data\.name=en: a configuration or revision is chosen of a data set on the hub, and data\.path=.*a\.csv "
            "is a file; valid: null", lambda: load(file, name="en"))  # fmt: skip
    refuses(r"data\.revision=main: a configuration or revision", Text(path=str(file), revision="main").load)


# --- kinds of files side by side


def test_what_lies_beside_the_data_is_said(tmp_path: Path) -> None:
    file_of(tmp_path, "train.csv", ["review,stars", *(f"{text},{i % 2}" for i, text in enumerate(FISH))])
    file_of(tmp_path, "test.TSV", ["review\tstars", *(f"{text} too\t{i % 2}" for i, text in enumerate(FISH))])
    file_of(tmp_path, "notes.txt", ["nothing"])
    loaded = load(tmp_path)
    assert loaded.notes[0] == "2 files of the kind csv are read; 1 of other kinds beside them are not"
    assert contents(loaded.tables["test"], "text") == [f"{text} too" for text in FISH]


def test_files_that_add_or_lack_columns(tmp_path: Path) -> None:
    rows = [f"{text},{i % 2}" for i, text in enumerate(FISH)]
    file_of(tmp_path, "train.csv", ["review,stars", *rows])
    file_of(tmp_path, "test.csv", ["review,stars,extra", *(f"{row},x" for row in rows)])
    with pytest.raises(UserError, match=r"test\.csv: its files must have the same columns, but this one has extra, un"):
        load(tmp_path)
