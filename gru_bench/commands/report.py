"""``gru-bench report``: read the store once, render the sections, write markdown, figures and results.csv."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gru_bench.commands import messages
from gru_bench.config.check import check_arguments, check_node, construct, to_node
from gru_bench.errors import UserError
from gru_bench.report.figures import save
from gru_bench.report.groups import distinct
from gru_bench.report.header import header
from gru_bench.report.markdown import Section
from gru_bench.report.view import View
from gru_bench.store.read import Results, read

SORTED_BY = [
    "experiment",
    "task",
    "cell",
    "group_key",
    "seed",
    "job",
    "run_id",
    "split",
    "metric",
    "slice",
    "slice_value",
]


@dataclass(frozen=True, kw_only=True)
class Select:
    """Which runs: of an experiment, of a sweep, or of the latest sweep."""

    experiment: str | int | None
    sweep: str | int | None


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The plain keys of ``conf/report.yaml``."""

    output: str | None


def report(config: DictConfig) -> int:
    """Write the report and print its path, or bad input in one line. Returns the exit code, 0 or 2."""
    try:
        print(f"report: {make(config) / 'report.md'}")
        return 0
    except messages.BAD_INPUT as error:  # caught here, since Hydra would add a line of its own to it
        print(messages.line("report", error), file=sys.stderr)
        return 2


def make(config: DictConfig) -> Path:
    """Read the store, render the sections and write them; returns the report's folder.

    Raises:
        UserError: A key or value that does not fit, a missing store, no runs, or a folder that cannot be
            written to.
    """
    node = to_node(config)
    sections: dict[str, dict[str, Any]] = node.pop("sections")
    select, tracking = node.pop("select"), node.pop("tracking")
    node.pop("hydra", None)
    check_arguments(Keys, node, "", "a report's config")
    check_arguments(Select, select, "select.", "a report's selection")
    check_node(tracking, "tracking")
    orders = {name: section.pop("order", 1000) for name, section in sections.items()}
    for name, section in sections.items():
        if not isinstance(orders[name], int):
            raise UserError(f"sections.{name}.order={orders[name]!r}: must be a whole number")
        check_node(section, f"sections.{name}")
    select = {key: None if value is None else str(value) for key, value in select.items()}  # experiment=1 is a name
    results = read(construct(tracking).uri, **select)
    view = View(results)
    rendered = [construct(sections[name])(view) for name in sorted(sections, key=lambda name: (orders[name], name))]
    experiments = distinct(results.runs["experiment"])
    folder = Path(node["output"] or Path("reports", select["experiment"] or "_".join(map(str, experiments))))
    try:
        write(folder, results, view, select, rendered)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"output={folder}: cannot be written to ({error.strerror}); choose another") from error
    return folder


def write(folder: Path, results: Results, view: View, select: dict[str, str | None], sections: list[Section]) -> None:
    """Write all files of a report; figures of an earlier one in the same folder are deleted."""
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    if (folder / "report.md").is_file():
        for old in [*figures.glob("*.svg"), *figures.glob("*.png")]:
            old.unlink()
    parts = [header(view, select)]
    for section in sections:
        if section.markdown:
            parts.append(f"## {section.title}\n\n{section.markdown}")
            for name, figure in section.figures.items():
                save(figure, figures, name)
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")
    joined = results.joined()
    joined = joined.sort_values([column for column in SORTED_BY if column in joined], kind="stable")
    joined.to_csv(folder / "results.csv", index=False, lineterminator="\n")
