"""How far to trust this page: what its statistics promise, and whether they keep it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gru_bench.compare.compared import ALPHA, Compared, primary, secondary
from gru_bench.report.markdown import Section, known, number, paragraphs, table
from gru_bench.report.view import View
from gru_bench.statistics import verdict as statistics
from gru_bench.statistics.crossed import Estimate
from gru_bench.statistics.looks import nominal_level

CALIBRATION = Path(statistics.__file__).with_name("calibration.json")
"""Made by ``bench/calibration.py``."""
INTRODUCTION = (
    "The statistics of this page were run on simulated scores whose truth is known (normal, skewed, and in two modes), "
    "on reports of six tasks. Measured is the range over these."
)


def render(view: View, /, *, calibration: str | None) -> Section:
    """Answer: do the intervals and verdicts of this page keep what they promise?

    Args:
        view: All runs.
        calibration: Another table of measured error rates than the shipped one; null for that.
    """
    found = primary(view) or secondary(view)
    if not found:
        return Section("How far to trust this page", "")
    path = Path(calibration) if calibration else CALIBRATION
    measured = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    promised = [row for row in measured["rows"] if row.get("promised", True)]
    parts = (
        [INTRODUCTION, promises(promised), failures(promised)] if promised else ["The statistics were not calibrated."]
    )
    bullets = "\n".join(f"- {line}" for line in (looked(view), noise(found)) if line)
    brief = paragraphs(f"{kept(promised)} {looked(view)}", failures(promised)) if promised else ""
    return Section("How far to trust this page", paragraphs(*parts, bullets), brief=brief)


def kept(rows: list[dict[str, Any]]) -> str:
    """How many promises of the statistics hold in simulations, in a sentence."""
    held = sum(bool(row["within"]) for row in rows)
    return (
        f"In simulations whose truth is known, the statistics of this page kept what they promise in {held} of "
        f"{len(rows)} cases."
    )


def promises(rows: list[dict[str, Any]]) -> str:
    """One row a promise, over all shapes of scores and numbers of seeds."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["what"], []).append(row)
    lines = []
    for what, found in grouped.items():
        nominal, measured = ([row[name] for row in found] for name in ("nominal", "measured"))
        kept = sum(bool(row["within"]) for row in found)
        seeds = dict.fromkeys(str(row["n"]) for row in found)
        lines.append([what, ", ".join(seeds), percent(nominal), percent(measured), f"{kept} of {len(found)}"])
    return table(["promise", "seeds", "promised", "measured", "kept"], lines, {"promised", "measured", "kept"})


def failures(rows: list[dict[str, Any]]) -> str:
    """Which promises are not kept, in a sentence."""
    broken = [f"{row['what']}, {row['scores']}, {row['n']} seeds" for row in rows if not row["within"]]
    return f"Not kept: {'; '.join(broken)}." if broken else ""


def percent(values: list[float]) -> str:
    """``4.8 %``, or from the smallest to the largest."""
    ends = [f"{100 * value:.1f}".removesuffix(".0") for value in (min(values), max(values))]
    return f"{' to '.join(dict.fromkeys(ends))} %"


def looked(view: View) -> str:
    """Whether the seeds were added until something was decided, and what that costs."""
    looks = max((int(value) for value in view.runs["looks"] if known(value)), default=1)
    if looks == 1:
        return "The number of seeds was fixed before the runs, so nothing is corrected for looking at growing results."
    level = number(100 * nominal_level(ALPHA, looks), 2)
    return (
        f"Seeds were added while pairs were undecided, with at most {looks} looks planned: each look is held to "
        f"{level} % instead of {100 * ALPHA:g} %, so that all together err in at most {100 * ALPHA:g} % of cases."
    )


def noise(found: list[Compared]) -> str:
    """How the variance of the differences divides into seeds and test examples."""
    shares = [
        one.estimate.example_se**2 / one.estimate.se**2
        for one in found
        if isinstance(one.estimate, Estimate) and one.num_examples and 0 < one.estimate.se < math.inf
        and math.isfinite(one.estimate.example_se)
    ]  # fmt: skip
    alike = [isinstance(one.estimate, Estimate) and one.num_examples and not one.estimate.se for one in found]
    if not shares and alike and all(alike):
        return (
            "No seed of one cell differed from that of the other on any test example: the intervals are what so many "
            "examples without a difference leave open."
        )
    if not shares:
        return "Only the noise of the seeds is known: the intervals do not cover other test data."
    low, high, middle = (f"{100 * value:.0f}" for value in (min(shares), max(shares), float(np.median(shares))))
    return (
        f"Of the variance of a difference, test examples make {middle} % (median; {low} to {high} % by task) and "
        "seeds the rest: more seeds shrink the seeds' part alone."
    )
