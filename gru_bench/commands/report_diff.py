"""``gru-bench report --diff OLD NEW``: what changed between two results beyond noise. Writes nothing."""

from omegaconf import DictConfig

from gru_bench.commands.report import take_keys, take_sections
from gru_bench.commands.report_input import named
from gru_bench.compare.changes import WORSE, Change, Changes, changes, versions
from gru_bench.config.check import to_node
from gru_bench.errors import UserError
from gru_bench.report.markdown import UNKNOWN, known, number, paragraphs, plural, table
from gru_bench.report.view import View

GOT_WORSE = 3
"""Exit code: something got worse by more than its margin, or a rule is broken."""
COLUMNS = ["task", "cell", "metric", "change", "interval", "margin", "seeds", "verdict", "notes"]


def diff(config: DictConfig, old: str, new: str) -> int:
    """Print what changed; returns 3 where a row got worse by more than its margin beyond noise, else 0.

    Raises:
        UserError: Results that cannot be read or compared.
    """
    node = to_node(config)
    take_sections(node)
    keys, select, uri = take_keys(node)
    if keys.also:
        raise UserError("also: not with --diff, whose two sides are named; valid: without also")
    views = [View(named(text, uri, select), accept=frozenset(keys.accept)) for text in (old, new)]
    found = changes(*views)
    print(report_of(found, {f"OLD {old}": versions(views[0]), f"NEW {new}": versions(views[1])}))
    return GOT_WORSE if found.num_worse else 0


def report_of(found: Changes, results: dict[str, str]) -> str:
    """The whole answer as text that is also markdown."""
    counts: dict[str, int] = {}
    for row in found.rows:
        counts[row.answer] = counts.get(row.answer, 0) + 1
    summary = (
        f"{plural(len(found.rows), 'row')}: {', '.join(f'{counts[answer]} {answer}' for answer in sorted(counts))}."
    )
    left = [
        f"Only in {side}, not compared: {', '.join(names)}."
        for side, names in (("OLD", found.only_old), ("NEW", found.only_new))
        if names
    ]
    ordered = sorted(found.rows, key=lambda row: row.answer != WORSE)
    return paragraphs(
        "\n".join(f"- {name}: {text}" for name, text in results.items()),
        table(COLUMNS, [line(row) for row in ordered], {"change", "interval", "margin"}),
        summary,
        "\n".join(left),
        "change: mean of NEW less mean of OLD, positive where NEW is better. interval: at the level at which Holm's "
        "procedure tests the row, so that all rows together keep 5 %. worse or improved: by more than the margin, and "
        "the interval is clear of zero. other data: the data changed, so the scores do not compare. Quality only: "
        "speeds are not compared.",
    )


def line(row: Change) -> list[str]:
    """One row of the table."""
    interval = UNKNOWN
    if row.interval is not None:
        interval = f"{number(row.interval.low)} .. {number(row.interval.high)} ({100 * row.interval.level:.4g} %)"
    seeds = str(row.new) if row.old == row.new else f"{row.old}, now {row.new}"
    change = number(row.difference) if known(row.difference) else UNKNOWN
    facts = [row.task, row.row, row.metric, change, interval, f"{row.margin:g}", seeds, row.answer]
    return [*facts, "; ".join(row.notes)]
