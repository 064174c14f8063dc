"""A page of a run's numbers for the MLflow UI, which shows markdown but no parquet. No reader takes it for a result."""

from collections.abc import Mapping, Sequence
from typing import Any

from gru_bench.store.notes import Values, escaped
from gru_bench.store.schema import EXAMPLES_TABLE, SPLITS, TRIVIAL, VALUES_FILE

PREVIEW_FILE = "preview.md"
MOST_PARTS, MOST_EXAMPLES = 60, 20
LONGEST_CELL = 60


def preview(values: Values, examples: Mapping[str, Sequence[Any]]) -> str:
    """Values of whole splits, then of parts, then the first test examples, each as a table of markdown.

    Args:
        values: What the run measured.
        examples: The first rows of its table of test examples, by column; empty where it has none.
    """
    order = {name: place for place, name in enumerate(SPLITS)} | {"test": -1}
    rows = sorted(values.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0][1].startswith(TRIVIAL)))
    whole = [(split, metric, value, unit) for (split, metric, part, _), (value, unit, _) in rows if not part]
    parts = [
        (split, metric, f"{name} {of}", value, unit) for (split, metric, name, of), (value, unit, _) in rows if name
    ]
    pieces = [f"For the eye: the first rows, rounded, as the run left them. All of it is in {VALUES_FILE}."]
    if whole:
        pieces += ["## Values", table(("split", "metric", "value", "unit"), whole)]
    if parts:
        pieces += ["## Parts of the splits", table(("split", "metric", "part", "value", "unit"), parts[:MOST_PARTS])]
    if len(parts) > MOST_PARTS:
        pieces.append(f"{len(parts) - MOST_PARTS} more are in {VALUES_FILE}.")
    if examples:
        rows_of = list(zip(*(column[:MOST_EXAMPLES] for column in examples.values()), strict=True))
        pieces += [f"## First rows of {escaped(EXAMPLES_TABLE)}.parquet", table(tuple(examples), rows_of)]
    return "\n\n".join(pieces) + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of markdown."""
    lines = [map(escaped, columns), ["---"] * len(columns), *(map(cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    """What one cell says: numbers with six digits, text cut and without markup."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escaped(text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…")
