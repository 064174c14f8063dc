"""Which section stands on which page, and the two pages of markdown: the report of two screens, and its details."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gru_bench.redact import without_secrets
from gru_bench.report.given import as_markdown, as_text
from gru_bench.report.header import Made, header
from gru_bench.report.markdown import Section, paragraphs
from gru_bench.report.names import safe_name
from gru_bench.report.view import View

FIRST, DETAILS = PAGES = ("report", "details")
"""Values of the key ``page`` of a section; also the names of the two files, less ``.md``."""

Placed = Mapping[str, Sequence[Section]]
"""The sections of each page in their order."""


@dataclass(frozen=True)
class Pages:
    """A report before it is written.

    Attributes:
        head: Title, question, which runs, and what makes the report again.
        first: The sections that answer.
        details: The evidence.
        timed: Whether there is a file of timings.
    """

    head: str
    first: list[Section]
    details: list[Section]
    timed: bool = False

    def sections(self) -> list[Section]:
        """All of them, the first page's first."""
        return [*self.first, *self.details]

    def markdown(self) -> dict[str, str]:
        """The text of each page by its file's name."""
        title = self.head.splitlines()[0]
        listed = links([section.title for section in self.details])
        evidence = [f"Evidence, on a page of its own: {' · '.join(listed)}."] if listed else []
        timings = " Every number of a timing, one pair per line: [timings.csv](timings.csv)." if self.timed else ""
        files = (
            "The same in one file that needs no network: [report.html](report.html). Every number of a run, one per "
            f"line: [results.csv](results.csv).{timings} Each table as CSV and LaTeX: [tables](tables). These files "
            "are generated: edit the code that wrote them instead."
        )
        contents = " · ".join(listed).replace(f"{DETAILS}.md", "") or "No section had anything to show of these runs."
        back = f"{title}: details\n\nBack to [the report](report.md). On this page: {contents}"
        return {
            f"{FIRST}.md": text([self.head, *map(with_title, self.first), *evidence, files]),
            f"{DETAILS}.md": text([back, *map(with_title, self.details)]),
        }


def pages(view: View, made: Made, placed: Placed) -> Pages:
    """Sort the sections by page; those that say nothing are left out.

    Where there are timings and no runs, sections of the details that lead then are on the first page.

    Args:
        view: All runs.
        made: What the report was made with.
        placed: All sections by the name of their page.
    """
    first, details = ([section for section in placed.get(page, ()) if section.markdown] for page in PAGES)
    if view.all_runs.empty:
        first += [one for one in details if one.leads]
        details = [part for one in details for part in ([one.rest] if one.leads else [one]) if part is not None]
    return Pages(
        as_markdown(without_secrets(header(view, made))),
        list(map(spelled, first)),
        list(map(spelled, details)),
        bool(view.timings or view.timed_before or view.not_timed),
    )


def spelled(section: Section) -> Section:
    """A section with the characters of given texts in place, and without secrets."""
    markdown, figures = section.markdown, {}
    for name in sorted(section.figures, key=len, reverse=True):  # some are named after a task
        file = safe_name(as_text(name))
        markdown = markdown.replace(f"figures/{name}.png", f"figures/{file}.png")
        figures[file] = section.figures[name]
    title, markdown = (as_markdown(without_secrets(text)) for text in (section.title, markdown))
    return replace(section, title=title, markdown=markdown, figures=figures)


def text(parts: Sequence[str]) -> str:
    """Parts as a file's text."""
    return paragraphs(*parts) + "\n"


def with_title(section: Section) -> str:
    """A section under its title."""
    return f"## {section.title}\n\n{section.markdown}"


def links(titles: Sequence[str]) -> list[str]:
    """A link to each title of the details."""
    return [f"[{title}]({DETAILS}.md#{anchor})" for title, anchor in zip(titles, anchors(titles), strict=True)]


def anchors(titles: Sequence[str]) -> list[str]:
    """The anchor that GitHub gives each title: lower case, hyphens for spaces, no punctuation, numbered if repeated."""
    found: list[str] = []
    seen: dict[str, int] = {}
    for title in titles:
        plain = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        times = seen.setdefault(plain, 0)
        seen[plain] += 1
        found.append(f"{plain}-{times}" if times else plain)
    return found
