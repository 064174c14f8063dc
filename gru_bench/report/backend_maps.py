"""Which backend of a cell is fastest over two sizes, from pairs that took turns and from nothing else."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from gru_bench.report.figures import WIDTH, legend_below, style
from gru_bench.report.groups import family_rank, shown
from gru_bench.report.markdown import known
from gru_bench.report.regime_maps import AXES, GREY, axes_of, panels_of, values
from gru_bench.report.timings import Timing

COLORS = ("#a6cee3", "#fdbf6f", "#b2df8a", "#cab2d6", "#fb9a99", "#ffff99")
Place = tuple[float, float]


def backend_pairs(found: Iterable[Timing]) -> list[Timing]:
    """The pairs that tell which backend of a cell is faster, on a quiet machine at equal hidden size."""
    return [
        one
        for one in found
        if one.first.cell == one.second.cell
        and one.first.backend != one.second.backend
        and one.budget == "hidden"
        and not one.is_forced
    ]


def unbeaten(found: Sequence[Timing]) -> list[str]:
    """The backends that no pair found slower: one, the fastest; several where it is not known which of them is."""
    losers = {(one.second if one.finding == "first" else one.first).backend for one in found if one.finding != "noise"}
    every = {arm.backend for one in found for arm in (one.first, one.second)}
    return sorted(every - losers or every)


def letters(backends: Iterable[str]) -> dict[str, str]:
    """A capital for each backend: its initial, or where another has that, of a later word or letter."""
    found: dict[str, str] = {}
    for name in sorted(set(backends)):
        tried = [name[0], *(word[0] for word in name.split("_")[1:] if word), *name]
        found[name] = next((one.upper() for one in tried if one.upper() not in found.values()), name)
    return found


def by_size(found: Iterable[Timing], x: str, y: str) -> dict[Place, list[str]]:
    """What :func:`unbeaten` says at each size."""
    places: dict[Place, list[Timing]] = {}
    for one in found:
        if known(one.row[x]) and known(one.row[y]):
            places.setdefault((float(one.row[x]), float(one.row[y])), []).append(one)
    return {place: unbeaten(pairs) for place, pairs in places.items()}


def has_map(found: Sequence[Timing]) -> bool:
    """Whether some pairs of backends make more than one square."""
    return bool(found) and len(by_size(found, *axes_of(found))) > 1


def draw_backends(found: Sequence[Timing]) -> Figure:
    """A column a cell, a row a place: the letter of the fastest backend at each size.

    Args:
        found: Pairs of one situation, as :func:`backend_pairs` gives them; at least one.
    """
    x, y = axes_of(found)
    parts = panels_of(found, x, y)
    cells = sorted({one.first.cell for one in found}, key=lambda cell: (family_rank(cell.split("_")[0]), cell))
    names = letters(arm.backend for one in found for arm in (one.first, one.second))
    colors = dict(zip(names, COLORS * len(names), strict=False))
    heights = [len(values(part, y)) for _, part in parts]
    with style():
        figure = Figure(figsize=(WIDTH, sum(0.62 + 0.26 * height for height in heights) + 1.0))
        axes = figure.subplots(len(parts), len(cells), squeeze=False, height_ratios=[height + 2 for height in heights])
        for line, (name, part) in zip(axes, parts, strict=True):
            for ax, cell in zip(line, cells, strict=True):
                columns, rows = values(part, x), values(part, y)
                of_cell = by_size((one for one in part if one.first.cell == cell), x, y)
                for (at_x, at_y), fastest in of_cell.items():
                    square(ax, columns.index(at_x), rows.index(at_y), fastest, names, colors)
                ax.set_xlim(-0.5, len(columns) - 0.5)
                ax.set_ylim(-0.5, len(rows) - 0.5)
                ax.set_xticks(range(len(columns)), [f"{value:,g}" for value in columns])
                ax.set_yticks(range(len(rows)), [f"{value:,g}" for value in rows])
                ax.grid(False)
                ax.set_title(", ".join(filter(None, [shown(cell), name])), loc="left", fontsize=9)
                ax.set_xlabel(AXES[x])
            line[0].set_ylabel(AXES[y])
        entries = [Patch(facecolor=colors[name], label=f"{letter}: {name}") for name, letter in names.items()]
        open_ = Patch(facecolor=GREY, edgecolor="white", hatch="///", label="several letters: none was found faster")
        legend_below(figure, [*entries, open_])
    return figure


def square(ax: Axes, i: int, j: int, fastest: Sequence[str], names: dict[str, str], colors: dict[str, str]) -> None:
    """One size: the fastest backend's letter on its colour, several on grey."""
    several = len(fastest) > 1
    color = GREY if several else colors[fastest[0]]
    ax.add_patch(Rectangle((i - 0.5, j - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=0.8,
                           hatch="///" if several else None))  # fmt: skip
    ax.text(i, j, " ".join(names[name] for name in fastest), ha="center", va="center", color="0.1", fontsize=8,
            bbox={"facecolor": GREY, "edgecolor": "none", "pad": 1} if several else None)  # fmt: skip
