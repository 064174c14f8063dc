"""Comparisons: every pair of cells that the verdict is made of, with p and both sources of noise."""

import math

from gru_bench.compare.compared import Compared, primary, secondary
from gru_bench.compare.wording import against, effect, n_text, row_name, verdict_text
from gru_bench.report.markdown import Section, number, paragraphs, table
from gru_bench.report.view import View
from gru_bench.statistics.crossed import Estimate
from gru_bench.statistics.looks import MIN_SEEDS
from gru_bench.statistics.significance import wilcoxon_p

TEXT = (
    "The first cell better by how much, with the interval at the level at which Holm's procedure tests its row in its "
    "table. The standard error falls into a part that shrinks with more seeds and one that shrinks with more test "
    "examples alone. p is of the row by itself, then adjusted for the table and for repeated looks, and last of "
    "Wilcoxon's signed ranks over the seeds, which decides nothing. Perplexities are compared by their logarithm, "
    "times the geometric mean of those compared."
)


MOST_NAMED = 4
"""Comparisons that a note names."""


def render(view: View, /) -> Section:
    """Answer: what does each verdict stand on: effect, interval, p, and the two sources of noise?

    Args:
        view: All runs.
    """
    families = {"Primary: these decide the verdict": primary(view), "Secondary: a family of their own": secondary(view)}
    parts = [part for title, found in families.items() if found for part in (f"### {title}", comparison_table(found))]
    said: dict[str, list[str]] = {}
    for one in (one for found in families.values() for one in found):
        for text in [*one.notes, *one.marks]:
            said.setdefault(text, []).append(f"{against(one)} on {row_name(one)}")
    notes = [f"- {text[0].upper()}{text[1:]}: {listed(where)}." for text, where in said.items()]
    return Section("Comparisons", paragraphs(TEXT, *parts, "\n".join(notes)) if parts else "")


def listed(names: list[str]) -> str:
    """Names, or the first of them and how many more."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'; '.join(names[:MOST_NAMED])}{more}"


def comparison_table(found: list[Compared]) -> str:
    """One row a comparison."""
    columns = ["cells", "task", "verdict", "first better by (interval)", "n", "se, seeds", "se, examples",
               "p", "adjusted p", "Wilcoxon"]  # fmt: skip
    return table(columns, [row(one) for one in found], set(columns[5:]))


def row(one: Compared) -> list[str]:
    """One comparison."""
    parts = [one.estimate.seed_se if isinstance(one.estimate, Estimate) else math.nan, one.estimate.example_se]
    usable = one.kind == "mean" and len(one.seeds) > 0 and bool(abs(one.by_seed).max() < math.inf)
    wilcoxon = number(wilcoxon_p(one.by_seed), 2) if usable else number(None)
    ps = (
        [number(one.verdict.p, 2), number(one.verdict.adjusted_p, 2)]
        if len(one.seeds) >= MIN_SEEDS
        else [number(None)] * 2
    )
    return [against(one), row_name(one), verdict_text(one), effect(one), n_text(one),
            *(number(part, 2) for part in parts), *ps, wilcoxon]  # fmt: skip
