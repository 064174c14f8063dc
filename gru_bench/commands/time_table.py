"""Timings as lines of text: one a pair, as it is measured."""

import math
from collections.abc import Mapping
from typing import Any

from gru_bench.statistics.ratios import FIRST, SECOND
from gru_bench.timing.pairs import FAMILIES

Facts = Mapping[str, Any]

OTHERS_SHOWN = 0.1
"""Cores in use by others from which a line says so."""
SITUATION = 9
"""Width of the first column where no task is named in it."""
COLUMNS = (
    ("T x B x H", 13),
    ("threads", 7),
    ("first (kernel)", 34),
    ("second (kernel)", 34),
    ("first ms", 9),
    ("second ms", 9),
)


def heading(first: int) -> str:
    """The names of the columns; ``first`` is the width of the first."""
    return f"{in_columns(('situation', *(name for name, _ in COLUMNS)), first)} finding"


def line(facts: Facts, first: int) -> str:
    """One timing; ``first`` is the width of the first column."""
    sizes = "x".join(str(facts[name]) for name in ("steps", "batch", "hidden_size_asked"))
    where = facts["task"] or ""
    situation = f"{facts['situation']} {where}".strip()
    if facts["status"] != "finished":
        head = (situation, sizes, facts["threads"], arm(facts, "first_"), arm(facts, "second_"))
        return f"{in_columns(head, first)} {facts['status']}: {facts['error']}"
    cells = (
        situation,
        sizes,
        facts["threads"],
        arm(facts, "first_"),
        arm(facts, "second_"),
        milliseconds(facts["first_ms"]),
        milliseconds(facts["second_ms"]),
    )
    return "; ".join([f"{in_columns(cells, first)} {finding(facts)}", *notes(facts)])


def in_columns(cells: tuple[Any, ...], first: int) -> str:
    """Texts under the headings; what is longer than its column moves the rest."""
    widths = (first, *(width for _, width in COLUMNS))
    return " ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=False))


def arm(facts: Facts, prefix: str) -> str:
    """A cell on a backend, with its size where the budget changed it and the kernel that ran."""
    name = f"{facts[f'{prefix}cell']} {facts[f'{prefix}backend']}"
    if facts.get(f"{prefix}hidden_size") not in (None, facts["hidden_size_asked"]):
        name += f" H={facts[f'{prefix}hidden_size']}"
    kernel = facts.get(f"{prefix}kernel")
    return f"{name} ({kernel})" if kernel else name


def milliseconds(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def finding(facts: Facts) -> str:
    """Who is faster, by how much, or that the gap is no larger than the noise."""
    ratio, low, high, floor = (float(facts[name]) for name in ("ratio", "ratio_low", "ratio_high", "floor"))
    if facts["finding"] == FIRST:
        return f"{faster(facts, 'first_')} {ratio:.2f} times as fast ({low:.2f} to {high:.2f}), floor {floor:.3f}"
    if facts["finding"] == SECOND:
        name = faster(facts, "second_")
        return f"{name} {1 / ratio:.2f} times as fast ({1 / high:.2f} to {1 / low:.2f}), floor {floor:.3f}"
    outside = low > floor or high < 1 / floor
    what = "not called on a busy machine" if outside else f"inside noise (floor {floor:.3f})"
    return f"{what}: {ratio:.2f} ({low:.2f} to {high:.2f})"


def faster(facts: Facts, prefix: str) -> str:
    """What tells an arm from the other."""
    cells = facts["first_cell"], facts["second_cell"]
    backends = facts["first_backend"], facts["second_backend"]
    if cells[0] == cells[1]:
        return str(facts[f"{prefix}backend"])
    cell = str(facts[f"{prefix}cell"])
    cell = cell.upper() if cell in FAMILIES else cell
    return cell if backends[0] == backends[1] else f"{cell} on {facts[f'{prefix}backend']}"


def notes(facts: Facts) -> list[str]:
    """What else a reader must know."""
    found = []
    if not math.isnan(facts.get("first_p50_us") or math.nan):
        quantiles = [
            "/".join(f"{facts[f'{prefix}{name}']:.3g}" for name in ("p50_us", "p90_us", "p99_us"))
            for prefix in ("first_", "second_")
        ]
        found.append(f"p50/p90/p99 {quantiles[0]} and {quantiles[1]} µs")
    if facts["repeated"]:
        found.append(f"{facts['rounds']} rounds count, {facts['repeated']} were disturbed")
    if facts.get("warm") is False:
        found.append("times had not settled")
    if facts["others_cores"] > OTHERS_SHOWN:
        found.append(f"others used {facts['others_cores']:.1f} cores")
    if facts["forced"]:
        found.append("forced on a busy machine")
    return found
