"""Headcount: how many runs did each cell have?"""

from gru_bench.report.markdown import Section, table
from gru_bench.report.view import View


def render(view: View, /, *, fewest: int) -> Section:
    """Answer: how many finished runs stand behind each cell?

    Args:
        view: All runs.
        fewest: Cells with fewer are left out.
    """
    counts = view.runs.loc[view.runs["status"] == "finished", "cell"].value_counts()
    rows = [[str(cell), str(count)] for cell, count in sorted(counts.items()) if count >= fewest]
    return Section("Headcount", table(["cell", "finished runs"], rows, {"finished runs"}) if rows else "")
