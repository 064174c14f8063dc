"""The first page is read in minutes: the answer first, what was not measured in a line, the proof elsewhere."""

import re
from functools import cache
from pathlib import Path

import frames
import pytest
from made_scores import results, runs_of
from rendering import NAMES, node, render

from gru_bench.report.header import Made
from gru_bench.report.html import html
from gru_bench.report.markdown import Section
from gru_bench.report.pages import DETAILS, FIRST, Pages, pages
from gru_bench.report.parsed import parse
from gru_bench.report.view import View

MOST_WORDS = 950
"""Of a first page about seven tasks and four cells."""


@cache
def made() -> Pages:
    found = frames.realistic(6)
    placed: dict[str, list[Section]] = {FIRST: [], DETAILS: []}
    for name in sorted(NAMES, key=lambda name: node(name)["order"]):
        if node(name).get("page") == FIRST:
            placed[FIRST].append(render(name, found))
        else:  # the first page shows the title alone
            placed[DETAILS].append(Section(name.replace("_", " ").capitalize(), "Evidence."))
    return pages(View(found), Made({"experiment": "quick", "sweep": None}), placed)


def words(text: str) -> int:
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def test_the_first_page_is_short() -> None:
    assert words(made().markdown()["report.md"]) <= MOST_WORDS


def test_the_answer_comes_first_and_where_it_comes_from_last() -> None:
    page = made().markdown()["report.md"]
    head, first, *_ = page.split("\n## ")
    assert first.startswith("Verdict\n\n**On 7 tasks")
    assert words(head) < 60
    assert "gru-bench report" not in head
    assert page.rstrip().splitlines()[-1] == "Made by `gru-bench report experiment=quick`."


def test_what_is_brief_on_the_first_page_is_whole_among_the_details_and_linked() -> None:
    found = made()
    brief = [section for section in found.first if section.brief]
    assert {"Robustness", "The article's claims", "How to choose"} <= {section.title for section in brief}
    markdown = found.markdown()
    for section in brief:
        (whole,) = [one for one in found.details if one.title == f"{section.title} in full"]
        link = f"[{whole.title}](details.md#{whole.title.lower().replace(' ', '-').replace(chr(39), '')})"
        assert f"More: {link}." in markdown["report.md"]
        assert f"## {whole.title}\n\n{whole.markdown}" in markdown["details.md"]
        assert words(section.markdown) < words(whole.markdown)


def test_the_page_of_html_has_both_and_the_link_leads_within(tmp_path: Path) -> None:
    found = made()
    page = html(found, [(section, parse(section.markdown)) for section in found.sections()], tmp_path)
    assert 'href="#robustness-in-full"' in page
    assert '<details id="robustness-in-full">' in page
    assert "Made by <code>gru-bench report experiment=quick</code>" in page.split("</details>")[-1]


@pytest.mark.parametrize("name", ["robustness", "claims", "choose", "trust"])
def test_a_section_that_the_user_puts_among_the_details_stands_there_once(name: str) -> None:
    section = render(name, frames.realistic(6))
    found = pages(View(frames.realistic(2)), Made({"experiment": "quick", "sweep": None}), {DETAILS: [section]})
    assert [one.title for one in found.details] == [section.title]
    assert not found.first


def test_what_was_not_measured_is_a_line_and_no_row() -> None:
    found = frames.realistic(6)
    robust = render("robustness", found).brief
    assert "Not known of these runs: another budget; another backend; equal seconds" in robust
    assert "| another budget" not in robust
    chosen = render("choose", found).brief
    assert "Not measured: little data," in chosen
    assert "| not measured" not in chosen
    claims = render("claims", found).brief
    assert "Not tested by these runs: “… because their gradients vanish”" in claims
    assert "**not tested**" not in claims
    assert "| Plain RNNs cannot learn long dependencies " in claims
    assert "seeds that learn: adding: 0 of 6; copy_memory: 0 of 6; event_order: 0 of 6" in claims
    assert "adding: LSTM 0 of 6, GRU 6 of 6;" in claims


def test_runs_that_all_finished_are_a_sentence() -> None:
    text = render("coverage", results(runs_of("a", {"gru": [0.8, 0.9]}, learning_rate_from="trials"))).markdown
    assert "|" not in text
    assert "planned runs finished" in text
