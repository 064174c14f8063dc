"""The report as HTML, CSV and LaTeX: nothing of the data is markup, a script, a formula or a request."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import frames
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rendering import write

from gru_bench.report.html import Renderer
from gru_bench.report.markdown import Section, table
from gru_bench.report.pages import anchors
from gru_bench.report.parsed import parse
from gru_bench.report.table_files import csv_cell, latex, table_files

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "`code` ``",
    "[click](javascript:alert(1))",
    "[out](data:text/html,x)",
    "![x](http://evil.example/x.png)",
    "![x](figures/../../secret.png)",
    '"><img src=x onerror=alert(1)>',
    "<http://evil.example>",
    "&lt;b&gt;",
    "[a]: http://evil.example",
]


class Page(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def names(self) -> list[str]:
        return [tag for tag, _ in self.found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of results whose every text is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    results = frames.small()
    runs = results.runs.copy()
    runs["notes"] = " ".join(HOSTILE)
    runs["error"] = "=1+1 " + HOSTILE[0]
    runs["experiment"] = HOSTILE[0]
    runs["task"] = "adding <script>alert(1)</script> [t](javascript:x) ![i](http://evil.example/i.png)"
    object.__setattr__(results, "runs", runs)
    write(folder, results)
    return folder


def test_one_script_and_one_style_of_our_own(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.names().count("script") == 1
    assert page.names().count("style") == 1
    for _, attributes in page.found:
        assert not any(name.startswith("on") or name == "style" for name in attributes)


def test_the_page_asks_no_network_for_anything(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    sources = [value for _, attributes in page.found for name, value in attributes.items() if name in ("src", "srcset")]
    assert sources
    assert all(str(source).startswith("data:image/") for source in sources)
    assert not {"link", "iframe", "object", "embed", "base", "form", "video", "audio"} & set(page.names())
    assert "url(" not in text
    assert "@import" not in text
    for tag, attributes in page.found:
        if (target := attributes.get("href")) is not None:
            assert tag == "a"
            assert str(target).startswith(("#", "http://", "https://"))
    policy = next(a["content"] for t, a in page.found if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)


def test_links_within_the_page_lead_somewhere(folder: Path) -> None:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    ids = [str(attributes["id"]) for _, attributes in page.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    inner = {str(a["href"])[1:] for t, a in page.found if t == "a" and str(a["href"]).startswith("#")}
    assert {"details", "summary", "environment"} <= inner <= set(ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_the_data_stays_text(text: str, tmp_path: Path) -> None:
    names = Page(Renderer(tmp_path)(parse(f"{table(['a', 'b'], [[text, '1']])}\n\n- {text}"))).names()
    assert not {"script", "img", "b", "iframe"} & set(names)
    assert names.count("td") == 2


def test_a_link_that_is_not_followed_is_no_link(tmp_path: Path) -> None:
    shown = Renderer(tmp_path)(parse("[f](file.md) [d](details.md#cost) [h](https://example.org/x)"))
    assert shown.count("<a ") == 2
    assert 'href="#cost"' in shown
    assert shown.count("<span>") == shown.count("</span>") == 1


@pytest.mark.slow
def test_a_page_of_a_thousand_runs_is_small(tmp_path: Path) -> None:
    results = frames.realistic(36)
    assert len(results.runs) > 1000
    write(tmp_path, results)
    assert (tmp_path / "report.html").stat().st_size <= 2_000_000


# tables


@given(st.text(max_size=20))
@settings(derandomize=True)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = csv_cell(text)
    if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        float(cell)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("12,300", "12300"),
        ("-0.5", "-0.5"),
        ("1.2e-05", "1.2e-05"),
        ("=A1", "'=A1"),
        ("-1 .. 2", "'-1 .. 2"),
        ("@x", "'@x"),
        ("–", ""),
        ("1,2", "1,2"),
        ("gru", "gru"),
    ],
)
def test_csv_cells(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


def test_tables_of_a_section_have_names_of_their_own() -> None:
    text = table(["a", "n"], [["x|y", "1,000"], ["`r_1`", "–"]], {"n"})
    files = table_files([("Cost", parse(f"{text}\n\n### By Länge: ↑\n\n{text}\n\n{text}")), ("Cost", parse(text))])
    assert list(files)[::2] == ["cost.csv", "cost-by-lange.csv", "cost-by-lange-2.csv", "cost-2.csv"]
    assert list(csv.reader(io.StringIO(files["cost.csv"]))) == [["a", "n"], ["x|y", "1000"], ["r_1", ""]]
    lines = files["cost.tex"].splitlines()
    assert lines[1:6] == [r"\begin{tabular}{lr}", r"\toprule", r"a & n \\", r"\midrule", r"x\textbar{}y & 1,000 \\"]
    assert lines[6] == r"\texttt{r\_1} & -- \\"


@given(st.text(alphabet="\\{}$&#^_~%<>|[]*a1 ", max_size=12))
@settings(derandomize=True)
def test_no_character_of_the_data_is_a_command(text: str) -> None:
    left = re.sub(r"\\(text\w+|[{}$&#_%])(\{\})?|\{[\[*]\}", "", latex(text))
    assert not re.search(r"[\\{}$&#^_~%]", left)


def test_the_head_holds_no_raw_html(folder: Path) -> None:
    head = (folder / "report.md").read_text(encoding="utf-8").split("\n## ")[0]
    tokens = MarkdownIt("commonmark").enable("table").parse(head)
    kinds = {child.type for token in tokens for child in [token, *(token.children or [])]}
    assert not {"html_block", "html_inline", "image"} & kinds


def test_anchors_are_those_of_github() -> None:
    assert anchors(["Failed, unsupported and missing runs", "A b", "A b"]) == [
        "failed-unsupported-and-missing-runs",
        "a-b",
        "a-b-1",
    ]
    assert Section("x", "").figures == {}


def test_script_and_style_travel_with_the_package() -> None:
    assert {"page.css", "page.js"} <= {path.name for path in (REPOSITORY / "gru_bench" / "report").iterdir()}
