"""The figure of scores against length or distance, one panel per task."""

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gru_bench.report.figures import (
    TRIVIAL,
    direction,
    handle,
    is_far,
    legend_below,
    looks,
    median_handle,
    note_far,
    panels,
    seed_range,
    set_log,
    style,
    wants_log,
)
from gru_bench.report.groups import Group, drawn_rows
from gru_bench.report.markdown import heading
from gru_bench.report.parts import Parts, as_number
from gru_bench.report.view import View

STEPS = ("length", "distance", "lag")
"""Slices that are counted in time steps."""
LEVEL: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 1.4}


@dataclass(frozen=True)
class Level:
    """A score that is drawn across a panel, and what reaches it."""

    value: float
    name: str


def draw_lengths(
    view: View,
    found: list[Parts],
    log_metrics: list[str],
    log_axis_from: float,
    level: Level | None = None,
    far_guess: float = math.inf,
) -> Figure:
    """One panel per task: mean score against length, with the range over seeds.

    Args:
        view: All runs.
        found: A panel each.
        log_metrics: Metrics whose axis is always logarithmic.
        log_axis_from: Ratio of the largest to the smallest value from which any axis is.
        level: Drawn across each panel.
        far_guess: From how many times the span of the scores trivial guesses are marked at the panel's edge.
    """
    cell_looks = looks(view)
    names: dict[str, Group] = {}
    guessed = False
    with style():
        figure, axes = panels(len(found), 2, 2.9)
        for ax, parts in zip(axes, found, strict=True):
            task, name = parts.task, parts.name
            places = [(at, as_number(at)) for at in parts.values if math.isfinite(as_number(at))]
            guesses = [(x, g) for at, x in places if (g := parts.trivial[at]) is not None and math.isfinite(g)]
            drawn: list[float] = []
            for group in drawn_rows(task.groups):
                row = parts.scores.get(group.label, {})
                points = [(x, row[at]) for at, x in places if at in row]
                look, split = cell_looks[group.cell], parts.is_split[group.label]
                if seed_range(ax, points, look, group.variant, joined=True, width=1.4, median=split):
                    names[group.label] = group
                    drawn += [float(value) for _, series in points for value in series if math.isfinite(value)]
            log = wants_log(task.metric, drawn, log_metrics, log_axis_from)
            far = [guess for _, guess in guesses if is_far(guess, drawn, log, far_guess)]
            guesses = [] if far else guesses  # a line through some of its points alone would be another line
            drawn += [guess for _, guess in guesses]
            if len(guesses) > 1:
                ax.plot(*zip(*guesses, strict=True), **TRIVIAL, zorder=1)
            elif guesses:
                ax.axhline(guesses[0][1], **TRIVIAL, zorder=1)
            guessed = guessed or bool(guesses)
            if level is not None:
                ax.axhline(level.value, **LEVEL, zorder=1)
                drawn.append(level.value)
            if wants_log(task.metric, drawn, log_metrics, log_axis_from):
                set_log(ax, "y", drawn)
            note_far(ax, far, drawn)
            finite = [x for _, x in places]
            if finite and min(finite) > 0 and max(finite) / min(finite) >= log_axis_from:
                set_log(ax, "x", finite)
            labels = dict(zip(parts.values, parts.ticks(), strict=True))
            ax.set_xticks(finite, [labels[at] for at, _ in places])
            ax.set_title(heading(task.task, task.generated), loc="left")
            each = parts.common_size()
            about = [*(["time steps"] if name in STEPS else []), *([f"n={each:,} each"] if each is not None else [])]
            ax.set_xlabel(f"{name} ({'; '.join(about)})" if about else name)
            ax.set_ylabel(f"{task.metric}\n({direction(task.higher_is_better, vertical=True)})".replace("\n()", ""))
        any_split = any(parts.is_split[label] for parts in found for label in parts.scores)
        handles = [handle(cell_looks[group.cell], group.variant, label) for label, group in names.items()]
        if guessed:
            handles.append(Line2D([], [], **TRIVIAL, label="trivial guess"))
        if level is not None:
            handles.append(Line2D([], [], **LEVEL, label=f"{level.name} ({level.value:g})"))
        handles += [median_handle()] if any_split else []
        legend_below(figure, handles)
    return figure
