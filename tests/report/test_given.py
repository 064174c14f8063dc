"""A store whose every text is hostile: the report is made, and shows the texts themselves, in each format."""

import csv
import dataclasses
import io
import re
import string
import warnings
from html.parser import HTMLParser
from pathlib import Path

import frames
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rendering import write

from gru_bench.errors import UserError
from gru_bench.report import files
from gru_bench.report.given import as_markdown, as_text, hide
from gru_bench.report.names import safe_name
from gru_bench.report.parsed import parse, plain
from gru_bench.spreadsheet import as_cell, from_cell
from gru_bench.store.results_csv import read_csv
from gru_bench.store.schema import RUN_FACTS, TEXT

HOSTILE = (
    '<script>alert(1)</script><img src=x onerror="alert(2)"> ![x](http://evil.example/x.png) [y](http://evil.example) '
    "`code` $$ $\\frac{ **b** _e_ ~~s~~ | # h\n# second\n- list"
)
FORMULAS = ['=HYPERLINK("http://evil.example")', "+cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3", "\t=1", "\r=1"]
KEYS = {"run_id", "sweep", "config_key", "group_key", "status", "role", "family", "search_key", "primary_metric"}


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    results = frames.small()
    runs, values = results.runs, results.values
    for number, (name, fact) in enumerate(RUN_FACTS.items()):
        if fact.kind == TEXT and name not in KEYS:
            before = runs[name].astype("object").where(runs[name].notna(), "x")
            runs[name] = [f"{FORMULAS[number % len(FORMULAS)]} {text} {HOSTILE}" for text in before]
    runs["env_cpu"] = HOSTILE
    values["unit"] = HOSTILE
    cut = values.iloc[:2].assign(slice=HOSTILE, slice_value="$$ " + HOSTILE)
    with warnings.catch_warnings():  # the labels are longer than the figure is wide
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        write(folder, dataclasses.replace(results, values=pd.concat([values, cut], ignore_index=True)))
    return folder


def test_no_element_of_the_page_is_given(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.found].count("script") == 1
    for tag, attributes in page.found:
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "img" or str(attributes["src"]).startswith("data:image/")
        assert "evil" not in str(attributes.get("href"))
    assert '<script>alert(1)</script><img src=x onerror="alert(2)">' in "".join(page.text)


@pytest.mark.parametrize("name", ["report.md", "details.md"])
def test_markdown_shows_the_texts_themselves(folder: Path, name: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    raw = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = [child for token in raw.parse(text) for child in (token, *(token.children or []))]
    for token in tokens:
        assert token.type not in ("html_block", "html_inline", "s_open")
        assert "evil" not in str(token.attrGet("src")) + str(token.attrGet("href"))
        if token.type == "image":
            assert str(token.attrGet("src")).startswith("figures/")
    assert "<script>" in "".join(token.content for token in tokens if token.type == "text")
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1


def test_no_cell_of_a_spreadsheet_is_a_formula(folder: Path) -> None:
    tables = [folder / "results.csv", *folder.glob("tables/*.csv")]
    assert len(tables) > 5
    for path in tables:
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))):
            for cell in row:
                if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                    float(cell.removesuffix("%"))


def test_results_csv_gives_the_texts_back(folder: Path) -> None:
    runs = read_csv(folder / "results.csv").runs
    assert all(text.endswith(HOSTILE) and text.startswith(tuple(FORMULAS)) for text in runs["task"])


def test_all_files_stay_in_the_folder(folder: Path) -> None:
    names = {path.name for path in folder.rglob("*")}
    assert all(re.fullmatch(r"\w[\w.-]*", name) for name in names)


@drawn(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Co", "Cc", "Zs", "Zl", "Zp"]), min_size=1))
@settings(derandomize=True, deadline=None)
def test_any_text_is_shown_as_itself(text: str) -> None:
    hidden = hide(text)
    raw = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    (inline,) = [token for token in raw.parse(as_markdown(f"### x {hidden} x")) if token.type == "inline"]
    assert plain(inline) == f"x {as_text(hidden)} x"
    cells = [t for t in parse(as_markdown(f"| a |\n| - |\n| `{hidden}` |")) if t.type == "inline"]
    assert [plain(cell) for cell in cells][1] == as_text(hidden).replace("`", "ˋ")


@drawn(st.text(max_size=12), st.text(alphabet="'=+-@\t\r1.5e", max_size=8))
@settings(derandomize=True)
def test_cells_come_back_and_are_no_formulas(one: str, other: str) -> None:
    for text in (one, other):
        assert from_cell(as_cell(text)) == text
        if as_cell(text).startswith(("=", "+", "-", "@", "\t", "\r")):
            float(as_cell(text))


@pytest.mark.parametrize("text", ["quick", "gru_article", "a-b", "v1.2", "long_range_quick", "Größe"])
def test_ordinary_names_stay(text: str) -> None:
    assert safe_name(text) == text


@pytest.mark.parametrize(
    "text",
    ["../../../x", "/tmp/x", "..", ".", "", "-rf", ".hidden", "a/b", "a\\b", "C:\\x", "con", "nul.txt", "a\0b", "a\nb",
     "x" * 300, "a..b", "a.", "~", "$HOME", "a b", "NUL", "e\u0301", "\udcff"],
    ids=repr,
)  # fmt: skip
def test_a_name_stays_in_its_folder(text: str, tmp_path: Path) -> None:
    name = safe_name(text)
    assert len(name) <= 100
    assert not set(name) & set('/\\:*?"<>|~$ ' + string.whitespace + "\0")
    assert not name.startswith((".", "-"))
    (tmp_path / name).mkdir()
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert safe_name(name) == name


@drawn(st.text(max_size=10), st.text(max_size=10))
@settings(derandomize=True)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


# beside, then swapped


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("breaks", ["write_results", "write_pages", "replace"])
def test_a_report_that_fails_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    write(tmp_path, frames.small(), ["summary", "environment"])
    before = contents(tmp_path)
    if breaks == "replace":
        real, calls = files.os.replace, iter(range(1000))

        def replace(one: Path, other: Path) -> None:
            if next(calls) == 7:
                raise OSError("no space left")
            real(one, other)

        monkeypatch.setattr(files.os, "replace", replace)
    else:
        monkeypatch.setattr(files, breaks, lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write(tmp_path, frames.small(), ["summary"])
    assert contents(tmp_path) == before


def test_only_files_of_a_report_are_replaced_or_deleted(tmp_path: Path) -> None:
    mine = {"figures/mine.png": b"x", "tables/mine.csv": b"y", "notes.txt": b"z"}
    write(tmp_path, frames.small(), ["summary", "environment"])
    old = contents(tmp_path)
    for name, content in mine.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path, frames.small(), ["environment"])
    write(tmp_path / "fresh", frames.small(), ["environment"])
    fresh = contents(tmp_path / "fresh")
    now = {name: content for name, content in contents(tmp_path).items() if not name.startswith("fresh")}
    assert now == fresh | mine
    assert set(old) - set(fresh)


def test_a_file_that_is_not_of_a_report_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("mine")
    with pytest.raises(UserError, match=r"results\.csv that is not of a report"):
        write(tmp_path, frames.small(), ["environment"])
    assert contents(tmp_path) == {"results.csv": b"mine"}
