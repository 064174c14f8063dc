"""Classes: which of them does each cell tell apart, and which does it take for which?"""

import numpy as np
from matplotlib.figure import Figure

from gru_bench.compare.confusion import Confused, confused, interval_of
from gru_bench.report.figures import panels, style
from gru_bench.report.groups import Group, TaskGroups
from gru_bench.report.markdown import UNKNOWN, Section, count, heading, known, number, paragraphs, table
from gru_bench.report.view import View

TEXT = (
    "Test examples by their class (words, where tags are predicted): precision, recall and F1 of each class, means "
    "over the seeds with the 95 % interval of F1 over the seeds (t); n counts the examples of the class. What nothing "
    "defines, as the precision of a class that is never predicted, is left out of the mean."
)
LONGEST_NAME = 18
"""Letters of a class's name in a figure."""


def render(view: View, /, *, most_cells: int, most_classes: int, most_in_table: int, most_pairs: int) -> Section:
    """Answer: how well is each class found, and which are confused?

    Args:
        view: All runs.
        most_cells: Rows of a task that are shown, the families' reference cells first.
        most_classes: Classes of a task up to which there is a figure of all pairs; of more, only those that are
            confused most are listed, and of the table of classes the most frequent.
        most_in_table: Classes up to which the counts of all pairs are a table too.
        most_pairs: Pairs of classes that are listed of those that are confused most.
    """
    parts: list[str] = []
    figures = {}
    for task in view.tasks:
        rows = rows_of(view, task, most_cells)
        if not rows:
            continue
        names = rows[0][1].names
        parts += [f"### {heading(task.task, task.generated)}: {len(names):,} classes", left_out(task, rows)]
        parts.append(class_table(rows, most_classes))
        if len(names) > most_classes:
            parts.append(f"The {most_classes} classes with most test examples; the store has all.")
        if len(names) <= most_classes:
            name = f"classes_{task.task}"
            figures[name] = draw(rows)
            parts.append(f"![Share of each true class that was taken for each class, {task.task}](figures/{name}.png)")
            parts.append(
                "*Rows: true classes; columns: predicted ones. Shares of the row in percent, mean over the seeds.*"
            )
        if len(names) <= most_in_table:
            parts.append(count_table(rows))
        else:
            parts.append(pair_table(rows, most_pairs))
    return Section("Classes", paragraphs(TEXT, *parts) if parts else "", figures)


def rows_of(view: View, task: TaskGroups, most: int) -> list[tuple[Group, Confused]]:
    """The rows of a task that kept their confusions, with classes in one order."""
    found: list[tuple[Group, Confused]] = []
    for group in sorted(task.groups, key=lambda group: (group.cell != group.family, group.variant)):
        if len(found) == most:
            break
        one = confused(view, group, found[0][1].names if found else None)
        if one is not None:
            found.append((group, one))
    return found


def left_out(task: TaskGroups, rows: list[tuple[Group, Confused]]) -> str:
    """A sentence on rows that are not shown; nothing where all are."""
    finished = sum(bool(len(group.finished)) for group in task.groups)
    return f"{len(rows)} of {finished} rows are shown, reference cells first." if finished > len(rows) else ""


def class_table(rows: list[tuple[Group, Confused]], most: int) -> str:
    """A row for each class and each cell, the most frequent class first."""
    lines = []
    for name in rows[0][1].names[:most]:
        for group, one in rows:
            if name not in one.names:
                continue
            place = one.names.index(name)
            scores = {what: interval_of(of_all[:, place]) for what, of_all in one.scores().items()}
            interval = scores["F1"][1]
            low, high = max(0.0, interval.low), min(1.0, interval.high)
            bounds = f"{number(low)} to {number(high)}" if interval.known else UNKNOWN
            means = [number(mean) for mean, _ in scores.values()]
            lines.append([name, count(one.examples[place]), group.label, *means, bounds])
    columns = ["class", "n", "cell", "precision", "recall", "F1", "F1, 95 % interval"]
    return table(columns, lines, {"n", "precision", "recall", "F1"})


def count_table(rows: list[tuple[Group, Confused]]) -> str:
    """Test examples of each true class by what they were taken for, with their share of the class; mean over seeds."""
    names = rows[0][1].names
    lines = []
    for group, one in rows:
        at = [one.names.index(name) if name in one.names else None for name in names]
        for name, row in zip(names, at, strict=True):
            cells = [
                UNKNOWN if row is None or column is None else cell_text(one.mean[row, column], one.shares[row, column])
                for column in at
            ]
            lines.append([group.label, name, *cells])
    return table(["cell", "true class", *(f"as {name}" for name in names)], lines, {f"as {name}" for name in names})


def cell_text(amount: float, share: float) -> str:
    """``12 (8 %)``; means of counts have a digit more where they are small."""
    text = f"{amount:,.0f}" if amount >= 10 or amount == round(amount) else f"{amount:.1f}"
    return f"{text} ({100 * share:.0f} %)" if known(share) else text


def pair_table(rows: list[tuple[Group, Confused]], most: int) -> str:
    """The pairs of classes that are confused most, by the mean over the cells of their counts; cells side by side."""
    total: dict[tuple[str, str], float] = {}
    for _, one in rows:
        for row, column in zip(*np.nonzero(one.mean), strict=True):
            if row != column:
                pair = one.names[row], one.names[column]
                total[pair] = total.get(pair, 0.0) + float(one.mean[row, column])
    lines = []
    for label, guess in sorted(total, key=lambda pair: (-total[pair], pair))[:most]:
        cells = []
        for _, one in rows:
            there = label in one.names and guess in one.names
            row, column = (one.names.index(name) if there else 0 for name in (label, guess))
            cells.append(cell_text(one.mean[row, column], one.shares[row, column]) if there else "0")
        lines.append([label, guess, *cells])
    labels = [group.label for group, _ in rows]
    said = "Confused most: test examples of the true class that were taken for the other, and their share of the class."
    return paragraphs(said, table(["true class", "taken for", *labels], lines, set(labels))) if lines else ""


def draw(rows: list[tuple[Group, Confused]]) -> Figure:
    """One panel a cell: shares of each true class, dark where many were taken for that class."""
    C = max(len(one.names) for _, one in rows)
    columns = min(len(rows), 3 if C <= 6 else 2 if C <= 10 else 1)
    each = 8.0 / columns
    with style():
        figure, axes = panels(len(rows), columns, max(1.9, min(each, 0.75 + (0.38 if C <= 10 else 0.26) * C)) + 0.5)
        for ax, (group, one) in zip(axes, rows, strict=True):
            shares = one.shares
            ax.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
            for row, column in np.ndindex(*shares.shape):
                if known(shares[row, column]) and shares[row, column] >= 0.005:
                    ax.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center",
                            fontsize=8.5 if C <= 10 else 7,
                            color="white" if shares[row, column] > 0.55 else "0.15")  # fmt: skip
            names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in one.names]
            long = sum(map(len, names)) * columns > 60
            ax.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
            ax.set_yticks(range(len(names)), names)
            ax.grid(False)
            ax.set_title(group.label, loc="left")
            ax.set_xlabel("predicted")
            ax.set_ylabel("true")
    return figure
