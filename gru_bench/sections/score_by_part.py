"""Score by part: on which parts of the test data do the cells differ?"""

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import (
    TRIVIAL,
    handle,
    is_far,
    legend_below,
    looks,
    median_handle,
    note_far,
    panels,
    seed_range,
    style,
)
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import Section, heading, paragraphs, plural
from gru_bench.report.parts import Parts, Small, as_number, cut, is_size, unsized_note
from gru_bench.report.view import View

TEXT = (
    "Test scores of the same trained models on parts of the test data: mean ± standard deviation over the seeds, or "
    "the median for a row whose seeds split (see the summary); in the figure, bars from the smallest to the largest "
    "seed; n is the number of test examples in a part. Parts differ in size and in how hard they are to guess (dashed "
    "in grey: the trivial guess, where it is known), so compare cells within a part, not parts with each other. A "
    "difference that rests on few examples may well be chance, whatever the spread over seeds."
)
BASELINES = ("trivial_", "without_memory_", "with_memory_")
"""Beginnings of metrics that are no score of a model."""
SPREAD = 0.5
"""How much of the room between two parts the cells' marks take."""


def render(
    view: View,
    /,
    *,
    without: list[str],
    most_values: int,
    fewest_examples: int,
    mergeable: list[str],
    far_guess: float,
) -> Section:
    """Answer: on which parts of the test data do the cells differ?

    Args:
        view: All runs.
        without: Slices that are left out.
        most_values: Values of one slice that are shown.
        fewest_examples: Test examples below which a part is merged with others or left out.
        mergeable: Metrics that are means over test examples, so that small parts may be merged.
        far_guess: From how many times the span of the scores trivial guesses are marked at the panel's edge.
    """
    small = Small(below=fewest_examples, mergeable=mergeable)
    found = [parts for task in view.tasks for parts in parts_of(task, view, without, small)]
    if not found:
        return Section("Score by part", "")
    figures = {}
    texts = [TEXT]
    if any(parts.values for parts in found):
        figures["score_by_part"] = draw(view, [parts for parts in found if parts.values], most_values, far_guess)
        texts.append("![Test score of each cell on each part of the test data](figures/score_by_part.png)")
    for parts in found:
        texts += [
            f"### {heading(parts.task.task, parts.task.generated)}: {parts.metric} by {parts.name}",
            parts.table(most_values),
            parts.note,
        ]
        more = len(parts.values) - most_values
        if more > 0:
            texts.append(f"{plural(more, 'more value')} of {parts.name}: see `results.csv`.")
    return Section("Score by part", paragraphs(*texts, unsized_note(found)), figures)


def parts_of(task: TaskGroups, view: View, without: list[str], small: Small) -> list[Parts]:
    """Every slice of a task's test scores, by metric and name."""
    names = {
        (metric, name)
        for split, metric, name, _ in view.measured
        if split == "test" and name and name not in without and not is_size(metric) and not metric.startswith(BASELINES)
    }
    found = [cut(view, task, metric, name, small) for metric, name in sorted(names)]
    return [parts for parts in found if parts.scores]


def draw(view: View, found: list[Parts], most_values: int, far_guess: float) -> Figure:
    """One panel per slice: the parts side by side, the cells beside each other; a line where parts have an order."""
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
                if seed_range(
                    ax,
                    points,
                    cell_looks[group.cell],
                    group.variant,
                    joined=ordered,
                    width=1.0,
                    median=parts.is_split[group.label],
                ):
                    names[group.label] = group
            drawn = [float(y) for row in parts.scores.values() for v in shown for y in row[v] if math.isfinite(y)]
            guesses = {x: g for x, v in enumerate(shown) if (g := parts.trivial[v]) is not None and math.isfinite(g)}
            far = {x: guess for x, guess in guesses.items() if is_far(guess, drawn, False, far_guess)}
            for x, guess in guesses.items():
                if x not in far:
                    ax.hlines(guess, x - SPREAD / 2 - 0.1, x + SPREAD / 2 + 0.1, **TRIVIAL, zorder=1)
                    guessed = True
            note_far(ax, list(far.values()), drawn)
            long = max(map(len, shown)) * len(shown) > 36
            ax.set_xticks(
                range(len(shown)),
                parts.ticks(most_values),
                rotation=30 if long else 0,
                ha="right" if long else "center",
            )
            ax.set_title(heading(parts.task.task, parts.task.generated), loc="left")
            each = parts.common_size(most_values)
            ax.set_xlabel(parts.name if each is None else f"{parts.name} (n={each:,} each)")
            ax.set_ylabel(parts.metric)
        any_split = any(parts.is_split[label] for parts in found for label in parts.scores)
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        if guessed:
            handles.append(Line2D([], [], **TRIVIAL, label="trivial guess"))
        handles += [median_handle()] if any_split else []
        legend_below(figure, handles)
    return figure
