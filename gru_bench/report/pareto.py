"""Score against cost: the rows of a task with what was measured of their cost, the Pareto front, and the figure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from gru_bench.report.figures import WIDTH, direction, legend_below, looks, mark_of, set_log, style, thin_ticks
from gru_bench.report.groups import Group, TaskGroups, drawn_rows
from gru_bench.report.markdown import UNKNOWN, count, heading, known, metric_header, number, table
from gru_bench.report.timing_tables import Timed, timed
from gru_bench.report.timings import Timing, place_text, quiet
from gru_bench.report.view import View

COSTS = {"ms": "training step, ms", "parameters": "parameters", "us": "latency of a step, µs"}
"""What a score costs, and what its axis is called."""
LOG_FROM = 5.0
PLACES = ((5, 4, "left", "bottom"), (5, -4, "left", "top"), (-5, 4, "right", "bottom"), (-5, -4, "right", "top"))
"""Where a name may stand beside its mark: points away, and how it is aligned."""


@dataclass(frozen=True)
class Candidate:
    """One row of a task: what it scores and what that costs.

    Attributes:
        costs: By name of :data:`COSTS`; what was not measured is missing.
        backends: On which backend a cost was measured; a star says that the machine was busy.
    """

    group: Group
    score: float
    is_split: bool
    costs: dict[str, float]
    backends: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Priced:
    """A task's rows, and where their costs were measured."""

    task: TaskGroups
    rows: list[Candidate]
    place: str


def front(points: Sequence[tuple[float, float]], higher_is_better: bool) -> list[int]:
    """Positions of the points that no other beats, by cost.

    Args:
        points: Cost, of which less is better, and score.
        higher_is_better: Direction of the score.

    Returns:
        Those for which no point costs at most as much and scores at least as well, one of the two strictly.
    """
    sign = 1 if higher_is_better else -1

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and sign * (one[1] - other[1]) >= 0 and one != other

    left = [i for i, point in enumerate(points) if not any(beats(other, point) for other in points)]
    return sorted(left, key=lambda i: (points[i], i))


def candidates(view: View) -> list[Priced]:
    """The tasks of whose rows a time was measured in a paired timing."""
    found = []
    for task in view.tasks:
        of_task = at_one_place(quiet(one for one in view.timings if one.task == task.task and one.budget == "hidden"))
        if not of_task or task.higher_is_better is None:
            continue
        times = timed(of_task)
        outcomes = view.outcomes(task)
        rows = []
        for group in drawn_rows(task.groups):
            outcome = outcomes[group.label]
            if math.isfinite(outcome.typical):
                costs, backends = costs_of(group, times)
                rows.append(Candidate(group, outcome.typical, outcome.is_split, costs, backends))
        if any(row.backends for row in rows):
            found.append(Priced(task, rows, place_text(of_task[0])))
    return found


def at_one_place(found: Sequence[Timing]) -> list[Timing]:
    """The timings of the place that has most of them: times of two places have no common axis."""
    counts = Counter(one.place for one in found)
    if not counts:
        return []
    most = min(counts, key=lambda place: (-counts[place], str(place)))
    return [one for one in found if one.place == most]


def costs_of(group: Group, times: Sequence[Timed]) -> tuple[dict[str, float], dict[str, str]]:
    """What a row costs, each on the backend on which it is least, and which that is."""
    costs: dict[str, float] = {}
    backends: dict[str, str] = {}
    if known(group.fact("num_parameters")):
        costs["parameters"] = float(group.fact("num_parameters"))
    size = group.fact("hidden_size")
    mine = [
        one
        for one in times
        if one.arm.cell == group.cell and (not known(size) or one.arm.number("hidden_size") in (None, float(size)))
    ]
    one_sequence = min((float(one.of.row["batch"]) for one in mine if one.of.situation == "stream"), default=1.0)
    for name, situation, number_name in (("ms", "train", "ms"), ("us", "stream", "p50_us")):
        for one in mine:
            value = one.numbers.get(number_name)
            fits = one.of.situation == situation and (situation != "stream" or one.of.row["batch"] == one_sequence)
            if fits and value is not None and value < costs.get(name, math.inf):
                costs[name], backends[name] = value, f"{one.arm.backend}{'*' if one.forced else ''}"
    return costs, backends


def points_table(found: Sequence[Priced]) -> str:
    """Every point of the figure; a star marks the front."""
    rows = []
    for priced in found:
        best = {name: on_front(priced, name) for name in COSTS}
        for row in priced.rows:
            texts = []
            for name in COSTS:
                value = row.costs.get(name)
                text = UNKNOWN if value is None else count(value) if name == "parameters" else number(value)
                where = f" ({row.backends[name]})" if name in row.backends else ""
                texts.append(f"{text}{where}{' ★' if row in best[name] else ''}")
            task = priced.task
            score = f"{number(row.score)}{' (median)' if row.is_split else ''}"
            rows.append(
                [task.task, row.group.label, metric_header(task.metric, "", task.higher_is_better), score, *texts]
            )
    head = ["task", "row", "metric", "score"]
    starred = any(name.endswith("*") for priced in found for row in priced.rows for name in row.backends.values())
    busy = " *: measured on a busy machine." if starred else ""
    return table([*head, *COSTS.values()], rows, {"score", *COSTS.values()}) + "\n\n★: on the front." + busy


def on_front(priced: Priced, name: str) -> list[Candidate]:
    """The rows on the front of one cost, the cheapest first."""
    rows = [row for row in priced.rows if name in row.costs]
    points = [(row.costs[name], row.score) for row in rows]
    return [rows[i] for i in front(points, bool(priced.task.higher_is_better))]


def draw(view: View, found: Sequence[Priced]) -> Figure:
    """A row of panels a task, a column a cost."""
    cell_looks = looks(view)
    names = [name for name in COSTS if any(name in row.costs for priced in found for row in priced.rows)]
    with style():
        figure = Figure(figsize=(WIDTH, 2.35 * len(found) + 0.35))
        axes = figure.subplots(len(found), len(names), squeeze=False, sharey="row")
        for line, priced in zip(axes, found, strict=True):
            task = priced.task
            for ax, name in zip(line, names, strict=True):
                rows = [row for row in priced.rows if name in row.costs]
                for row in rows:
                    look = cell_looks[row.group.cell]
                    ax.plot([row.costs[name]], [row.score], color=look.color, marker=look.marker, markersize=7,
                            linestyle="none", zorder=3, **mark_of(look, row.is_split, 0.5))  # fmt: skip
                best = [(row.costs[name], row.score) for row in on_front(priced, name)]
                if best:
                    ax.step(*zip(*best, strict=True), where="post", color="0.35", linewidth=1.2, zorder=2)
                costs = [row.costs[name] for row in rows]
                ax.margins(x=0.22, y=0.24)
                if costs and max(costs) / min(costs) >= LOG_FROM:
                    set_log(ax, "x", costs)
                else:
                    ax.locator_params(axis="x", nbins=4)
                ax.locator_params(axis="y", nbins=5)
                if name == "parameters":
                    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
                ax.set_xlabel(COSTS[name])
            line[0].set_title(heading(task.task, task.generated), loc="left")
            line[0].set_ylabel(f"{task.metric}\n({direction(task.higher_is_better, vertical=True)})")
        legend_below(figure, [Line2D([], [], color="0.35", linewidth=1.2, label="Pareto front")])
        thin_ticks(figure, list(axes.flat))
        for line, priced in zip(axes, found, strict=True):
            for ax, name in zip(line, names, strict=True):
                name_points(
                    ax, [(row.costs[name], row.score, row.group.label) for row in priced.rows if name in row.costs]
                )
    return figure


def name_points(ax: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """The rows' names beside their marks, each where it covers least of the names and marks that are there."""
    marks = [ax.transData.transform(point[:2]) for point in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    frame = ax.get_window_extent()
    for x, y, label in points:
        boxes = []
        for right, up, ha, va in PLACES:
            text = ax.annotate(label, (x, y), (right, up), textcoords="offset points", ha=ha, va=va, fontsize=8)
            found = text.get_window_extent()
            box = (found.x0, found.y0, found.x1, found.y1)
            outside = max(0.0, frame.x0 - box[0]) + max(0.0, box[2] - frame.x1)
            outside += max(0.0, frame.y0 - box[1]) + max(0.0, box[3] - frame.y1)
            cost = sum(overlap(box, other) for other in taken) + 100 * outside
            boxes.append((cost, text, box))
        best = min(boxes, key=lambda entry: entry[0])
        for entry in boxes:
            if entry is not best:
                entry[1].remove()
        taken.append(best[2])


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Area that two boxes share, in square pixels."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
