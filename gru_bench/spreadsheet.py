"""Cells of a CSV file that no spreadsheet takes for a formula."""

import re

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""By these first characters a spreadsheet takes a cell for a formula, or reads on for one (OWASP, CSV injection)."""
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?inf", re.IGNORECASE)


def as_cell(text: str) -> str:
    """The text with an apostrophe in front where it begins like a formula and is no number."""
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """What :func:`as_cell` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
