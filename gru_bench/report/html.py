"""The report as one file of HTML: no request to any network, nothing of the data is markup or a script.

Text comes from the same markdown as the pages. Raw HTML in it is shown as text, links lead to ``http``, ``https`` or
within the page only, pictures are those of the report alone. A content security policy allows the one style and the
one script of this folder, by their digests, and pictures that are part of the file.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from gru_bench.report.markdown import Section
from gru_bench.report.pages import DETAILS, FIRST, Pages, anchors
from gru_bench.report.parsed import is_right, parse, parser, plain

FIGURE = re.compile(r"figures/([\w.-]+)\.png")
WITHIN = re.compile(rf"(?:{DETAILS}|{FIRST})\.md(?:#(.*))?|#(.*)")
LARGEST_SVG = 100_000
"""Bytes. A larger drawing is embedded as PNG where that is the smaller file."""

Parsed = Sequence[tuple[Section, Sequence[Token]]]
"""Sections with their tokens."""


def html(found: Pages, parsed: Parsed, figures: Path) -> str:
    """The whole page.

    Args:
        found: The report.
        parsed: All its sections in their order, the first page's first.
        figures: Folder of the figures as they were saved.
    """
    style, script = asset("page.css"), asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{digest(style)}'; script-src '{digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    to_html = Renderer(figures)
    first, details = parsed[: len(found.first)], parsed[len(found.first) :]
    ids = dict(zip(map(id, found.sections()), [*first_ids(found), *anchors(titles(found.details))], strict=True))
    answers = [f'<section id="{ids[id(s)]}"><h2>{inline(s.title)}</h2>\n{to_html(t)}</section>' for s, t in first]
    evidence = [
        f'<details id="{ids[id(s)]}"><summary><h2>{inline(s.title)}</h2></summary>\n{to_html(t)}</details>'
        for s, t in details
    ]
    title = plain(parse(found.head)[1])
    contents = "".join(f'<li><a href="#{ids[id(s)]}">{inline(s.title)}</a></li>' for s in found.details)
    menu = "".join(f'<a href="#{ids[id(s)]}">{inline(s.title)}</a>' for s in found.first)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<nav>
{menu}<a href="#{DETAILS}">Details</a>
<span class="buttons"><button id="unfold">Fold or unfold</button><button id="theme">Light or dark</button></span>
</nav>
<main>
{to_html(parse(found.head))}
{chr(10).join(answers)}
<h2 id="{DETAILS}">Details</h2>
<ul class="contents">{contents}</ul>
{chr(10).join(evidence)}
{to_html(parse(found.foot))}
</main>
<script>{script}</script>
</body>
</html>
"""


def titles(sections: Sequence[Section]) -> list[str]:
    """Their headings."""
    return [section.title for section in sections]


def first_ids(found: Pages) -> list[str]:
    """Anchors of the first page; those of the details are theirs alone, since links of both pages become one page's."""
    return [f"{FIRST}-{anchor}" for anchor in anchors(titles(found.first))]


def asset(name: str) -> str:
    """A file that lies beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """What a content security policy calls an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def inline(markdown: str) -> str:
    """A heading's text."""
    return str(parser().renderInline(markdown))


class Renderer:
    """Tokens to HTML, with the figures of a folder in place.

    Args:
        figures: The folder. A figure that is not there is shown by its description.
    """

    def __init__(self, figures: Path):
        self.figures = figures
        self.markdown: MarkdownIt = parser()
        rules: dict[str, Any] = {
            "image": self._image,
            "link_open": self._link_open,
            "link_close": self._link_close,
            "table_open": lambda *_: '<div class="scroll"><table>\n',
            "table_close": lambda *_: "</table></div>\n",
            "th_open": self._cell,
            "td_open": self._cell,
        }
        self.markdown.renderer = RendererHTML()
        self.markdown.renderer.rules |= rules

    def __call__(self, tokens: Sequence[Token]) -> str:
        return str(self.markdown.renderer.render(list(tokens), self.markdown.options, {}))

    def _cell(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        """A cell's alignment as a class: the policy allows no style of its own."""
        return f'<{tokens[index].tag} class="right">' if is_right(tokens[index]) else f"<{tokens[index].tag}>"

    def _image(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        """A figure of this report within the page; any other picture, which data may ask for, as its description."""
        shown = escape(plain(tokens[index]))
        name = FIGURE.fullmatch(str(tokens[index].attrGet("src") or ""))
        if name is None or not (self.figures / f"{name[1]}.png").is_file():
            return shown
        kind, content = smaller(self.figures / f"{name[1]}.svg", self.figures / f"{name[1]}.png")
        data = base64.b64encode(content).decode()
        return f'<span class="figure"><img alt="{shown}" src="data:image/{kind};base64,{data}"></span>'

    def _link_open(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        target = address(str(tokens[index].attrGet("href") or ""))
        return f'<a href="{escape(target)}" rel="noreferrer">' if target else "<span>"

    def _link_close(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        """Links are not nested, so the nearest opening before this one is its own."""
        opened = next(token for token in reversed(tokens[:index]) if token.type == "link_open")
        return "</a>" if address(str(opened.attrGet("href") or "")) else "</span>"


def address(target: str) -> str:
    """Where a link of the markdown leads on this page; nothing where it leads to a file or to anything odd."""
    if within := WITHIN.fullmatch(target):
        return f"#{within[1] or within[2] or DETAILS}"
    return target if target.lower().startswith(("http://", "https://")) else ""


def smaller(svg: Path, png: Path) -> tuple[str, bytes]:
    """The drawing where it is small, since it stays sharp; else the smaller file. With its kind."""
    if svg.stat().st_size <= min(LARGEST_SVG, 4 * png.stat().st_size) or svg.stat().st_size <= png.stat().st_size:
        return "svg+xml", svg.read_bytes()
    return "png", png.read_bytes()
