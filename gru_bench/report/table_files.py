"""Each table of a report as two files: CSV for a spreadsheet, LaTeX (booktabs) for a paper."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from markdown_it.token import Token

from gru_bench.report.markdown import UNKNOWN
from gru_bench.report.parsed import Table, plain, tables
from gru_bench.spreadsheet import as_cell

LONGEST_NAME = 80
BOOKTABS = r"needs \usepackage{booktabs}"
NUMBER = re.compile(r"[-+]?(\d+|\d{1,3}(,\d{3})+)?(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    # after the end of a line both would be read as an argument of \\
    "[": "{[}",
    "*": "{*}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "−": r"$-$",
    "–": "--",
    "…": r"\ldots{}",
}


def table_files(sections: Iterable[tuple[str, Sequence[Token]]]) -> dict[str, str]:
    """The text of each file by its name, ``SECTION-HEADING.csv`` and ``.tex``.

    Args:
        sections: Each section's title and tokens.
    """
    files: dict[str, str] = {}
    for title, tokens in sections:
        for table in tables(tokens):
            name = free(file_name(f"{title} {table.heading}"), files)
            files[f"{name}.csv"] = as_csv(table)
            files[f"{name}.tex"] = as_latex(table, ": ".join(filter(None, [title, table.heading])))
    return files


def file_name(text: str) -> str:
    """Lower-case ASCII letters, digits and hyphens: a name on every system."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", ascii_text)[:LONGEST_NAME].strip("-") or "table"


def free(name: str, files: Mapping[str, str]) -> str:
    """The name, numbered where it is taken."""
    number, found = 1, name
    while f"{found}.csv" in files:
        number += 1
        found = f"{name}-{number}"
    return found


def as_csv(table: Table) -> str:
    """Headers and rows as text without markup; an unknown value is empty, and a number has no thousands separators."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_cell(plain(cell)) for cell in table.columns])
    writer.writerows([csv_cell(plain(cell)) for cell in row] for row in table.rows)
    return out.getvalue()


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: what begins like one, and is no number, gets an apostrophe."""
    text = text.strip(" ")
    if text == UNKNOWN:
        return ""
    if text and NUMBER.fullmatch(text) and any(character.isdigit() for character in text):
        return text.replace(",", "")
    return as_cell(text)


def as_latex(table: Table, caption: str) -> str:
    """A ``tabular`` in the style of booktabs, under a comment that says what it is."""
    columns = "".join("r" if right else "l" for right in table.right)

    def line(cells: Sequence[Token]) -> str:
        return " & ".join(latex_cell(cell) for cell in cells) + r" \\"

    comment = " ".join(caption.split())
    return "\n".join(
        [
            f"% {comment}; {BOOKTABS}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def latex_cell(cell: Token) -> str:
    """A cell's text with code and emphasis as LaTeX has them; everything else is escaped."""
    opened = {"strong_open": r"\textbf{", "em_open": r"\emph{"}
    parts = []
    for token in cell.children or []:
        if token.type in opened:
            parts.append(opened[token.type])
        elif token.type in ("strong_close", "em_close"):
            parts.append("}")
        elif token.type == "code_inline":
            parts.append(rf"\texttt{{{latex(token.content)}}}")
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        else:
            parts.append(latex(plain(token) if token.type == "image" else token.content))
    return "".join(parts)


def latex(text: str) -> str:
    """Text without any character that LaTeX takes for a command."""
    return "".join(SPECIAL.get(character, character) for character in text if character.isprintable())
