"""Score by part: on which parts of the test data do the cells differ?"""

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import TRIVIAL, handle, legend_below, looks, panels, seed_range, style
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, heading, paragraphs, plural, table
from gru_bench.report.parts import Parts, as_number, cut
from gru_bench.report.view import View

TEXT = (
    "Test scores of the same trained models on parts of the test data: mean ± standard deviation over the seeds; in "
    "the figure, bars from the smallest to the largest seed. Parts differ in size and in how hard they are to guess "
    "(dashed: the trivial guess, where it is known), so compare cells within a part, not parts with each other."
)
SPREAD = 0.5
"""How much of the room between two parts the cells' marks take."""


def render(view: View, /, *, without: list[str], most_values: int) -> Section:
    """Answer: on which parts of the test data do the cells differ?

    Args:
        view: All runs.
        without: Slices that are left out.
        most_values: Values of one slice that are shown.
    """
    found = [parts for task in view.tasks for parts in parts_of(task, view, without)]
    if not found:
        return Section("Score by part", "")
    told = [TEXT, "![Test score of each cell on each part of the test data](figures/score_by_part.png)"]
    for parts in found:
        shown = parts.values[:most_values]
        columns = ["cell", *(f"{parts.name} {value}" for value in shown)]
        told += [
            f"### {heading(parts.task.task, parts.task.generated)}: {parts.metric} by {parts.name}",
            table(columns, parts.rows(shown), set(columns[1:])),
        ]
        if len(parts.values) > len(shown):
            told.append(f"{plural(len(parts.values) - len(shown), 'more value')} of {parts.name}: see `results.csv`.")
    return Section("Score by part", paragraphs(*told), {"score_by_part": draw(view, found, most_values)})


def parts_of(task: TaskGroups, view: View, without: list[str]) -> list[Parts]:
    """Every slice of a task's test scores, by metric and name."""
    names = {
        (metric, name)
        for split, metric, name, _ in view.measured
        if split == "test" and name and name not in without and not metric.startswith("trivial_")
    }
    found = [cut(view, task, metric, name) for metric, name in sorted(names)]
    return [parts for parts in found if parts.scores]


def draw(view: View, found: list[Parts], most_values: int) -> Figure:
    """One panel a slice: the parts side by side, the cells beside each other; a line where parts have an order."""
    cell_looks = looks(view)
    names: dict[str, Group] = {}
    guessed = False
    with style():
        figure, axes = panels(len(found), 2, 2.9)
        for ax, parts in zip(axes, found, strict=True):
            shown = parts.values[:most_values]
            groups = [group for group in parts.task.groups if group.label in parts.scores]
            ordered = all(math.isfinite(as_number(value)) for value in shown)
            for place, group in enumerate(groups):
                aside = SPREAD * (place + 0.5 - len(groups) / 2) / len(groups)
                points = [(x + aside, parts.scores[group.label][value]) for x, value in enumerate(shown)]
                if seed_range(ax, points, cell_looks[group.cell], group.variant, joined=ordered, width=1.0):
                    names[group.label] = group
            for x, value in enumerate(shown):
                guess = parts.trivial[value]
                if guess is not None and math.isfinite(guess):
                    ax.hlines(guess, x - SPREAD / 2 - 0.1, x + SPREAD / 2 + 0.1, **TRIVIAL, zorder=1)
                    guessed = True
            long = max(map(len, shown)) * len(shown) > 36
            ax.set_xticks(range(len(shown)), shown, rotation=30 if long else 0, ha="right" if long else "center")
            ax.set_title(heading(parts.task.task, parts.task.generated), loc="left")
            ax.set_xlabel(parts.name)
            ax.set_ylabel(parts.metric)
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        if guessed:
            handles.append(Line2D([], [], **TRIVIAL, label="trivial guess"))
        legend_below(figure, handles)
    return figure
