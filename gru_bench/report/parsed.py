"""The markdown of sections as tokens, and the tables in it: what HTML, CSV and LaTeX are made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token


@dataclass(frozen=True)
class Table:
    """One table of a section.

    Attributes:
        heading: The last heading before it within its section, as plain text; empty without one.
        columns: Headers, each as its inline tokens.
        rows: Cells, likewise.
        right: Which columns are set flush right: the numeric ones.
    """

    heading: str
    columns: list[Token]
    rows: list[list[Token]]
    right: list[bool]


def parser() -> MarkdownIt:
    """CommonMark with tables, as GitHub has them. Raw HTML is text: it may come from data."""
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def parse(markdown: str) -> list[Token]:
    """The tokens of a section's text."""
    return parser().parse(markdown)


def plain(inline: Token) -> str:
    """The text of an inline token without markup; of an image, what it shows."""
    parts = []
    for token in inline.children or []:
        if token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif token.type == "image":
            parts.append(plain(token))
        else:
            parts.append(token.content)
    return "".join(parts)


def tables(tokens: Sequence[Token]) -> Iterator[Table]:
    """The tables in their order."""
    heading = ""
    lines: list[list[Token]] = []
    right: list[bool] = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            heading = plain(following)
        elif token.type == "table_open":
            lines, right = [], []
        elif token.type == "tr_open":
            lines.append([])
        elif token.type in ("th_open", "td_open") and following is not None:
            lines[-1].append(following)
            if token.type == "th_open":
                right.append(is_right(token))
        elif token.type == "table_close":
            yield Table(heading, lines[0], lines[1:], right)


def is_right(cell: Token) -> bool:
    """Whether a cell of a table is set flush right."""
    return "right" in str(cell.attrGet("style") or "")
