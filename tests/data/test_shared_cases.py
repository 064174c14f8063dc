"""Files in layouts that people really use, where the folder of them lies beside this checkout."""

from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from made_rows import refuses

from gru_bench.data.rows import SPLITS, Rows
from gru_bench.data.text import Text

pytestmark = pytest.mark.usefixtures("own_caches")

CLASSIFY = {"text": "text", "label": "label"}
NO_NAMES = "the first line was taken for names: where it is a row, name the columns, such as"


@pytest.fixture
def cases() -> Path:
    folder = REPOSITORY.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("the files as people bring them are not beside this checkout (../shared/cases)")
    return folder


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (
            "01_header_shorter_than_rows/pairs.tsv",
            {"source": "source", "target": "target"},
            r"pairs\.tsv, line 2: 3 fields under a header of 2 \(also lines 3, 4, 5 and 116 more rows\); valid: a name "
            "for each of the 3 columns",
        ),
        ("01_header_shorter_than_rows/texts.csv", CLASSIFY, "line 2: 3 fields .*a comma in double quotes$"),
        (
            "02_csv_stray_quotes/notes.csv",
            CLASSIFY,
            r"line 52: a quote opens .* closes it in line 122; valid: data\.quoting=none$",
        ),
        ("05_no_header/SMSSpamCollection.tsv", CLASSIFY, rf"{NO_NAMES} data\.columns=\[label,text\]$"),
        ("05_no_header/sentiment140.csv", CLASSIFY, rf"{NO_NAMES} data\.columns=\[label,.*,text\]$"),
        ("05_no_header/ag_news_csv", CLASSIFY, rf"{NO_NAMES} data\.columns=\[label,.*\]$"),
        ("06_latin1/spam.csv", {"text": "v2", "label": "v1"}, r"not UTF-8: .*line 2\); .*data\.encoding=latin-1$"),
    ],
)
def test_what_is_refused_has_a_way_on(cases: Path, path: str, options: dict[str, Any], message: str) -> None:
    refuses(message, lambda: Rows(path=str(cases / path), **options).load())


@pytest.mark.parametrize(
    ("path", "options", "number", "classes"),
    [
        ("02_csv_stray_quotes/notes.csv", CLASSIFY | {"quoting": "none"}, 200, ["neg", "pos"]),
        ("05_no_header/SMSSpamCollection.tsv", CLASSIFY | {"columns": ["label", "text"]}, 200, ["ham", "spam"]),
        ("05_no_header/sentiment140.csv", CLASSIFY | {"columns": ["label", *"abcd", "text"]}, 200, ["0", "4"]),
        ("05_no_header/ag_news_csv", CLASSIFY | {"columns": ["label", "title", "text"]}, 160, ["1", "2", "3", "4"]),
        ("06_latin1/spam.csv", {"text": "v2", "label": "v1", "encoding": "latin-1"}, 200, ["ham", "spam"]),
        ("12_files_by_suffix/reviews.jsonl.gz", CLASSIFY, 200, ["neg", "pos"]),
        ("12_files_by_suffix/SMSSpamCollection", CLASSIFY, 200, ["neg", "pos"]),
        ("13_semicolons_and_backslashes/semicolons.csv", CLASSIFY, 200, ["neg", "pos"]),
    ],
)
def test_all_rows_are_read(cases: Path, path: str, options: dict[str, Any], number: int, classes: list[str]) -> None:
    loaded = Rows(path=str(cases / path), **options).load()
    assert sum(len(loaded.tables[split]) for split in SPLITS) == number
    assert loaded.classes == classes


def test_running_text_in_latin_1(cases: Path) -> None:
    path = str(cases / "06_latin1" / "train_5500.txt")
    refuses(r"line 1\); .*data\.encoding=latin-1$", Text(path=path).load)
    assert "café" in "".join(Text(path=path, encoding="latin-1").load().values())
