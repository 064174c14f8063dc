"""Write a report: every file is made beside its place and then moved there, so that a crash leaves no half a file."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from gru_bench.report.figures import save
from gru_bench.report.given import as_cells
from gru_bench.report.header import Made
from gru_bench.report.html import html
from gru_bench.report.pages import FIRST, Pages, Placed, pages
from gru_bench.report.parsed import parse
from gru_bench.report.table_files import table_files
from gru_bench.report.view import View
from gru_bench.store.read import Results

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
TIMED_BY = ["experiment", "machine", "threads", "situation", "task", "steps", "batch", "hidden_size_asked", "run_id"]
GENERATED = ("timings.csv", "figures/*.svg", "figures/*.png", "tables/*.csv", "tables/*.tex")
"""Files whose names depend on the runs: those of an earlier report would stay."""


def write(folder: Path, results: Results, view: View, made: Made, placed: Placed) -> None:
    """Write all files of a report; figures and tables of an earlier one in the same folder are deleted.

    Args:
        folder: Made where it is not there. One that holds no report keeps its files.
        results: For ``results.csv``.
        view: The same, as the sections saw it.
        made: What the report was made with.
        placed: The sections of each page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = pages(view, made, placed)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as temporary:
        new = Path(temporary)
        write_figures(new, found)
        write_pages(new, found)
        write_results(new / "results.csv", results)
        if len(results.timings):
            columns = [column for column in TIMED_BY if column in results.timings]
            write_text(
                new / "timings.csv", as_cells(results.timings).sort_values(columns, kind="stable").to_csv(index=False)
            )
        move(new, folder)


def write_figures(folder: Path, found: Pages) -> None:
    """Each figure as SVG and PNG."""
    (folder / "figures").mkdir()
    for section in found.sections():
        for name, figure in section.figures.items():
            save(figure, folder / "figures", name)


def write_pages(folder: Path, found: Pages) -> None:
    """The pages of markdown, the one of HTML with the figures of the folder, and the tables of both."""
    for name, text in found.markdown().items():
        write_text(folder / name, text)
    parsed = [(section, parse(section.markdown)) for section in found.sections()]
    (folder / "tables").mkdir()
    for name, text in table_files((section.title, tokens) for section, tokens in parsed).items():
        write_text(folder / "tables" / name, text)
    write_text(folder / "report.html", html(found, parsed, folder / "figures"))


def write_text(path: Path, text: str) -> None:
    """A file with the same bytes on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def write_results(path: Path, results: Results) -> None:
    """Every number of a run, one per line: the rows of ``Results.joined()``, sorted.

    But not what probes took apart, by lag or unit: with the facts of its run on each line that would be twenty times
    the file. It is in the store, and whole in the tables that are artifacts of the run.

    Each run is put into words once: writing the joined table takes a large store five times as long, and a gigabyte.
    """
    taken_apart = (results.values["split"] == "probe") & (results.values["slice"] != "")
    runs, values = (
        table.sort_values([column for column in SORTED_BY if column in table], kind="stable")
        for table in map(as_cells, (results.runs, results.values[~taken_apart]))
    )
    run_names, *facts = csv_lines(runs)
    value_names, *numbers = csv_lines(values.drop(columns="run_id"))
    of_run: dict[str, list[str]] = {}
    for run_id, line in zip(values["run_id"], numbers, strict=True):
        of_run.setdefault(run_id, []).append(line)
    nothing = ["," * (values.shape[1] - 2)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{run_names},{value_names}\n")
        for run_id, fact in zip(runs["run_id"], facts, strict=True):
            file.writelines(f"{fact},{line}\n" for line in of_run.get(run_id, nothing))


def csv_lines(table: pd.DataFrame) -> list[str]:
    """A table as CSV, header first; a quoted line break ends no line."""
    end = "\x1e\n"
    return table.to_csv(index=False, lineterminator=end).split(end)[:-1]


def move(new: Path, folder: Path) -> None:
    """Put the files in their places, the first page last: whoever finds it finds all that it names."""
    files = sorted((path.relative_to(new) for path in new.rglob("*") if path.is_file()), key=str)
    page = Path(f"{FIRST}.md")
    old = earlier(folder) if (folder / page).is_file() else []
    for file in sorted(files, key=lambda file: file == page):
        (folder / file).parent.mkdir(exist_ok=True)
        os.replace(new / file, folder / file)
    for path in old:
        if path.relative_to(folder) not in files:
            path.unlink()


def earlier(folder: Path) -> Iterable[Path]:
    """The figures and tables of an earlier report."""
    return [path for pattern in GENERATED for path in folder.glob(pattern)]
